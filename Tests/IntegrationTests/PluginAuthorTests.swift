import DaemonTestSupport
import Foundation
import Testing

private func text(_ path: String) -> String {
  String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
}

@Suite struct PluginAuthorTests {
  /// Begins a plugin outside the repository, and builds and tests it with its one command.
  /// - Returns: the project's folder.
  private func begin(_ language: String, in folder: TemporaryFolder, command: [String]) throws -> String {
    try #require(Installation.made.status == 0, "\(Installation.made.output)")
    let made = Installation.run(["sluice", "plugin", "new", "--language", language, "my-count"], in: folder.path)
    #expect(made.status == 0 && made.text.contains("cd my-count && "), "\(made.text)")
    #expect(!made.text.contains("SLUICE=/"), "the shell finds this sluice: \(made.text)")
    let project = folder.path + "/my-count"
    let checked = Installation.run(command, in: project)
    #expect(checked.status == 0, "\(checked.text)")
    #expect(checked.text.contains("smoke.yaml: ok"), "\(checked.text)")
    expectPassed(checked.text)
    return project
  }

  /// What is printed when `sluice plugin check` has run both ways, and nothing was left out for a reason but what the kind is.
  private func expectPassed(_ text: String) {
    let summaries = text.matches(of: #/\.so(, isolated)?: (\d+) ok, (\d+) failed, \d+ skipped, (\d+) warned, in/#)
    #expect(summaries.map { $0.1 != nil } == [false, true], "\(text)")
    #expect(summaries.allSatisfy { $0.3 == "0" && $0.4 == "0" && Int($0.2) ?? 0 >= 30 }, "\(text)")
    #expect(!text.contains("NOT TESTED"), "\(text)")
  }

  /// Runs a plugin of that project in the daemon and in a process of its own, and looks at what it counts.
  private func deliver(to plugin: String) throws {
    let folder = TemporaryFolder()
    let topology = folder.write(
      "sluice.yaml",
      """
      sluice: 1
      daemon: { data: ./data }
      streams: { events: { durability: written } }
      sources: { api: { type: http, listen: "127.0.0.1:0", stream: events, auth: none, topic: web } }
      subscribers:
        near: { plugin: \(plugin), isolation: thread, streams: [ events ], batch: { wait: 1ms } }
        far: { plugin: \(plugin), isolation: process, streams: [ events ], batch: { wait: 1ms } }
      """)
    let process = ChildProcess(Installation.sluice, ["run", "-c", topology], environment: Installation.environment)
    let daemon = try #require(Daemon(awaiting: process))
    let connection = try #require(HTTPConnection(port: daemon.port))
    for _ in 0..<20 { #expect(connection.post(#"{"message":"12345"}"#)?.status == 202) }
    #expect(connection.post(#"{"message":"6"}"#, headers: "Sluice-Topic: audit\r\n")?.status == 202)
    let expected = "audit\t1\t15\nweb\t20\t380\n"
    for instance in ["near", "far"] {
      let file = "\(folder.path)/data/plugins/\(instance)/topics.tsv"
      #expect(eventually { text(file) == expected }, "\(instance): \(text(file))\n\(process.output)")
    }
    // A plugin may count after it has written.
    var metrics = ""
    let isCounted = eventually {
      metrics = connection.get("/metrics", accept: "text/plain")?.body ?? ""
      return metrics.contains("sluice_plugin_counted_bytes_total{subscriber=\"near\"} 395")
    }
    #expect(isCounted, "\(metrics)")
    #expect(daemon.stop() == 0, "\(process.output)")
  }

  @Test("A plugin that was begun in C outside the repository is built, tested and run with an installed Sluice alone")
  func aPluginInC() throws {
    let folder = TemporaryFolder()
    let project = try begin("c", in: folder, command: ["make", "check"])
    try deliver(to: project + "/build/libsluice-my-count.so")
  }

  @Test(
    "A plugin that was begun in Swift outside the repository finds the installed kit, and runs with the daemon's runtime as with its own"
  )
  func aPluginInSwift() throws {
    let folder = TemporaryFolder()
    let project = try begin("swift", in: folder, command: ["./check"])
    try deliver(to: project + "/.build/debug/libsluice-my-count.so")
    let built = Installation.run(["env", "OWN_RUNTIME=1", "swift", "build", "-c", "release"], in: project)
    #expect(built.status == 0, "\(built.text)")
    let library = project + "/.build/release/libsluice-my-count.so"
    let described = Installation.run(["sluice", "plugin", "describe", library], in: project)
    #expect(described.text.contains(" static"), "\(described.text)")
    try deliver(to: library)
  }

  @Test(
    "A plugin that was begun in Rust outside the repository is built without any crate, tested and run",
    .enabled(if: hasTool("cargo"), "there is no cargo; scripts/setup test installs it"))
  func aPluginInRust() throws {
    let folder = TemporaryFolder()
    let project = try begin("rust", in: folder, command: ["env", "CARGO_NET_OFFLINE=true", "make", "check"])
    try deliver(to: project + "/build/libsluice-my-count.so")
  }

  @Test("The example in plain C is built with an installed Sluice alone, and passes in process and isolated")
  func tally() throws {
    try #require(Installation.made.status == 0, "\(Installation.made.output)")
    let folder = TemporaryFolder()
    let source = folder.path + "/tally.c"
    try FileManager.default.copyItem(atPath: Products.repository + "/examples/plugins/c/tally.c", toPath: source)
    // As examples/plugins/c/TALLY.md says, but with what pkg-config says of the headers.
    let build = "cc -std=c11 -O2 -Wall -Wextra -Werror -shared -fPIC -fvisibility=hidden $(pkg-config --cflags sluice)"
    let command = "umask 022 && \(build) -o libsluice-tally.so tally.c"
    let built = Installation.run(["sh", "-c", command], in: folder.path)
    try #require(built.status == 0, "\(built.text)")
    let check = ["sluice", "plugin", "check", "./libsluice-tally.so", "--config", #"{"path":"tally.txt"}"#]
    let checks = [check, check + ["--isolation", "process"]].map { Installation.run($0, in: folder.path) }
    #expect(checks.allSatisfy { $0.status == 0 })
    expectPassed(checks.map(\.text).joined(separator: "\n"))
  }

  @Test("What pkg-config says of an installed Sluice is enough for a C compiler, wherever the tree was moved to")
  func pkgConfigTells() throws {
    try #require(Installation.made.status == 0, "\(Installation.made.output)")
    let folder = TemporaryFolder()
    let moved = folder.path + "/moved"
    try FileManager.default.createDirectory(atPath: moved + "/lib", withIntermediateDirectories: true)
    for part in ["include", "lib/pkgconfig"] {
      try FileManager.default.copyItem(atPath: "\(Installation.prefix)/\(part)", toPath: "\(moved)/\(part)")
    }
    let source = folder.write("it.c", "#include <sluice/sluice.h>\nint minor = SLU_ABI_MINOR;\n")
    let command = "cc -Wall -Wextra -Werror $(pkg-config --cflags sluice) -c -o \(folder.path)/it.o \(source)"
    let built = ChildProcess.run(
      "/bin/sh", ["-c", command], environment: ["PKG_CONFIG_PATH": moved + "/lib/pkgconfig"])
    #expect(built.status == 0, "\(built.text)")
    for (variable, value) in [("plugindir", "/lib/sluice/plugins"), ("abi_version", "1.0")] {
      let asked = Installation.run(["pkg-config", "--variable=" + variable, "sluice"], in: folder.path)
      #expect(asked.status == 0 && asked.text.hasSuffix(value), "\(asked.text)")
    }
    #expect(Installation.run(["pkg-config", "--libs", "sluice"], in: folder.path).text == "", "a plugin links nothing")
  }

  @Test(
    "Installing again removes what is no longer part of it, leaves what others put beside it, and the list is whole")
  func installingTwice() throws {
    let folder = TemporaryFolder()
    let (stage, prefix) = (folder.path + "/stage", "/opt/its")
    #expect(Installation.install(to: prefix, ["--destdir", stage]).status == 0)
    let root = stage + prefix
    let list = root + "/share/sluice/installed-files"
    let installed = text(list)
    let (old, others) = (root + "/include/sluice/old.h", root + "/lib/sluice/plugins/libsluice-others.so")
    #expect(FileManager.default.createFile(atPath: old, contents: Data()))
    #expect(FileManager.default.createFile(atPath: others, contents: Data()))
    try (installed + "include/sluice/old.h\n").write(toFile: list, atomically: true, encoding: .utf8)
    let again = Installation.install(to: prefix, ["--destdir", stage])
    #expect(again.status == 0, "\(again.text)")
    #expect(!FileManager.default.fileExists(atPath: old) && FileManager.default.fileExists(atPath: others))
    #expect(text(list) == installed)
    let removed = ChildProcess.run(
      "/bin/sh", ["-c", #"xargs -d '\n' rm -f < share/sluice/installed-files && find . -type f"#], directory: root)
    #expect(removed.status == 0 && removed.text == "./lib/sluice/plugins/libsluice-others.so", "\(removed.text)")
  }

  @Test(
    "plugin new says what is wrong with a name or a folder, makes nothing then, and quotes what a shell would misread")
  func refusals() throws {
    let folder = TemporaryFolder()
    let file = folder.write("kept", "mine")
    for (arguments, status, words) in [
      (["--language", "c", "Bad_Name"], 64, "'Bad_Name' is no name for a plugin"),
      (["--language", "c", "disk"], 64, "there is a plugin 'disk' already"),
      (["--language", "cobol", "it"], 64, "'c', 'swift' or 'rust'"),
      (["--language", "c", "it", "--directory", folder.path], 73, "is not empty"),
      (["--language", "c", "it", "--directory", file], 73, "Not a directory"),
      (["--language", "c", "it", "--directory", folder.path + "/a/b"], 73, "No such file or directory"),
    ] {
      let refused = ChildProcess.run(Products.sluice, ["plugin", "new"] + arguments, directory: folder.path)
      #expect(refused.status == Int32(status) && refused.text.contains(words), "\(arguments): \(refused.text)")
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["kept"])
    let odd = folder.path + "/it's here"
    let made = ChildProcess.run(Products.sluice, ["plugin", "new", "--language", "c", "it", "--directory", odd])
    #expect(made.status == 0 && made.text.contains(#"cd '\#(folder.path)/it'\''s here' && "#), "\(made.text)")
  }
}
