import Glibc
import SluiceCore
import SluiceJournal

/// What the command line says, as `key=value`.
struct BenchArguments: Sendable {
  let mode: String
  private let values: [String: String]

  init(_ words: [String]) {
    guard words.count > 1 else { BenchArguments.fail("usage: journal-bench MODE key=value …") }
    mode = words[1]
    values = Dictionary(
      words.dropFirst(2).map { word in
        let parts = word.split(separator: "=", maxSplits: 1)
        guard parts.count == 2 else { BenchArguments.fail("\(word) is no key=value") }
        return (String(parts[0]), String(parts[1]))
      }, uniquingKeysWith: { $1 })
  }

  static func fail(_ message: String) -> Never {
    let line = "journal-bench: \(message)\n"
    _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
    exit(64)
  }

  var directory: String { text("dir") }
  func text(_ key: String, _ fallback: String? = nil) -> String {
    guard let value = values[key] ?? fallback else { BenchArguments.fail("\(key)= is missing") }
    return value
  }
  func number(_ key: String, _ fallback: Int? = nil) -> Int {
    guard let value = Int(text(key, fallback.map(String.init))) else { BenchArguments.fail("\(key)= is no number") }
    return value
  }
  func decimal(_ key: String) -> Double {
    guard let value = Double(text(key)) else { BenchArguments.fail("\(key)= is no number") }
    return value
  }

  func options(_ name: String = "bench") -> StreamOptions {
    var options = StreamOptions(name: name, directory: directory + "/" + name)
    options.durability = Durability(rawValue: text("durability", "fsync")) ?? .fsync
    options.segmentBytes = number("segment", Limits.defaultSegmentBytes)
    options.retainBytes = number("retain", 1 << 30)
    options.diskReserveBytes = 0
    return options
  }

  func open(_ options: StreamOptions) -> StreamLog {
    do { return try StreamLog.open(options, observer: LoudObserver()) } catch { BenchArguments.fail("\(error)") }
  }
}

/// A benchmark in which anything goes wrong measures nothing.
struct LoudObserver: LogObserver {
  func logEvent(_ event: LogEvent) {
    switch event {
    case .full, .tornTail: break
    default: BenchArguments.fail("\(event)")
    }
  }
}

/// One producer's way in.
final class BenchLane {
  let lane: any IngestLane
  private let bell = Doorbell()
  private let payload: UnsafeRawBufferPointer

  init(_ log: StreamLog, size: Int) {
    let bell = bell
    lane = log.openLane(source: "bench") { bell.ring() }
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, size), alignment: 8)
    memory.initializeMemory(as: UInt8.self, repeating: UInt8(ascii: "x"))
    payload = UnsafeRawBufferPointer(rebasing: memory[..<size])
  }

  deinit { payload.deallocate() }

  var recordBytes: Int { RecordFields(eventTime: 0, payload: payload).recordBytes }

  /// Appends up to `count` records and submits them; fewer when the ring is full. Returns how many, and the last LSN.
  @inline(__always)
  func append(_ count: Int, time: Int64) -> (taken: Int, last: UInt64) {
    var taken = 0
    while taken < count, lane.append(RecordFields(eventTime: time, payload: payload)) == .accepted { taken += 1 }
    return (taken, lane.submit())
  }

  func wait(for last: UInt64) {
    while lane.acknowledged < last {
      if lane.requestWake(at: last) { bell.wait(until: .max) }
    }
  }
}

/// A subscriber that settles what it is given, on a thread of its own.
///
/// `@unchecked Sendable`: `log` is Sendable, `stop` a doorbell; the rest lives on the thread.
final class Drain: @unchecked Sendable {
  private let log: StreamLog
  private let bell = Doorbell()
  private let isStopping = Flag()
  private var thread: OSThread?
  let records = Counter()

  init(_ log: StreamLog) {
    self.log = log
    thread = OSThread(name: "sub drain") { [self] in run() }
  }

  private func run() {
    guard let reader = try? log.openReader(subscriber: "drain", start: .oldest) else {
      BenchArguments.fail("no reader")
    }
    reader.setDoorbell(bell)
    let batch = RecordBatch(capacity: Limits.defaultBatchRecords)
    while true {
      guard let outcome = try? reader.read(into: batch, maxRecords: Limits.defaultBatchRecords, maxBytes: 1 << 20)
      else {
        BenchArguments.fail("a read failed")
      }
      switch outcome {
      case .records:
        let next = batch.lastLSN + 1
        records.add(batch.count)
        batch.release()
        reader.settle(below: next)
      case .gap: BenchArguments.fail("a gap")
      case .nothingYet:
        if isStopping.isSet, reader.position > log.committedLSN { return reader.close() }
        bell.wait(until: Clock.monotonic() + 100_000_000)
      }
    }
  }

  /// Ends when it has seen everything that is committed.
  func finish() {
    isStopping.set()
    bell.ring()
    thread?.join()
  }
}
