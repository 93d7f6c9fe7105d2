import CSluice

/// The daemon, as one instance sees it. May be used from any thread until `stop` returns, and not after it.
///
/// `@unchecked Sendable`: the table and all it points to are immutable, and every function of it may be called from any
/// thread at any time (host.h, tag [any]); `retain`, the exception, is reachable through a batch only.
public struct Host: @unchecked Sendable {
  let table: UnsafePointer<slu_host>

  init(_ table: UnsafePointer<slu_host>) { self.table = table }

  private var context: UnsafeMutableRawPointer? { table.pointee.context }

  /// The subscriber's name in the topology.
  public var instance: String { String(decoding: table.pointee.instance.buffer, as: UTF8.self) }
  /// A directory that is this instance's alone and survives restarts.
  public var stateDirectory: String { String(decoding: table.pointee.state_dir.buffer, as: UTF8.self) }
  /// The daemon's version.
  public var version: String { String(decoding: table.pointee.host_version.buffer, as: UTF8.self) }

  /// How much a log line matters.
  public enum LogLevel: UInt32, Sendable {
    /// Step by step.
    case trace = 0
    /// For who looks for a fault.
    case debug = 1
    /// What happens.
    case info = 2
    /// What an operator should read once.
    case notice = 3
    /// Something is wrong, and the instance copes.
    case warning = 4
    /// Something is wrong.
    case error = 5
  }

  /// Writes a line to the daemon's log under the instance's name.
  public func log(_ level: LogLevel, _ message: String, _ fields: KeyValuePairs<String, String> = [:]) {
    let lent = LentBytes(fields.flatMap { [$0.key, $0.value] } + [message])
    let pairs = (0..<fields.count).map { slu_pair(name: lent[2 * $0], value: lent[2 * $0 + 1]) }
    pairs.withUnsafeBufferPointer {
      table.pointee.log(context, level.rawValue, lent[2 * fields.count], $0.baseAddress, UInt32($0.count))
    }
    lent.end()
  }

  /// Gives one verdict on `count` consecutive tokens of one batch.
  /// - Returns: false if some were not open any more, or the range was wrong; the others were taken.
  @discardableResult
  public func settle(first token: UInt64, count: Int = 1, _ verdict: Verdict) -> Bool {
    var item = slu_settlement()
    item.first_token = token
    item.count = UInt32(clamping: count)
    switch verdict {
    case .ack:
      item.verdict = SLU_ACK
    case .retry(let delay, _):
      item.verdict = SLU_RETRY
      item.delay_ms = UInt32(clamping: max(0, delay.roundedUpMilliseconds))
    case .reject(let code, _):
      item.verdict = SLU_REJECT
      item.code = code
    }
    var reason = verdict.reason
    return reason.withUTF8 { text in
      item.reason = slu_bytes(ptr: UnsafeRawPointer(text.baseAddress), len: UInt64(text.count))
      return table.pointee.settle(context, &item, 1) == SLU_OK
    }
  }

  /// Keeps the bytes of `batch` after `deliver` has returned.
  /// - Returns: nil when the budget is used up or the daemon can't: copy what you need.
  public func retain(_ batch: borrowing Batch) -> Lease? {
    let id = batch.raw.pointee.lease
    guard table.pointee.retain(context, id) == SLU_OK else { return nil }
    return Lease(host: self, id: id)
  }

  fileprivate func release(_ id: UInt64) { table.pointee.release(context, id) }

  /// Says how many more messages are welcome; 0 pauses.
  /// - Returns: false if the daemon does not serve it: it then waits its own time after `.busy`.
  @discardableResult
  public func setCredit(_ messages: Int) -> Bool {
    table.pointee.set_credit(context, UInt32(clamping: messages)) == SLU_OK
  }

  /// How the instance fares.
  public enum Health: UInt32, Sendable {
    /// Well.
    case ok = 1
    /// Works, but not as it should.
    case degraded = 2
    /// Delivers nothing now.
    case down = 3
  }

  /// Says how the instance fares; stands until the next call.
  public func setHealth(_ health: Health, _ why: String = "") {
    let lent = LentBytes([why])
    table.pointee.set_health(context, health.rawValue, lent[0])
    lent.end()
  }

  /// Nanoseconds since 1970.
  public var now: Int64 { table.pointee.clock_ns(context, SLU_CLOCK_REALTIME) }
  /// Nanoseconds on the clock that deadlines are on.
  public var monotonicNow: Int64 { table.pointee.clock_ns(context, SLU_CLOCK_MONOTONIC) }
}

/// Keeps a batch's bytes in memory until it goes out of scope.
public struct Lease: ~Copyable, Sendable {
  private let host: Host
  private let id: UInt64

  init(host: Host, id: UInt64) {
    self.host = host
    self.id = id
  }

  deinit { host.release(id) }
}

/// A point in time by which something should be done.
public struct Deadline: Sendable, Equatable {
  /// On the monotonic clock; nil: there is none.
  public let nanoseconds: Int64?

  init(raw: Int64) { nanoseconds = raw == 0 ? nil : raw }

  /// A deadline at a point of `Host.monotonicNow`.
  public init(atMonotonicNanoseconds nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  /// Nanoseconds left, never negative; `Int64.max` without a deadline.
  public func remaining(_ host: Host) -> Int64 {
    guard let nanoseconds else { return Int64.max }
    return max(0, nanoseconds.subtractingReportingOverflow(host.monotonicNow).partialValue)
  }
}

/// Copies of some strings that C may look at until `end` is called. For calls that are rare: it allocates.
final class LentBytes {
  private let buffer: UnsafeMutableRawBufferPointer
  private var ranges: [slu_bytes] = []

  init(_ strings: [String]) {
    buffer = .allocate(byteCount: max(1, strings.reduce(0) { $0 + $1.utf8.count }), alignment: 1)
    ranges.reserveCapacity(strings.count)
    var at = 0
    for string in strings {
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer[at..<(at + string.utf8.count)])
      part.copyBytes(from: string.utf8)
      ranges.append(slu_bytes(ptr: UnsafeRawPointer(part.baseAddress), len: UInt64(part.count)))
      at += string.utf8.count
    }
  }

  subscript(index: Int) -> slu_bytes { ranges[index] }

  /// Marks the point up to which the bytes are needed; they are freed with the object.
  func end() { withExtendedLifetime(self) {} }

  deinit { buffer.deallocate() }
}
