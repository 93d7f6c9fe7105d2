import Glibc
import SluiceCore
import Synchronization
import Testing

@testable import SluiceJournal

/// A directory of its own for each test, removed at the end.
final class TestDirectory: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/sluice-journal-XXXXXX".utf8CString)
    path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
  }

  deinit { TestDirectory.remove(path) }

  private static func remove(_ path: String) {
    if let stream = opendir(path) {
      while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name != "." && name != ".." { remove(path + "/" + name) }
      }
      closedir(stream)
      rmdir(path)
    } else {
      unlink(path)
    }
  }

  func read(_ name: String) throws -> [UInt8] {
    let file = try LogFile(path + "/" + name, .read, on: LinuxStorage())
    var bytes = [UInt8](repeating: 0, count: try file.size())
    let count = try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
    #expect(count == bytes.count)
    return bytes
  }

  func write(_ name: String, _ bytes: [UInt8]) throws {
    let file = try LogFile(path + "/" + name, .createEmpty, on: LinuxStorage())
    try bytes.withUnsafeBytes { try file.write($0, at: 0, .groupWrite) }
  }

  /// Flips the bits of `mask` in one byte.
  func flip(_ name: String, at offset: Int, mask: UInt8 = 1) throws {
    let file = try LogFile(path + "/" + name, .readWrite, on: LinuxStorage())
    var byte: [UInt8] = [0]
    _ = try byte.withUnsafeMutableBytes { try file.read(into: $0, at: offset) }
    byte[0] ^= mask
    try byte.withUnsafeBytes { try file.write($0, at: offset, .groupWrite) }
  }

  func truncate(_ name: String, to bytes: Int) throws {
    try LogFile(path + "/" + name, .readWrite, on: LinuxStorage()).truncate(to: bytes, .tailTruncate)
  }

  var segments: [String] {
    get throws {
      try LinuxStorage().list(path).map(\.name).filter { SegmentFile.baseLSN(ofName: $0) != nil }.sorted()
    }
  }

  func options(_ change: (inout StreamOptions) -> Void = { _ in }) -> StreamOptions {
    var options = StreamOptions(name: "test", directory: path)
    options.ringBytes = Limits.minRingBytes
    options.segmentBytes = Limits.minSegmentBytes
    options.diskReserveBytes = 0
    options.idleMarkerNanoseconds = .max / 2
    change(&options)
    return options
  }
}

/// Keeps what a log tells.
final class EventLog: LogObserver {
  private let state = Mutex<[LogEvent]>([])
  func logEvent(_ event: LogEvent) { state.withLock { $0.append(event) } }
  var events: [LogEvent] { state.withLock { $0 } }
}

extension StreamLog {
  static func open(_ options: StreamOptions, _ events: EventLog = EventLog()) throws(JournalError) -> StreamLog {
    try open(options, observer: events)
  }
}

/// A lane whose wakes can be waited for.
struct TestLane {
  let lane: any IngestLane
  let bell = Doorbell()

  init(_ log: StreamLog, source: String = "tests") {
    let bell = bell
    lane = log.openLane(source: source) { bell.ring() }
  }

  @discardableResult
  func append(_ payload: String, topic: String = "", eventTime: Int64 = 7) -> AppendResult {
    var payload = payload
    var topic = topic
    return payload.withUTF8 { payload in
      topic.withUTF8 { topic in
        lane.append(
          RecordFields(
            eventTime: eventTime, topic: UnsafeRawBufferPointer(topic), payload: UnsafeRawBufferPointer(payload)))
      }
    }
  }

  /// Submits and waits until it is acknowledged.
  @discardableResult
  func commit() -> UInt64 {
    let last = lane.submit()
    while lane.acknowledged < last {
      if lane.requestWake(at: last) { bell.wait(until: .max) }
    }
    return last
  }

  func commit(_ payloads: [String]) {
    for payload in payloads { #expect(append(payload) == .accepted) }
    commit()
  }
}

/// What a subscriber saw.
struct Seen: Equatable {
  var lsn: UInt64
  var payload: String
}

extension StreamReader {
  /// Reads all there is; gaps are added to `gaps`.
  func drain(
    maxRecords: Int = 1000, maxBytes: Int = 1 << 20, gaps: inout [ClosedRange<UInt64>], settling: Bool = true
  ) throws -> [Seen] {
    let batch = RecordBatch(capacity: maxRecords)
    var seen: [Seen] = []
    while true {
      switch try read(into: batch, maxRecords: maxRecords, maxBytes: maxBytes) {
      case .nothingYet: return seen
      case .gap(let first, let last, _): gaps.append(first...last)
      case .records:
        for index in 0..<batch.count {
          #expect(batch[index].checksumMatches)
          seen.append(
            Seen(
              lsn: batch.firstLSN + UInt64(index), payload: String(decoding: batch[index].payload, as: UTF8.self)))
        }
        let last = batch.lastLSN
        batch.release()
        if settling { settle(below: last + 1) }
      }
    }
  }

  func drain() throws -> [Seen] {
    var gaps: [ClosedRange<UInt64>] = []
    let seen = try drain(gaps: &gaps)
    #expect(gaps.isEmpty)
    return seen
  }
}

enum ProcessInfoForTests {
  static var pid: Int32 { getpid() }
}
