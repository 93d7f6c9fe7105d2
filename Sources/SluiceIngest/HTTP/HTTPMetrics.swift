import SluiceCore
import Synchronization

/// One loop's counters. Only the loop writes, so an increment is a plain load and store; anyone may read.
///
/// `@unchecked Sendable`: the cells are atomics, allocated once and freed with the last reference.
final class HTTPCounters: @unchecked Sendable {
  private enum Layout {
    static let statuses = 0
    static let reasons = HTTPStatus.allCases.count
    static let bytes = reasons + RejectReason.allCases.count
    static let accepted = bytes + 1
    static let opened = accepted + 1
    static let closed = opened + 1
    static let timedOut = closed + 1
    static let refused = timedOut + 1
    static let duplicates = refused + 1
    static let blocked = duplicates + 1
    static let count = blocked + 1
  }

  private let cells: UnsafeMutablePointer<Atomic<UInt64>>

  init() {
    cells = .allocate(capacity: Layout.count)
    for index in 0..<Layout.count { (cells + index).initialize(to: Atomic(0)) }
  }

  deinit {
    cells.deinitialize(count: Layout.count)
    cells.deallocate()
  }

  func answered(_ status: HTTPStatus, _ count: Int = 1) { add(Layout.statuses + status.rawValue, count) }
  func rejected(_ reason: RejectReason, _ count: Int = 1) { add(Layout.reasons + reason.rawValue, count) }
  func received(bytes: Int) { add(Layout.bytes, bytes) }
  func recordsAccepted(_ count: Int) { add(Layout.accepted, count) }
  func duplicates(_ count: Int) { add(Layout.duplicates, count) }
  func requestBlocked() { add(Layout.blocked, 1) }
  func connectionOpened() { add(Layout.opened, 1) }
  func connectionClosed() { add(Layout.closed, 1) }
  func connectionTimedOut() { add(Layout.timedOut, 1) }
  func connectionRefused() { add(Layout.refused, 1) }

  private func add(_ index: Int, _ count: Int) {
    let value = cells[index].load(ordering: .relaxed)
    cells[index].store(value &+ UInt64(truncatingIfNeeded: count), ordering: .relaxed)
  }

  private func value(_ index: Int) -> UInt64 { cells[index].load(ordering: .relaxed) }

  /// The sums over all loops of a source.
  static func families(source: String, _ all: [HTTPCounters]) -> [MetricFamily] {
    func sum(_ index: Int) -> Double { Double(all.reduce(0) { $0 &+ $1.value(index) }) }
    func one(_ value: Double) -> [MetricFamily.Sample] { [.init([("source", source)], value)] }
    let requests = HTTPStatus.allCases.map { status in
      MetricFamily.Sample([("source", source), ("code", "\(status.code)")], sum(Layout.statuses + status.rawValue))
    }
    let rejects = RejectReason.allCases.map { reason in
      MetricFamily.Sample([("source", source), ("reason", reason.label)], sum(Layout.reasons + reason.rawValue))
    }
    return [
      MetricFamily(
        "sluice_http_requests_total", .counter, help: "Answers by status code.", samples: requests),
      MetricFamily(
        "sluice_source_accepted_records_total", .counter, help: "Records appended to the stream.",
        samples: one(sum(Layout.accepted))),
      MetricFamily(
        "sluice_source_rejected_records_total", .counter, help: "Records not taken, by reason.", samples: rejects),
      MetricFamily(
        "sluice_source_duplicate_records_total", .counter,
        help: "Records that their producer sent again, stored already.", samples: one(sum(Layout.duplicates))),
      MetricFamily(
        "sluice_source_blocked_requests_total", .counter,
        help: "Requests that waited for room in the stream.", samples: one(sum(Layout.blocked))),
      MetricFamily(
        "sluice_source_received_bytes_total", .counter, help: "Bytes of all requests, framing included.",
        samples: one(sum(Layout.bytes))),
      MetricFamily(
        "sluice_source_connections", .gauge, help: "Open connections.",
        samples: one(max(0, sum(Layout.opened) - sum(Layout.closed)))),
      MetricFamily(
        "sluice_source_connections_total", .counter, help: "Connections accepted.", samples: one(sum(Layout.opened))),
      MetricFamily(
        "sluice_source_timeouts_total", .counter, help: "Connections closed for sending too slowly or nothing at all.",
        samples: one(sum(Layout.timedOut))),
      MetricFamily(
        "sluice_source_refused_connections_total", .counter, help: "Connections turned away for being one too many.",
        samples: one(sum(Layout.refused))),
    ]
  }
}
