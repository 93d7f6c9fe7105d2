import DaemonTestSupport
import Foundation
import Testing

/// Where a daemon has its copies of plugins.
@Suite struct ModuleCopyTests {
  private let folder = TemporaryFolder()
  private var shelf: String { folder.path + "/data/modules" }
  private var copies: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: shelf)) ?? []).sorted() }

  private static let canMount =
    ChildProcess.run(
      "/usr/bin/env", ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    ).status == 0

  /// One plugin in the daemon's process, one in its own.
  private func topology() throws -> String {
    let plugin = try buildPlugin("Tests/FixturePlugins/recorder.c", kind: "recorder", in: folder)
    return spine(folder, subscribers: "  far: { plugin: \(plugin), streams: [ events ], batch: { wait: 1ms } }")
  }

  private func seen() -> Int {
    let lines = FileManager.default.contents(atPath: folder.path + "/data/plugins/far/seen") ?? Data()
    return String(decoding: lines, as: UTF8.self).split(separator: "\n").filter { $0.contains("message") }.count
  }

  private func makeFolder(_ name: String, mode: Int = 0o700) throws -> String {
    let path = folder.path + "/" + name
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    chmod(path, mode_t(mode))
    return path
  }

  @Test(
    "They are in its data directory, need no temporary one, and those of a daemon that was killed go at the next start")
  func inTheDataDirectory() throws {
    let topology = try topology()
    let environment = ["TMPDIR": folder.path + "/none"]
    var daemon = try #require(Daemon(topology: topology, environment: environment))
    let first = copies
    #expect(first.count == 1 && first[0].hasPrefix("\(daemon.process.pid)-"))
    for path in [shelf, shelf + "/" + (first.first ?? "")] {
      var about = stat()
      #expect(stat(path, &about) == 0 && about.st_mode & 0o777 == 0o700 && about.st_uid == geteuid())
    }
    daemon.crash()
    #expect(copies == first)
    daemon = try #require(Daemon(topology: topology, environment: environment))
    #expect(copies.count == 1 && copies != first)
    let connection = try #require(HTTPConnection(port: daemon.port))
    #expect(connection.post(#"{"message":"it is loaded"}"#)?.status == 202)
    #expect(eventually { seen() == 1 })
    #expect(daemon.stop() == 0)
    #expect(copies.isEmpty)
  }

  @Test("A topology with a mistake behind its plugins leaves no data directory behind")
  func aMistakeLeavesNothing() throws {
    let topology = try topology()
    let text = try String(contentsOfFile: topology, encoding: .utf8)
    try text.replacing("path: ./out", with: "path: 7").write(toFile: topology, atomically: true, encoding: .utf8)
    let run = ChildProcess.run(Products.sluice, ["run", "-c", topology])
    #expect(run.status == 78, "\(run.text)")
    #expect(!FileManager.default.fileExists(atPath: folder.path + "/data"))
  }

  @Test(
    "Where others may write to the place for them, they are in the temporary directory, and the log says what helps")
  func anOpenPlace() throws {
    let topology = try topology()
    _ = try makeFolder("data/modules", mode: 0o777)
    let temporary = try makeFolder("tmp")
    let daemon = try #require(Daemon(topology: topology, environment: ["TMPDIR": temporary]))
    let warnings = daemon.process.output.filter {
      $0.contains("no copy of a plugin could be put into the data directory")
    }
    #expect(warnings.count == 1 && warnings[0].contains("chmod go-w \(shelf)"), "\(daemon.process.output)")
    #expect(copies.isEmpty)
    let names = try FileManager.default.contentsOfDirectory(atPath: temporary)
    #expect(names.contains { $0.hasPrefix("sluice-modules-\(daemon.process.pid)-") }, "\(names)")
    #expect(daemon.stop() == 0)
  }

  @Test(
    "On a data directory that is mounted noexec a daemon runs all the same; where no place is left the error names both",
    .enabled(if: canMount, "mounting takes root"))
  func noExec() throws {
    let topology = try topology()
    let data = try makeFolder("data")
    let mounting = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o noexec none \(data) && exec \"$@\"", "sh"]
    func start(_ temporary: String) -> ChildProcess {
      Daemon.spawn(topology: topology, environment: ["TMPDIR": temporary], wrapper: ["/usr/bin/env"] + mounting)
    }
    let daemon = try #require(Daemon(awaiting: start(try makeFolder("tmp"))))
    let warnings = daemon.process.output.filter {
      $0.contains("no copy of a plugin could be put into the data directory")
    }
    #expect(warnings.count == 1 && warnings[0].contains("mounted noexec"), "\(daemon.process.output)")
    #expect(daemon.stop() == 0)
    let refused = start(folder.path + "/none")
    #expect(refused.exitStatus() == 78)
    let said = refused.output.joined(separator: "\n")
    #expect(
      said.contains("mounted noexec") && said.contains("\(folder.path)/none") && said.contains("set daemon.data to"))
  }
}
