import Glibc
import SluiceCore
import SluiceHost
import SluiceJournal
import SluiceTopology

/// A log of records on disk, read from its beginning by a new subscriber each time: in this process and in one of its own, in turn.
struct LogRounds {
  let bench: HostBench
  let records: UInt64
  let rounds: Int

  private struct Quiet: LogObserver {
    func logEvent(_ event: LogEvent) {}
  }

  func run() throws {
    let directory = bench.state + "/log"
    defer { LogRounds.remove(directory) }
    var options = StreamOptions(name: "bench", directory: directory)
    options.durability = .memory
    options.retainBytes = 1 << 40
    options.diskReserveBytes = 0
    let log = try StreamLog.open(options, observer: Quiet())
    defer { log.close() }
    fill(log)
    for round in 0..<rounds {
      for place in [PluginPlace.thread, .process] {
        let reader = try log.openReader(subscriber: "\(place)\(round)", start: .oldest)
        let settings = bench.settings()
        let (seconds, cpu) = try bench.deliver(reader, settings, place) { _ in reader.cursor > records }
        bench.tell("log, \(place)", settings.batch.records, records, seconds, cpu)
      }
    }
  }

  private func fill(_ log: StreamLog) {
    let bell = Doorbell()
    let lane = log.openLane(source: "bench") { bell.ring() }
    let payload = [UInt8](repeating: UInt8(ascii: "x"), count: bench.size)
    payload.withUnsafeBytes { payload in
      var taken: UInt64 = 0
      while taken < records {
        if lane.append(RecordFields(eventTime: Clock.wall(), payload: payload)) == .accepted {
          taken += 1
          if taken.isMultiple(of: 256) { _ = lane.submit() }
        } else {
          // The ring is full until a group is written.
          _ = lane.submit()
          bell.wait(until: Clock.monotonic() + 1_000_000)
        }
      }
    }
    let last = lane.submit()
    while log.committedLSN < last { bell.wait(until: Clock.monotonic() + 1_000_000) }
    lane.close()
  }

  /// A file, or a directory with all that is in it.
  private static func remove(_ path: String) {
    if let directory = opendir(path) {
      while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name != "." && name != ".." { remove("\(path)/\(name)") }
      }
      closedir(directory)
    }
    _ = Glibc.remove(path)
  }
}
