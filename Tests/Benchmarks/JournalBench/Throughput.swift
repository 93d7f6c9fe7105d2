import Glibc
import SluiceCore
import SluiceJournal
import Synchronization

/// Records as fast as they go through one lane per stream; each stream has a subscriber that settles everything.
struct Throughput {
  let arguments: BenchArguments
  init(_ arguments: BenchArguments) { self.arguments = arguments }

  func run() {
    let streams = arguments.number("streams", 1)
    let size = arguments.number("size")
    let isWarm = arguments.number("warm", 0) == 1
    let logs = (0..<streams).map { number in
      var options = arguments.options("bench\(number)")
      // Warm: so little is kept that every segment is one that was written before. Cold: none is let go.
      options.retainBytes = isWarm ? 4 * options.segmentBytes : 1 << 40
      return arguments.open(options)
    }
    let drains = logs.map(Drain.init)
    if isWarm { for log in logs { WarmUp(arguments).run(log) } }
    let allocations = Allocations.now()
    let before = logs.map(\.status)
    let cpu = ThreadCPU.now()
    let started = Clock.monotonic()
    let end = started + Int64(arguments.decimal("seconds") * 1e9)
    let producers = logs.map { log in OSThread(name: "produce") { produce(log, size, until: end) } }
    // A thread that has ended is no longer in /proc: the producers are counted while they still run.
    let used = measure(until: end, since: cpu)
    let allocated = Allocations.json(since: allocations)
    for producer in producers { producer.join() }
    let seconds = Double(Clock.monotonic() - started) / 1e9
    let after = logs.map(\.status)
    for drain in drains { drain.finish() }
    let records = zip(before, after).reduce(0) { $0 + Int($1.1.records - $1.0.records) }
    let bytes = zip(before, after).reduce(0) { $0 + Int($1.1.recordBytes - $1.0.recordBytes) }
    let commits = zip(before, after).reduce(0) { $0 + Int($1.1.commits - $1.0.commits) }
    for log in logs { log.close() }
    print(
      "{\"records\": \(records), \"bytes\": \(bytes), \"commits\": \(commits), \"seconds\": \(seconds), \"cpu\": \(used), "
        + "\"allocations\": \(allocated)}")
  }

  private func measure(until end: Int64, since cpu: [String: Double]) -> String {
    // Nobody rings: the time is what is waited for.
    Doorbell().wait(until: end - 5_000_000)
    return ThreadCPU.json(since: cpu)
  }

  private func produce(_ log: StreamLog, _ size: Int, until end: Int64) {
    let lane = BenchLane(log, size: size)
    let perTurn = max(1, (256 << 10) / lane.recordBytes)
    var last: UInt64 = 0
    while true {
      let now = Clock.monotonic()
      if now >= end { break }
      let turn = lane.append(perTurn, time: now)
      last = turn.last
      // The ring is full: a commit makes room.
      if turn.taken < perTurn { lane.wait(for: min(last, log.committedLSN + 1)) }
    }
    lane.wait(for: last)
    lane.lane.close()
  }
}

/// Goes on until the log writes into segments that were others before.
struct WarmUp {
  let arguments: BenchArguments
  init(_ arguments: BenchArguments) { self.arguments = arguments }

  func run(_ log: StreamLog) {
    let wanted = 8 * arguments.number("segment", Limits.defaultSegmentBytes)
    let lane = BenchLane(log, size: 16 << 10)
    var bytes = 0
    while bytes < wanted {
      let (taken, last) = lane.append(64, time: Clock.wall())
      bytes += taken * lane.recordBytes
      lane.wait(for: last)
    }
    lane.lane.close()
    settleDown(log)
  }

  /// Until nothing is deleted any more: what is measured is not the end of the warm-up.
  private func settleDown(_ log: StreamLog) {
    var (segments, since) = (log.status.segments, Clock.monotonic())
    while Clock.monotonic() - since < 500_000_000 {
      Doorbell().wait(until: Clock.monotonic() + 20_000_000)
      let now = log.status.segments
      if now != segments { (segments, since) = (now, Clock.monotonic()) }
    }
  }
}
