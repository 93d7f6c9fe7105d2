import DaemonTestSupport
import Foundation
import Testing

@Suite struct CommandTests {
  @Test("check prints the place of every mistake with a caret and exits 1, and 0 for a good file")
  func checkFindsMistakes() {
    let folder = TemporaryFolder()
    let good = spine(folder)
    let passed = ChildProcess.run(Products.sluice, ["check", good])
    #expect(passed.status == 0, "\(passed.text)")
    let bad = folder.write(
      "bad.yaml",
      """
      sluice: 1
      streams:
        events: { durabilty: fsync }
      sources:
        api: { type: http, listen: "127.0.0.1:0", stream: event, auth: none }
      subscribers:
        archive: { plugin: disk, streams: [ events ], config: { path: ./out, format: xml } }
      """)
    let failed = ChildProcess.run(Products.sluice, ["check", bad])
    #expect(failed.status == 1)
    for place in ["bad.yaml:3:13", "bad.yaml:5:53", "bad.yaml:7:80"] {
      #expect(failed.text.contains(place), "\(place) is not in:\n\(failed.text)")
    }
    #expect(failed.text.contains("durability") && failed.text.contains("'events'") && failed.text.contains("ndjson"))
  }

  @Test("check --no-load runs no plugin's code, and finds all that can be found without")
  func checkWithoutLoading() throws {
    let folder = TemporaryFolder()
    // Whoever loads it, in whichever process, is ended by it.
    let source = folder.write(
      "telling.c",
      """
      #include <stdlib.h>
      __attribute__((constructor)) static void loaded(void) { abort(); }
      int sluice_module_v1(void) { return 0; }
      """)
    let built = ChildProcess.run(
      "/usr/bin/cc", ["-shared", "-fPIC", source, "-o", folder.path + "/libsluice-telling.so"])
    #expect(built.status == 0, "\(built.text)")
    func topology(_ plugin: String, stream: String = "events") -> String {
      folder.write(
        "sluice.yaml",
        """
        sluice: 1
        daemon: { plugins: [ . ] }
        streams: { events: {} }
        sources: { api: { type: http, listen: "127.0.0.1:0", stream: events, auth: none } }
        subscribers:
          it: { plugin: \(plugin), streams: [ \(stream) ], config: { whatever: 1 } }
        """)
    }
    func check(_ file: String, _ options: String...) -> (status: Int32?, text: String) {
      ChildProcess.run(Products.sluice, ["check"] + options + [file])
    }
    let looked = check(topology("telling"))
    #expect(looked.status == 1 && looked.text.contains("telling"), "\(looked.text)")
    for plugin in ["telling", "./libsluice-telling.so"] {
      let passed = check(topology(plugin), "--no-load")
      #expect(passed.status == 0 && passed.text.contains("plugins were not loaded"), "\(passed.text)")
    }
    let unknown = check(topology("teling", stream: "event"), "--no-load")
    #expect(unknown.status == 1 && unknown.text.contains("'telling'") && unknown.text.contains("'events'"))
    #expect(chmod(folder.path + "/libsluice-telling.so", 0o777) == 0)
    let untrusted = check(topology("telling"), "--no-load")
    #expect(untrusted.status == 1 && untrusted.text.contains("can be written by"), "\(untrusted.text)")
    #expect(ChildProcess.run(Products.sluice, ["check", "--help"]).text.contains("--no-load"))
  }

  @Test("run refuses a bad file with sysexits' configuration code and starts nothing")
  func runRefusesABadFile() {
    let folder = TemporaryFolder()
    let bad = folder.write("bad.yaml", "sluice: 2\n")
    let result = ChildProcess.run(Products.sluice, ["run", "-c", bad])
    #expect(result.status == 78)
    #expect(result.text.contains("bad.yaml:1:9"))
    #expect(!FileManager.default.fileExists(atPath: folder.path + "/data"))
  }

  @Test("plugin list and describe show the disk kind and its schema, as text and as JSON")
  func pluginCommands() throws {
    let list = ChildProcess.run(Products.sluice, ["plugin", "list", "--json"])
    #expect(list.status == 0)
    let rows = try #require(try JSONSerialization.jsonObject(with: Data(list.text.utf8)) as? [[String: Any]])
    #expect(rows.contains { $0["kind"] as? String == "disk" })
    let text = ChildProcess.run(Products.sluice, ["plugin", "describe", "disk"])
    #expect(text.status == 0 && text.text.contains("path") && text.text.contains("ndjson"))
    let unknown = ChildProcess.run(Products.sluice, ["plugin", "describe", "dsik"])
    #expect(unknown.status != 0 && unknown.text.contains("disk"), "no suggestion in: \(unknown.text)")
  }

  @Test("stream inspect shows groups and cursors of a stopped stream without changing a byte")
  func streamInspect() throws {
    let folder = TemporaryFolder()
    let daemon = try #require(Daemon(topology: spine(folder)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    for i in 0..<5 { #expect(connection.post(#"{"message":"\#(i)"}"#)?.status == 202) }
    #expect(daemon.stop() == 0)
    let directory = folder.path + "/data/streams/events"
    let before = contents(directory)
    let text = ChildProcess.run(Products.sluice, ["stream", "inspect", directory])
    #expect(text.status == 0 && text.text.contains("archive"), "\(text.text)")
    let json = ChildProcess.run(Products.sluice, ["stream", "inspect", "--json", directory])
    let object = try #require(try JSONSerialization.jsonObject(with: Data(json.text.utf8)) as? [String: Any])
    #expect(object["last_lsn"] as? Int == 5)
    #expect(contents(directory) == before)
    #expect(ChildProcess.run(Products.sluice, ["stream", "inspect", folder.path + "/nowhere"]).status == 2)
  }

  private func contents(_ directory: String) -> [String: Data] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    return Dictionary(
      uniqueKeysWithValues: names.map { ($0, FileManager.default.contents(atPath: directory + "/" + $0) ?? Data()) })
  }

  @Test("SIGTERM ends a daemon that still waits for its topology file")
  func stopsWhileItLoads() {
    let folder = TemporaryFolder()
    let pipe = folder.path + "/pipe.yaml"
    #expect(mkfifo(pipe, 0o600) == 0)
    let daemon = ChildProcess(Products.sluice, ["run", "-c", pipe])
    // It can be opened for writing without waiting once the daemon has it open for reading.
    var writer: Int32 = -1
    #expect(
      eventually {
        writer = open(pipe, O_WRONLY | O_NONBLOCK | O_CLOEXEC)
        return writer >= 0
      })
    daemon.send(SIGTERM)
    #expect(daemon.exitStatus() == 0)
    close(writer)
  }

  @Test("a line break in a message does not make a line of the log")
  func oneEventIsOneLine() {
    let folder = TemporaryFolder()
    _ = folder.write("a\nforged", "")
    let topology = folder.write("a.yaml", "sluice: 1\ndaemon: { data: \"./a\\nforged/x\" }\nstreams: { s: {} }\n")
    let result = ChildProcess.run(Products.sluice, ["run", "-c", topology])
    #expect(result.status == 73)
    #expect(result.text.contains("cannot make the data directory"))
    #expect(!result.text.split(separator: "\n").contains { $0.hasPrefix("forged") }, "\(result.text)")
  }

  @Test("help of every verb teaches by example and exits 0")
  func helpTeaches() {
    for verb in [
      [], ["run"], ["check"], ["stream"], ["stream", "inspect"], ["stream", "list"],
      ["stream", "verify"], ["stream", "export"], ["stream", "repair"], ["plugin"], ["plugin", "list"], ["send"],
    ] {
      let help = ChildProcess.run(Products.sluice, verb + ["--help"])
      #expect(help.status == 0 && help.text.contains("USAGE"), "\(verb)")
    }
  }

  @Test(
    "The text of a command's help has no runs of blanks", arguments: ["check", "run", "reload", "status", "worker"])
  func helpText(command: String) {
    let help = ChildProcess.run(Products.sluice, [command, "--help"])
    #expect(help.status == 0)
    // Options and examples are set in columns, behind blanks of their own.
    let prose = help.text.split(separator: "\n").filter { !$0.hasPrefix(" ") }
    #expect(prose.count > 1 && !prose.contains { $0.contains("  ") }, "\(help.text)")
  }
}
