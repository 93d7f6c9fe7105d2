import Glibc
import Histogram
import SluiceCore
import SluiceJournal

/// Open loop: records are due at a steady rate whatever the log does, and are timed from when they were due.
struct LatencyRun {
  let arguments: BenchArguments
  init(_ arguments: BenchArguments) { self.arguments = arguments }

  func run() {
    var options = arguments.options()
    options.retainBytes = 4 * options.segmentBytes
    let log = arguments.open(options)
    let drain = Drain(log)
    WarmUp(arguments).run(log)
    let lane = BenchLane(log, size: arguments.number("size"))
    let rate = arguments.decimal("rate")
    let total = Int(rate * arguments.decimal("seconds"))
    var histogram = Histogram<UInt64>(highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .three)
    // What is under way: the last LSN of each submit, and how many were due by then.
    var underWay: [(last: UInt64, due: Int)] = []
    var acknowledged = 0
    var done = 0
    var refused = 0
    let begun = Clock.monotonic()
    while acknowledged < total {
      let now = Clock.monotonic()
      let due = min(total, Int(Double(now - begun) / 1e9 * rate))
      if due > done {
        let turn = lane.append(due - done, time: now)
        if turn.taken < due - done { refused += 1 }
        done += turn.taken
        underWay.append((turn.last, done))
      }
      let reached = lane.lane.acknowledged
      let finished = Clock.monotonic()
      let settled = underWay.prefix { $0.last <= reached }.count
      if settled > 0 {
        for index in acknowledged..<underWay[settled - 1].due {
          histogram.record(UInt64(max(1, finished - begun - Int64(Double(index) / rate * 1e9))))
        }
        acknowledged = underWay[settled - 1].due
        underWay.removeFirst(settled)
      }
      pause(lane, until: begun + Int64(Double(done + 1) / rate * 1e9), underWay.first?.last)
    }
    drain.finish()
    log.close()
    let percentiles = [50.0, 99, 99.9].map { Double(histogram.valueAtPercentile($0)) / 1e3 }
    print(
      "{\"latency_us\": {\"p50\": \(percentiles[0]), \"p99\": \(percentiles[1]), \"p999\": \(percentiles[2])}, "
        + "\"records\": \(total), \"full\": \(refused)}")
  }

  /// Until the next record is due or the oldest submit is acknowledged; short times are spun away.
  private func pause(_ lane: BenchLane, until due: Int64, _ oldest: UInt64?) {
    while Clock.monotonic() < due {
      if let oldest, lane.lane.acknowledged >= oldest { return }
      if oldest == nil, due - Clock.monotonic() > 200_000 {
        Doorbell().wait(until: due - 100_000)
      } else {
        sched_yield()
      }
    }
  }
}

/// Makes a log of so many bytes and leaves it as a kill would.
struct LogFiller {
  let arguments: BenchArguments
  init(_ arguments: BenchArguments) { self.arguments = arguments }

  func run() {
    var options = arguments.options()
    options.retainBytes = 1 << 40
    let log = arguments.open(options)
    let lane = BenchLane(log, size: arguments.number("size"))
    let wanted = arguments.number("bytes")
    while log.status.retainedBytes < wanted {
      let (_, last) = lane.append(256, time: Clock.wall())
      lane.wait(for: last)
    }
    print(
      "{\"records\": \(log.committedLSN), \"bytes\": \(log.status.retainedBytes), \"segments\": \(log.status.segments)}"
    )
    fflush(nil)
    _exit(0)
  }
}

/// Opens the log and says how long recovery took.
struct RecoveryRun {
  let arguments: BenchArguments
  init(_ arguments: BenchArguments) { self.arguments = arguments }

  func run() {
    var options = arguments.options()
    options.retainBytes = 1 << 40
    let started = Clock.monotonic()
    let log = arguments.open(options)
    let seconds = Double(Clock.monotonic() - started) / 1e9
    let report = log.recovery
    print(
      "{\"seconds\": \(seconds), \"tail\": \"\(report.tail)\", \"segments\": \(report.segments), "
        + "\"bytes_scanned\": \(report.bytesScanned), \"last_lsn\": \(report.lastLSN)}")
    fflush(nil)
    _exit(0)
  }
}

/// One subscriber takes as many holds as it is allowed and settles nothing; another goes on. Memory and rate meanwhile.
struct StalledSubscriber {
  let arguments: BenchArguments
  init(_ arguments: BenchArguments) { self.arguments = arguments }

  func run() {
    var options = arguments.options()
    options.retainBytes = 1 << 40
    let log = arguments.open(options)
    let drain = Drain(log)
    let held = hoard(log)
    let size = arguments.number("size")
    let lane = BenchLane(log, size: size)
    let end = Clock.monotonic() + Int64(arguments.decimal("seconds") * 1e9)
    var most = (all: 0, shared: 0)
    var last: UInt64 = 0
    var turns = 0
    while Clock.monotonic() < end {
      let turn = lane.append(256, time: Clock.wall())
      last = turn.last
      if turn.taken < 256 { lane.wait(for: min(last, log.committedLSN + 1)) }
      turns += 1
      if turns % 256 == 0 {
        let now = Memory.resident()
        most = (max(most.all, now.all), max(most.shared, now.shared))
      }
      held.takeMore()
    }
    lane.wait(for: last)
    drain.finish()
    print(
      "{\"records\": \(log.committedLSN), \"resident\": \(most.all), \"shared\": \(most.shared), "
        + "\"ring\": \(log.status.ringBytes), \"held\": \(held.bytes)}")
    fflush(nil)
    _exit(0)
  }

  private func hoard(_ log: StreamLog) -> Hoard {
    guard let reader = try? log.openReader(subscriber: "stalled", start: .oldest) else {
      BenchArguments.fail("no reader")
    }
    return Hoard(reader)
  }
}

/// Keeps a hold on every slab that it is given, up to what a plugin may keep, and one batch in its hands.
final class Hoard {
  private let reader: any StreamReader
  private let batch = RecordBatch(capacity: Limits.defaultBatchRecords)
  private var pins: [any RecordPin] = []
  private(set) var bytes = 0

  init(_ reader: any StreamReader) { self.reader = reader }

  func takeMore() {
    guard bytes < Limits.pluginLeaseBytes else { return }
    batch.release()
    guard case .records? = try? reader.read(into: batch, maxRecords: batch.capacity, maxBytes: 1 << 20),
      let pin = batch.pin, !pins.contains(where: { $0 === pin })
    else { return }
    pin.retain()
    pins.append(pin)
    bytes += pin.chargedBytes
  }
}
