import DaemonTestSupport
import Foundation
import Testing

/// A daemon that does not come to run.
@Suite struct FailedStartTests {
  @Test("A daemon that can't start ends what it has started in order, its plugins too")
  func endsInOrder() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/recorder.c", kind: "recorder", in: folder)
    let taken = try #require(ListeningPort())
    var sketch = Sketch()
    sketch.listen = "127.0.0.1:\(taken.port)"
    sketch.subscribers = "  it: { plugin: \(plugin), isolation: thread, streams: [ events ] }\n"
    let child = Daemon.spawn(topology: sketch.write(to: folder))
    #expect(child.exitStatus() == 69)
    let text = child.output.joined(separator: "\n")
    #expect(text.contains("source api: cannot listen on"), "\(text)")
    let seen = try? String(contentsOfFile: "\(folder.path)/data/plugins/it/seen", encoding: .utf8)
    #expect(seen == "drain\nstop\n")
  }
}
