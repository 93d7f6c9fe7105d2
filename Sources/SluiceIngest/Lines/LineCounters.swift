import SluiceCore
import Synchronization

/// What one thread has done with lines. Only that thread writes, so an increment is a plain load and store; anyone may
/// read.
///
/// `@unchecked Sendable`: the cells are atomics, allocated once and freed with the last reference.
final class LineCounters: @unchecked Sendable {
  enum Cell: Int, CaseIterable {
    case accepted, bytes, pauses
    /// Lines that were not taken: too long for the stream; held when there was no memory for more; whole, but not stored
    /// before the source had to end; cut off in the middle.
    case tooLarge, memory, closing, unfinished
    case opened, closed, timedOut, refused
    /// Of messages that were taken: no syslog.
    case malformed
    /// Datagrams that were not taken: the stream was full; there was nothing in them; the kernel had no room.
    case full, empty, kernelDropped
  }

  private let cells: UnsafeMutablePointer<Atomic<UInt64>>

  init() {
    cells = .allocate(capacity: Cell.allCases.count)
    for index in 0..<Cell.allCases.count { (cells + index).initialize(to: Atomic(0)) }
  }

  deinit {
    cells.deinitialize(count: Cell.allCases.count)
    cells.deallocate()
  }

  @inline(__always)
  func add(_ cell: Cell, _ count: Int = 1) {
    let value = cells[cell.rawValue].load(ordering: .relaxed)
    cells[cell.rawValue].store(value &+ UInt64(truncatingIfNeeded: count), ordering: .relaxed)
  }

  func value(_ cell: Cell) -> UInt64 { cells[cell.rawValue].load(ordering: .relaxed) }

  /// What a source's input is made of.
  enum Input { case descriptor, connections, datagrams }

  /// The sums over all threads of a source; only what there can be with its input.
  static func families(
    source: String, _ all: [LineCounters], _ input: Input, isSyslog: Bool = false
  ) -> [MetricFamily] {
    func sum(_ cell: Cell) -> Double { Double(all.reduce(0) { $0 &+ $1.value(cell) }) }
    func one(_ value: Double) -> [MetricFamily.Sample] { [.init([("source", source)], value)] }
    let reasons: [(String, Cell)] =
      input == .datagrams
      ? [("too_large", .tooLarge), ("full", .full), ("empty", .empty)]
      : [("too_large", .tooLarge), ("memory", .memory), ("closing", .closing), ("unfinished", .unfinished)]
    var records = [
      MetricFamily(
        "sluice_source_accepted_records_total", .counter, help: "Records appended to the stream.",
        samples: one(sum(.accepted))),
      MetricFamily(
        "sluice_source_rejected_records_total", .counter, help: "Records not taken, by reason.",
        samples: reasons.map { .init([("source", source), ("reason", $0.0)], sum($0.1)) }),
      MetricFamily(
        "sluice_source_received_bytes_total", .counter, help: "Bytes of all requests, framing included.",
        samples: one(sum(.bytes))),
    ]
    if isSyslog {
      records.append(
        MetricFamily(
          "sluice_source_malformed_records_total", .counter, help: "Records taken though they are no syslog messages.",
          samples: one(sum(.malformed))))
    }
    records.append(
      input == .datagrams
        ? MetricFamily(
          "sluice_source_kernel_drops_total", .counter, help: "Datagrams that found the receive buffer full.",
          samples: one(sum(.kernelDropped)))
        : MetricFamily(
          "sluice_source_pauses_total", .counter, help: "Times that input waited for room in the stream.",
          samples: one(sum(.pauses))))
    guard input == .connections else { return records }
    return records + [
      MetricFamily(
        "sluice_source_connections", .gauge, help: "Open connections.",
        samples: one(max(0, sum(.opened) - sum(.closed)))),
      MetricFamily(
        "sluice_source_connections_total", .counter, help: "Connections accepted.", samples: one(sum(.opened))),
      MetricFamily(
        "sluice_source_timeouts_total", .counter, help: "Connections closed for sending too slowly or nothing at all.",
        samples: one(sum(.timedOut))),
      MetricFamily(
        "sluice_source_refused_connections_total", .counter, help: "Connections closed for being one too many.",
        samples: one(sum(.refused))),
    ]
  }
}
