import Glibc
import SluiceCore
import SluiceTopology

@testable import SluiceHost

/// A plugin's process that says what a test wants it to: the program hostile.c, with files beside it.
final class HostileProcess {
  let directory = TemporaryDirectory()

  init() throws {
    let program = Fixtures.program("hostile")
    let runner = "\(directory.path)/sluice"
    guard link(program, runner) == 0 || symlink(program, runner) == 0 else { throw POSIXFailure(code: errno) }
    say("describe", Say.reply(more: { HostileProcess.description.write(to: &$0) }))
  }

  struct POSIXFailure: Error { var code: Int32 }

  /// `call`: its name, with "-last" if the process ends after that.
  func say(_ call: String, _ bytes: [UInt8]) {
    let path = "\(directory.path)/\(call)"
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    precondition(file >= 0)
    defer { close(file) }
    bytes.withUnsafeBytes { precondition(write(file, $0.baseAddress, $0.count) == $0.count) }
  }

  func load() throws(PluginLoadError) -> LoadedPlugin {
    try PluginLibrary(
      searchPaths: [Fixtures.directory("recorder")], stateDirectory: directory.folder("state"),
      runner: "\(directory.path)/sluice"
    ).load("recorder", place: .process)
  }

  static let description = RemoteDescription(
    name: "hostile", version: "1", vendor: "", runtime: "", major: 1, abiMinor: 0, changedSignals: [],
    kinds: [
      .init(
        kind: "recorder", summary: "", schemaJSON: "{}", outputs: ["out"], flags: 0,
        wants: .init(records: 0, bytes: 0, lingerMilliseconds: 0, maxInflight: 0, ackDeadlineMilliseconds: 0),
        functions: [.validate, .start, .gap, .flush, .drain, .stop, .interrupt, .reconfigure])
    ])
}

/// Packets as a process sends them.
enum Say {
  static func packet(_ kind: PacketKind, _ body: (inout PacketWriter) -> Void = { _ in }) -> [UInt8] {
    var packet = PacketWriter()
    packet.begin(kind)
    body(&packet)
    packet.end()
    return packet.bytes
  }

  static func reply(
    rc: Int32 = 0, message: String = "", more: (inout PacketWriter) -> Void = { _ in }
  ) -> [UInt8] {
    packet(.reply) { packet in
      packet.put(rc)
      packet.put(UInt32.max)
      packet.put(message)
      more(&packet)
    }
  }

  /// To `deliver`.
  static func delivered(_ isRetained: UInt8 = 0, rc: Int32 = 0) -> [UInt8] { reply(rc: rc) { $0.put(isRetained) } }

  static func release(_ slot: UInt32) -> [UInt8] { packet(.release) { $0.put(slot) } }

  static func base(_ address: UInt64) -> [UInt8] { packet(.base) { $0.put(address) } }

  static func settle(_ token: UInt64, _ count: UInt32, verdict: UInt32, items: UInt32 = 1) -> [UInt8] {
    packet(.settle) { packet in
      packet.put(items)
      packet.put(token)
      for number in [count, verdict, UInt32.max, UInt32.max] { packet.put(number) }
      packet.put("\u{0}why")
    }
  }

  static func log(_ level: UInt32, pairs: Int) -> [UInt8] {
    packet(.log) { packet in
      packet.put(level)
      packet.put(String(repeating: "l", count: 20_000))
      packet.put(UInt32(pairs))
      for pair in 0..<pairs {
        packet.put("name\(pair)")
        packet.put("value")
      }
    }
  }

  static func register(_ kind: UInt32, labels: Int = 1, bounds: [Double] = [], name: String = "n") -> [UInt8] {
    packet(.register) { packet in
      packet.put(UInt64.max)
      packet.put(kind)
      for text in [name, "seconds", ""] { packet.put(text) }
      packet.put(UInt32(labels))
      for label in 0..<labels {
        packet.put("l\(label)")
        packet.put("\u{0}\"\n")
      }
      packet.put(UInt32(bounds.count))
      for bound in bounds { packet.put(bound) }
    }
  }

  static func change(_ kind: PacketKind, _ metric: UInt64, _ value: Double) -> [UInt8] {
    packet(kind) { packet in
      packet.put(metric)
      packet.put(value)
    }
  }

  static func publish(_ count: Int, output: UInt32 = 0, token: UInt64 = 1, time: Int64 = .min) -> [UInt8] {
    packet(.publish) { packet in
      packet.put(UInt32(count))
      for _ in 0..<count {
        packet.put(output)
        packet.put(token)
        packet.put(UInt64.max)
        packet.put(time)
        for text in ["topic", "", "", "payload"] { packet.put(text) }
      }
    }
  }

  static func health(_ state: UInt32) -> [UInt8] {
    packet(.health) { packet in
      packet.put(state)
      packet.put(
        [0xff, 0xfe, 0x00].withUnsafeBytes { Array($0) }.withUnsafeBytes { String(decoding: $0, as: UTF8.self) })
    }
  }
}
