import DaemonTestSupport
import Foundation
import Testing

@Suite struct PluginTests {
  @Test("The example in plain C, built from the header alone, receives every record beside the disk subscriber")
  func theExampleInC() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("examples/plugins/c/tally.c", kind: "tally", in: folder)
    let tally = """
        counted:
          plugin: \(plugin)
          isolation: thread
          streams: [ events ]
          config: { path: \(folder.path)/tally.txt }
      """
    let daemon = try #require(Daemon(topology: spine(folder, subscribers: tally)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    for i in 0..<50 { #expect(connection.post(#"{"message":"\#(i)"}"#)?.status == 202) }
    #expect(daemon.stop() == 0)
    #expect(deliveredLines(folder.path + "/out").count == 50)
    let counted = FileManager.default.contents(atPath: folder.path + "/tally.txt") ?? Data()
    #expect(String(decoding: counted, as: UTF8.self).contains("50"))
  }

  @Test("A plugin from elsewhere is refused unless the topology says that it may share the daemon's process")
  func aStrangersPluginMustBeAskedIn() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("examples/plugins/c/tally.c", kind: "tally", in: folder)
    let topology = spine(
      folder, subscribers: "  counted: { plugin: \(plugin), streams: [ events ], config: { path: ./t } }")
    let checked = ChildProcess.run(Products.sluice, ["check", topology])
    #expect(checked.status == 1 && checked.text.contains("isolation: thread"), "\(checked.text)")
  }

  @Test("A subscriber that takes nothing makes producers see 429 at the bound, and delays nobody else; then it drains")
  func aSlowSubscriberFillsTheStream() throws {
    let folder = TemporaryFolder()
    let plugin = try buildPlugin("Tests/FixturePlugins/gate.c", kind: "gate", in: folder)
    let gate = """
        slow: { plugin: \(plugin), isolation: thread, streams: [ events ], retry: { first: 10ms, max: 10ms } }
      """
    let bounds = ", ring: 4MiB, segment: 2MiB, retain: { bytes: 8MiB }"
    let daemon = try #require(Daemon(topology: spine(folder, subscribers: gate, stream: bounds)))
    let connection = try #require(HTTPConnection(port: daemon.port))
    let filler = String(repeating: "x", count: 50_000)
    var accepted = 0
    var refused: (status: Int, head: String, body: String)?
    for i in 0..<1000 where refused == nil {
      let answer = try #require(connection.post(#"{"message":"\#(i)","filler":"\#(filler)"}"#))
      if answer.status == 202 { accepted += 1 } else { refused = answer }
    }
    let answer = try #require(refused, "a thousand records of 50 kB fitted into 8 MiB")
    #expect(answer.status == 429 && answer.head.contains("Retry-After:"))
    #expect(accepted * 50_000 < 16 << 20, "\(accepted) records were accepted")
    #expect(connection.get("/ready")?.status == 503)
    #expect(connection.get("/health")?.status == 200)
    #expect(eventually { deliveredLines(folder.path + "/out").count == accepted }, "the disk subscriber was held up")
    _ = folder.write("data/plugins/slow/open", "")
    #expect(eventually { connection.post(#"{"message":"again"}"#)?.status == 202 })
    #expect(daemon.stop() == 0)
    let seen = FileManager.default.contents(atPath: folder.path + "/data/plugins/slow/seen") ?? Data()
    let lines = String(decoding: seen, as: UTF8.self).split(separator: "\n")
    #expect(Set(lines.compactMap { $0.split(separator: " ").first }).count == accepted + 1)
  }
}
