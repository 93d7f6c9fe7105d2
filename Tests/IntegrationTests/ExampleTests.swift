import DaemonTestSupport
import Foundation
import TestSupport
import Testing

/// What newcomers copy.
@Suite struct ExampleTests {
  @Test("The installed topology passes its check with everything switched on that it offers")
  func topology() throws {
    let folder = TemporaryFolder()
    let text = try String(contentsOfFile: Products.repository + "/etc/sluice.yaml", encoding: .utf8)
    let marked = text.split(separator: "\n").filter { $0.hasPrefix("#:") }
    #expect(marked.count > 5)
    let config = folder.write("sluice.yaml", text.replacing("\n#:", with: "\n"))
    let pair = try TestAuthority(in: folder.path).issue("server")
    for (from, to) in [(pair.certificate, "cert.pem"), (pair.key, "key.pem")] {
      try FileManager.default.copyItem(atPath: from, toPath: folder.path + "/" + to)
    }
    let identity = ChildProcess.run(
      Products.sluice,
      ["identity", "add", "press-7", "--publish", "events/press.*", "--file", folder.path + "/identities.yaml"])
    #expect(identity.status == 0, "\(identity.text)")
    let check = ChildProcess.run(Products.sluice, ["check", config])
    #expect(check.status == 0, "\(check.text)")
  }

  @Test("The README's commands for the example plugin find what they build")
  func examplePlugin() throws {
    let folder = TemporaryFolder()
    let readme = try String(contentsOfFile: Products.repository + "/README.md", encoding: .utf8)
    let block = try #require(readme.split(separator: "```").first { $0.hasPrefix("sh\nmake -C examples/plugins/c\n") })
    try FileManager.default.createDirectory(
      atPath: folder.path + "/examples/plugins", withIntermediateDirectories: true)
    let copy = ChildProcess.run(
      "/bin/cp", ["-RL", Products.repository + "/examples/plugins/c", folder.path + "/examples/plugins/c"])
    #expect(copy.status == 0, "\(copy.text)")
    // Every rule is tried elsewhere, which takes its time.
    let commands = block.dropFirst(3).replacing(
      ".build/release/sluice", with: URL(fileURLWithPath: Products.sluice).path
    )
    .replacing("plugin check examples", with: "plugin describe examples")
    let result = ChildProcess.run("/bin/sh", ["-e", "-c", "cd '\(folder.path)'\n\(commands)"])
    #expect(result.status == 0 && result.text.contains("topic-bytes"), "\(result.text.suffix(500))")
  }
}
