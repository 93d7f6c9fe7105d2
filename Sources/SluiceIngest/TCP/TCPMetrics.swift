import SluiceCore
import Synchronization

/// One loop's counters. Only the loop writes, so an increment is a plain load and store; anyone may read.
///
/// `@unchecked Sendable`: the cells are atomics, allocated once and freed with the last reference.
final class TCPCounters: @unchecked Sendable {
  enum Cell: Int, CaseIterable {
    case bytes, frames, accepted, duplicates, gaps, discarded, opened, closed, timedOut, refused, blocked
  }

  private static let nacks = Cell.allCases.count
  private static let errors = nacks + WireNackCode.allCases.count
  private static let count = errors + WireErrorCode.allCases.count

  private let cells: UnsafeMutablePointer<Atomic<UInt64>>

  init() {
    cells = .allocate(capacity: Self.count)
    for index in 0..<Self.count { (cells + index).initialize(to: Atomic(0)) }
  }

  deinit {
    cells.deinitialize(count: Self.count)
    cells.deallocate()
  }

  func add(_ cell: Cell, _ count: Int = 1) { add(cell.rawValue, count) }

  /// A record was refused with this code.
  func add(_ code: WireNackCode) { add(Self.index(code), 1) }

  /// An ERROR was sent.
  func add(_ code: WireErrorCode) { add(Self.errors + Int(code.rawValue) - 1, 1) }

  private static func index(_ code: WireNackCode) -> Int {
    // Transient codes count from 1, permanent ones, which stand behind them, from 128.
    let transient = Int(WireNackCode.draining.rawValue)
    return code.isPermanent
      ? nacks + transient + Int(code.rawValue - WireNackCode.tooLarge.rawValue) : nacks + Int(code.rawValue) - 1
  }

  private func add(_ index: Int, _ count: Int) {
    let value = cells[index].load(ordering: .relaxed)
    cells[index].store(value &+ UInt64(truncatingIfNeeded: count), ordering: .relaxed)
  }

  func value(_ cell: Cell) -> UInt64 { cells[cell.rawValue].load(ordering: .relaxed) }
  func value(_ code: WireNackCode) -> UInt64 { cells[Self.index(code)].load(ordering: .relaxed) }
  func value(_ code: WireErrorCode) -> UInt64 {
    cells[Self.errors + Int(code.rawValue) - 1].load(ordering: .relaxed)
  }

  /// The sums over all loops of a source.
  static func families(source: String, _ all: [TCPCounters]) -> [MetricFamily] {
    func sum(_ value: (TCPCounters) -> UInt64) -> Double { Double(all.reduce(0) { $0 &+ value($1) }) }
    func family(_ name: String, _ cell: Cell, _ help: String) -> MetricFamily {
      MetricFamily(name, .counter, help: help, samples: [.init([("source", source)], sum { $0.value(cell) })])
    }
    let nacks = WireNackCode.allCases.map { code in (code.label, sum { $0.value(code) }) }
    let errors = WireErrorCode.allCases.map { code in (code.label, sum { $0.value(code) }) }
    let open = max(0, sum { $0.value(.opened) } - sum { $0.value(.closed) })
    return [
      family("sluice_source_accepted_records_total", .accepted, "Records appended to the stream."),
      MetricFamily(
        "sluice_source_rejected_records_total", .counter, help: "Records not taken, by reason.",
        samples: nacks.map { .init([("source", source), ("reason", $0.0)], $0.1) }),
      family("sluice_source_received_bytes_total", .bytes, "Bytes received, framing included."),
      MetricFamily(
        "sluice_source_connections", .gauge, help: "Open connections.", samples: [.init([("source", source)], open)]),
      family("sluice_source_connections_total", .opened, "Connections accepted."),
      family(
        "sluice_source_timeouts_total", .timedOut,
        "Connections closed for sending too slowly or nothing at all."),
      family(
        "sluice_source_refused_connections_total", .refused, "Connections closed for being one too many."),
      family("sluice_tcp_frames_total", .frames, "Frames received whole and undamaged."),
      family("sluice_tcp_duplicate_records_total", .duplicates, "Records that the stream had already."),
      family("sluice_tcp_gaps_total", .gaps, "Times that records before the one that came were missing."),
      family(
        "sluice_tcp_discarded_records_total", .discarded,
        "Records dropped because one before them has to come again."),
      family("sluice_tcp_blocked_total", .blocked, "Times that a connection was not read because the stream was full."),
      MetricFamily(
        "sluice_tcp_errors_total", .counter, help: "Connections and channels ended with an ERROR, by code.",
        samples: errors.map { .init([("source", source), ("code", $0.0)], $0.1) }),
    ]
  }
}
