import CSluice
import Synchronization

/// A daemon that only writes down what a plugin asks of it.
package final class FakeHost: Sendable {
  package struct Line: Equatable, Sendable {
    package var level: UInt32
    package var message: String
    package var fields: [String: String]
  }

  package struct Settled: Equatable, Sendable {
    package var first: UInt64
    package var count: UInt32
    package var verdict: UInt32
    package var code: UInt32
    package var reason: String
    /// Milliseconds.
    package var delay: UInt32

    package init(
      first: UInt64, count: UInt32, verdict: UInt32, code: UInt32 = 0, reason: String = "", delay: UInt32 = 0
    ) {
      self.first = first
      self.count = count
      self.verdict = verdict
      self.code = code
      self.reason = reason
      self.delay = delay
    }
  }

  package struct Record: Sendable {
    package var lines: [Line] = []
    package var settled: [Settled] = []
    package var health: [UInt32] = []
    package var healthReason = ""
    package var metricNames: [String] = []
    package var metricValues: [Double] = []
    package var retained: [UInt64] = []
    package var released: [UInt64] = []
    /// Output, parent, ordinal, then topic, key, headers and payload with bars between them.
    package var published: [String] = []
  }

  private let state = Mutex(Record())
  private let retainAnswer: slu_rc
  private let publishAnswer: slu_rc
  nonisolated(unsafe) private let memory: UnsafeMutablePointer<slu_host>
  nonisolated(unsafe) private let text: [slu_bytes]

  /// `retainAnswer`, `publishAnswer`: what every `retain` and every `publish` answers.
  package init(
    instance: String = "tested", stateDirectory: String = "", retainAnswer: slu_rc = SLU_E_UNSUPPORTED,
    publishAnswer: slu_rc = SLU_E_UNSUPPORTED
  ) {
    self.retainAnswer = retainAnswer
    self.publishAnswer = publishAnswer
    memory = .allocate(capacity: 1)
    text = ["0.0.0-test", instance, stateDirectory].map(ownedBytes)
    memory.initialize(to: slu_host())
    memory.pointee.struct_size = UInt32(MemoryLayout<slu_host>.size)
    memory.pointee.abi_minor = SLU_ABI_MINOR
    memory.pointee.context = Unmanaged.passUnretained(self).toOpaque()
    memory.pointee.host_version = text[0]
    memory.pointee.instance = text[1]
    memory.pointee.state_dir = text[2]
    installFunctions()
  }

  deinit {
    text.forEach { UnsafeMutableRawPointer(mutating: $0.ptr)?.deallocate() }
    memory.deallocate()
  }

  package var table: UnsafePointer<slu_host> { UnsafePointer(memory) }
  package var record: Record { state.withLock { $0 } }
  /// Messages of all lines that were logged at `level`.
  package func messages(_ level: UInt32) -> [String] { record.lines.filter { $0.level == level }.map(\.message) }

  fileprivate func note(_ body: (inout Record) -> Void) { state.withLock { body(&$0) } }

  fileprivate static func from(_ context: UnsafeMutableRawPointer?) -> FakeHost {
    guard let context else { preconditionFailure("the plugin lost the host's context") }
    return Unmanaged<FakeHost>.fromOpaque(context).takeUnretainedValue()
  }

  private nonisolated func installFunctions() {
    memory.pointee.log = { context, level, message, pairs, count in
      var fields: [String: String] = [:]
      for index in 0..<Int(count) { fields[pairs![index].name.string] = pairs![index].value.string }
      let line = Line(level: level, message: message.string, fields: fields)
      FakeHost.from(context).note { $0.lines.append(line) }
    }
    memory.pointee.settle = { context, items, count in
      for index in 0..<Int(count) {
        let item = items![index]
        let settled = Settled(
          first: item.first_token, count: item.count, verdict: item.verdict, code: item.code,
          reason: item.reason.string, delay: item.delay_ms)
        FakeHost.from(context).note { $0.settled.append(settled) }
      }
      return SLU_OK
    }
    memory.pointee.retain = { context, lease in
      FakeHost.from(context).note { $0.retained.append(lease) }
      return FakeHost.from(context).retainAnswer
    }
    memory.pointee.release = { context, lease in FakeHost.from(context).note { $0.released.append(lease) } }
    memory.pointee.set_credit = { _, _ in SLU_E_UNSUPPORTED }
    memory.pointee.publish = { context, items, count, stride in
      guard let items, stride >= items.pointee.struct_size else { return SLU_E_INVALID }
      let host = FakeHost.from(context)
      for index in 0..<Int(count) {
        let item = UnsafeRawPointer(items).load(fromByteOffset: index * Int(stride), as: slu_publication.self)
        let parts = [item.topic, item.key, item.headers, item.payload].map(\.string)
        let text = "\(item.output) \(item.parent_token) \(item.ordinal) \(parts.joined(separator: "|"))"
        host.note { $0.published.append(text) }
      }
      return host.publishAnswer
    }
    memory.pointee.metric_register = { context, metric in
      let name = metric!.pointee.name.string
      let host = FakeHost.from(context)
      host.note {
        $0.metricNames.append(name)
        $0.metricValues.append(0)
      }
      return UInt64(host.record.metricNames.count)
    }
    memory.pointee.metric_add = { context, id, value in
      FakeHost.from(context).note { $0.metricValues[Int(id) - 1] += value }
    }
    memory.pointee.metric_set = { context, id, value in
      FakeHost.from(context).note { $0.metricValues[Int(id) - 1] = value }
    }
    memory.pointee.clock_ns = { _, clock in clock == SLU_CLOCK_MONOTONIC ? 5_000 : 1_700_000_000_000_000_000 }
    memory.pointee.set_health = { context, health, why in
      let reason = why.string
      FakeHost.from(context).note {
        $0.health.append(health)
        $0.healthReason = reason
      }
    }
    memory.pointee.get_extension = { _, _ in nil }
  }
}

extension slu_bytes {
  /// A copy of the bytes as text.
  package var string: String {
    String(decoding: UnsafeRawBufferPointer(start: ptr, count: Int(len)), as: UTF8.self)
  }
}

/// A copy of the text; the caller frees `ptr`.
func ownedBytes(_ text: String) -> slu_bytes { ownedBytes(Array(text.utf8)) }

/// A copy of the bytes; the caller frees `ptr`.
func ownedBytes(_ bytes: [UInt8]) -> slu_bytes {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, bytes.count), alignment: 8)
  copy.copyBytes(from: bytes)
  return slu_bytes(ptr: UnsafeRawPointer(copy.baseAddress), len: UInt64(bytes.count))
}
