import SluiceCore
import Synchronization

/// Why an append was refused, as metrics tell it apart.
enum RejectReason: String, CaseIterable {
  case ring
  case retention
  case maxLag = "max_lag"
  case disk
  case closing

  init(_ reason: FullReason) {
    switch reason {
    case .ring: self = .ring
    case .retention: self = .retention
    case .disk: self = .disk
    case .closing: self = .closing
    }
  }
}

/// Counters of one stream: the commit thread writes most of them once per commit, anybody reads.
final class LogCounters: Sendable {
  let records = Atomic<UInt64>(0)
  let bytes = Atomic<UInt64>(0)
  /// Bytes that groups took on disk since the log was opened.
  let diskBytes = Atomic<UInt64>(0)
  let commits = Atomic<UInt64>(0)
  let markers = Atomic<UInt64>(0)
  let expiredCursors = Atomic<UInt64>(0)
  /// LSNs that readers were told are gone.
  private let gaps = Mutex<[GapReason: UInt64]>([:])
  private let rejects = Mutex<[RejectReason: UInt64]>([:])
  private let latency = Mutex(LatencyHistogram())
  private let syncs = Mutex(LatencyHistogram())

  func countCommit(records: Int, bytes: Int, diskBytes: Int, nanoseconds: Int64) {
    self.records.add(UInt64(records), ordering: .relaxed)
    self.bytes.add(UInt64(bytes), ordering: .relaxed)
    self.diskBytes.add(UInt64(diskBytes), ordering: .relaxed)
    commits.add(1, ordering: .relaxed)
    latency.withLock { $0.add(nanoseconds) }
  }

  func countExpiredCursor() { expiredCursors.add(1, ordering: .relaxed) }
  func countMarker() { markers.add(1, ordering: .relaxed) }
  func countReject(_ reason: RejectReason) { rejects.withLock { $0[reason, default: 0] += 1 } }
  func countGap(records: UInt64, _ reason: GapReason) { gaps.withLock { $0[reason, default: 0] &+= records } }
  func countSync(nanoseconds: Int64) { syncs.withLock { $0.add(nanoseconds) } }

  func rejected(_ reason: RejectReason) -> UInt64 { rejects.withLock { $0[reason] ?? 0 } }
  func gapRecords(_ reason: GapReason) -> UInt64 { gaps.withLock { $0[reason] ?? 0 } }
  var syncLatency: LatencyHistogram { syncs.withLock { $0 } }
  var commitLatency: LatencyHistogram { latency.withLock { $0 } }
}

/// Durations in log-linear buckets: four to each power of two, from 16 µs to 17 s.
struct LatencyHistogram: Sendable {
  static let firstPower = 14
  static let lastPower = 34
  static let perPower = 4
  private(set) var counts = [UInt64](repeating: 0, count: (lastPower - firstPower) * perPower + 1)
  private(set) var sum: Int64 = 0

  mutating func add(_ nanoseconds: Int64) {
    sum += nanoseconds
    counts[LatencyHistogram.bucket(nanoseconds)] += 1
  }

  var count: UInt64 { counts.reduce(0, +) }

  static func bucket(_ nanoseconds: Int64) -> Int {
    guard nanoseconds >= 1 << firstPower else { return 0 }
    let power = 63 - nanoseconds.leadingZeroBitCount
    guard power < lastPower else { return (lastPower - firstPower) * perPower }
    return (power - firstPower) * perPower + Int(nanoseconds >> (power - 2)) & (perPower - 1)
  }

  /// The smallest duration, in ns, that does not fall into `bucket` or one before it.
  static func upperBound(_ bucket: Int) -> Int64 {
    let power = firstPower + bucket / perPower
    return (1 << power) + Int64(bucket % perPower + 1) << (power - 2)
  }
}
