import Foundation
import SluiceCore
import Testing

@testable import SluiceHost

#if arch(x86_64)
  /// A plugin that was built once, with the headers of ABI 1.0, and that this host must go on to serve: see
  /// Tests/Golden/abi/README.md.
  @Suite struct KeptPluginTests {
    private let home = TemporaryDirectory()

    /// A copy in a folder that only its owner may write to, whatever the checkout's are.
    private func kept() throws -> String {
      let copy = home.path + "/libsluice-kept.so"
      try FileManager.default.copyItem(
        atPath: Fixtures.tests + "/Golden/abi/libsluice-kept-1.0.so", toPath: copy)
      #expect(chmod(copy, 0o644) == 0)
      return copy
    }

    @Test("The kept plugin describes itself and checks configs as on the day it was built")
    func describes() throws {
      let plugin = try Fixtures.load(kept(), state: home.folder("state"))
      #expect(plugin.kind == "kept" && plugin.version == "1.0" && plugin.vendor == "Sluice" && plugin.abi == "1.0")
      #expect(plugin.outputs == ["children"] && !plugin.isExclusive && !plugin.needsOwnProcess)
      #expect(
        plugin.wants
          == LoadedPlugin.Wants(
            records: 100, bytes: 65536, lingerMilliseconds: 1, maxInflight: 1000, ackDeadlineMilliseconds: 60000))
      let warning = PluginFinding(.warning, pointer: "/n", text: "a warning")
      #expect(plugin.validate(configJSON: "{}").isEmpty)
      #expect(plugin.validate(configJSON: #"{"n":1}"#) == [warning])
      #expect(
        plugin.validate(configJSON: #"{"n":9}"#) == [warning, PluginFinding(.error, pointer: "/n", text: "an error")])
    }

    @Test(
      "The kept plugin is given everything that it was promised, in the daemon and in a process",
      arguments: [false, true])
    func delivers(isIsolated: Bool) throws {
      let rig = try SubscriberRig(kept(), n: 1, isIsolated: isIsolated)
      rig.reader.append([
        MemoryReader.Draft(
          payload: "one", topic: "web", key: "k1", headers: [1, 97, 2, 0, 98, 99], source: 3, producer: 1)
      ])
      rig.reader.append(["xtwo", "rthree", "four", "pfive"])
      rig.reader.lose(6...9)
      rig.reader.append((6...9).map { "lost\($0)" })
      rig.reader.append(["ten"])
      try rig.subscriber.start()
      #expect(rig.reader.waitUntilSettled(below: 11))
      #expect(rig.subscriber.reconfigure(#"{"n":2}"#) == .applied)
      for (payload, next) in [("busy", 12), ("fail", 13), ("later", 14)] {
        rig.reader.append([payload])
        #expect(rig.reader.waitUntilSettled(below: UInt64(next)), "\(payload): \(rig.seen)")
      }
      let shown = rig.subscriber.metrics().filter { $0.name.hasPrefix("sluice_plugin_kept_") }
      #expect(rig.stop() == .stopped)
      checkLines(rig.seen)
      let attempts = rig.messages.map { "\($0.lsn) \($0.attempt) \($0.payload)" }
      #expect(
        Set(attempts) == [
          "1 1 one", "2 1 xtwo", "3 1 rthree", "3 2 rthree", "4 1 four", "5 1 pfive", "10 1 ten", "11 1 busy",
          "12 1 fail",
          "12 2 fail", "13 1 later",
        ])
      #expect(rig.letters.payloads == ["xtwo"] && rig.letters.letters.map(\.code) == [7])
      #expect(Set(shown.map(\.name)).count >= 3, "\(shown)")
      #expect(rig.log.count("the kept plugin has a batch") > 0 && rig.log.count("the kept plugin fails") > 0)
      #expect(rig.reader.pinCount == 0)
    }

    private func checkLines(_ seen: [String]) {
      for line in [
        #"create it config {"n":1} metrics 1 host 1"#, "start deadline 1 clocks 1 extension 0",
        "batch events log 1 stride 1 lease 1 retain 0 deadline 1 replay 0 redelivery 0", "range 1",
        "about 1 topic web key k1 source source-3 producer producer-1 epoch 0 sequence 0 ingest 1000 event 0",
        "header 1 a=bc", "settle 0 again 3", "publish answered 1", "gap 6 9 reason 2 stream events",
        #"reconfigure {"n":2}"#,
        "busy credit 0", "accepted, settle 0", "drain 1",
      ] { #expect(seen.contains(line), "'\(line)' is not in \(seen)") }
      #expect(seen.filter { $0.hasPrefix("covered ") }.allSatisfy { $0.contains("payload inside 1") })
      #expect(seen.contains { $0.hasSuffix(" redelivery 1") })
      #expect(seen.last == "stop")
    }
  }
#endif
