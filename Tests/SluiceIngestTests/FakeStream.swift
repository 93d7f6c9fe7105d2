import NIOCore
import SluiceCore
import Synchronization

@testable import SluiceIngest

/// A stream in memory whose durability the test decides.
///
/// `@unchecked Sendable`: all state is behind the mutex but the lanes, which belong to their loops.
final class FakeStream: IngestStream, @unchecked Sendable {
  struct Record: Equatable, Sendable {
    var topic: String
    var key: String
    var eventTime: Int64
    var payload: [UInt8]
    var sequence: UInt64 = 0
    var producer: UInt32 = 0
    var epoch: UInt16 = 0
    var isConsumed = false
    var text: String { String(decoding: payload, as: UTF8.self) }
  }

  struct State {
    var records: [Record] = []
    var submitted: UInt64 = 0
    var acknowledged: UInt64 = 0
    var submits = 0
    var full: FullReason?
    /// What the ring has left; appended and reserved bytes come off it, and `commit` gives them back.
    var roomBytes = Int.max
    var usedBytes = 0
    var maxRecordBytes = 0
    var nextMaxRecordBytes: Int?
    var openLanes = 0
    /// Lanes in which a tick has begun that is not submitted.
    var openTicks = 0
    var wakes: [(position: UInt64, wake: @Sendable () -> Void)] = []
  }

  let streamName = "events"
  let logUUID = LogUUID(high: 1, low: 2)
  private let producers = Mutex<[ProducerName: Producer]>([:])
  let durability: Durability
  let state = Mutex(State())

  /// May change at any time, as by a reload.
  var maxRecordBytes: Int {
    get {
      state.withLock { state in
        defer { if let next = state.nextMaxRecordBytes { state.maxRecordBytes = next } }
        return state.maxRecordBytes
      }
    }
    set { state.withLock { $0.maxRecordBytes = newValue } }
  }

  init(_ durability: Durability, maxRecordBytes: Int = 1 << 20) {
    self.durability = durability
    state.withLock { $0.maxRecordBytes = maxRecordBytes }
  }

  /// As by a reload that comes behind the next look at it.
  func setMaxRecordBehindALook(_ bytes: Int) { state.withLock { $0.nextMaxRecordBytes = bytes } }

  func openLane(source: String, wake: @escaping @Sendable () -> Void) -> any IngestLane {
    state.withLock { $0.openLanes += 1 }
    return FakeLane(stream: self, wake: wake)
  }

  func producer(named name: String, within allowance: ProducerAllowance? = nil) -> Producer? {
    producers.withLock { producers in
      if let known = producers[ProducerName(name)] { return known }
      if let allowance, !allowance.take() { return nil }
      let new = Producer(id: UInt32(producers.count + 1), name: name)
      producers[ProducerName(name)] = new
      return new
    }
  }

  var records: [Record] { state.withLock { $0.records } }
  /// Of lanes in which a tick had begun.
  var submits: Int { state.withLock { $0.submits } }
  var openTicks: Int { state.withLock { $0.openTicks } }

  func forgetRecords() { state.withLock { $0.records = [] } }

  var lanes: Int { state.withLock { $0.openLanes } }

  /// Whether a loop waits for a commit.
  var isAwaited: Bool { state.withLock { !$0.wakes.isEmpty } }

  func setFull(_ reason: FullReason?) { state.withLock { $0.full = reason } }

  /// From now on this much fits in between two commits.
  func setRoom(_ bytes: Int) { state.withLock { $0.roomBytes = bytes } }

  /// Takes `bytes` of the ring, all or none.
  func take(_ bytes: Int) -> FullReason? {
    state.withLock { state in
      if let reason = state.full { return reason }
      guard bytes <= state.roomBytes - state.usedBytes else { return .ring }
      state.usedBytes += bytes
      return nil
    }
  }

  /// Makes everything that was submitted durable and wakes who asked, as the commit thread does.
  func commit() {
    let wakes = state.withLock { state in
      state.acknowledged = state.submitted
      state.usedBytes = 0
      defer { state.wakes = [] }
      return state.wakes
    }
    for entry in wakes { entry.wake() }
  }
}

final class FakeLane: IngestLane {
  private let stream: FakeStream
  private let wake: @Sendable () -> Void
  private var pending: [FakeStream.Record] = []
  private var reserved = 0
  /// The stream's as it was when this tick began, or what a reservation is for.
  private var maxRecord: Int?

  init(stream: FakeStream, wake: @escaping @Sendable () -> Void) {
    self.stream = stream
    self.wake = wake
  }

  func append(_ record: RecordFields) -> AppendResult { append(record, producer: 0, epoch: 0) }

  func append(_ record: RecordFields, producer: UInt32, epoch: UInt16) -> AppendResult {
    let limit = limit()
    guard record.recordBytes <= limit else { return .tooLarge(limit: limit) }
    if let reason = take(record.recordBytes) { return .full(reason) }
    pending.append(
      .init(
        topic: String(decoding: record.topic, as: UTF8.self), key: String(decoding: record.key, as: UTF8.self),
        eventTime: record.eventTime, payload: Array(record.payload), sequence: record.sequence, producer: producer,
        epoch: epoch))
    return .accepted
  }

  private func limit() -> Int {
    if let maxRecord { return maxRecord }
    let limit = stream.maxRecordBytes
    stream.state.withLock { $0.openTicks += 1 }
    maxRecord = limit
    return limit
  }

  /// Out of what was reserved, else out of the ring.
  private func take(_ bytes: Int) -> FullReason? {
    guard bytes > reserved else {
      reserved -= bytes
      return nil
    }
    return stream.take(bytes)
  }

  func append(
    encoded producerPart: UnsafeRawBufferPointer, crc: UInt32, producer: UInt32, epoch: UInt16
  ) -> AppendResult {
    let size = Limits.serverPartBytes + producerPart.count
    let limit = limit()
    guard size <= limit else { return .tooLarge(limit: limit) }
    if let reason = take(size) { return .full(reason) }
    var record = [UInt8](repeating: 0, count: Limits.serverPartBytes) + producerPart
    record.withUnsafeMutableBytes { bytes in
      bytes.storeBytes(of: UInt32(size).littleEndian, as: UInt32.self)
      bytes.storeBytes(of: crc.littleEndian, toByteOffset: RecordLayout.crc, as: UInt32.self)
    }
    record.withUnsafeBytes { bytes in
      guard let view = try? RecordView(validating: bytes, maxRecord: size), view.checksumMatches else {
        preconditionFailure("only records that were checked are appended")
      }
      pending.append(
        .init(
          topic: String(decoding: view.topic, as: UTF8.self), key: String(decoding: view.key, as: UTF8.self),
          eventTime: view.eventTime, payload: Array(view.payload), sequence: view.sequence, producer: producer,
          epoch: epoch))
    }
    return .accepted
  }

  func reserve(bytes: Int, largest: Int) -> FullReason? {
    if let reason = stream.take(bytes) { return reason }
    maxRecord = max(limit(), largest)
    reserved += bytes
    return nil
  }

  func appendConsumed(producer: UInt32, epoch: UInt16, sequence: UInt64) -> AppendResult {
    if let reason = take(Limits.serverPartBytes + Limits.producerFixedBytes) { return .full(reason) }
    pending.append(
      .init(
        topic: "", key: "", eventTime: 0, payload: [], sequence: sequence, producer: producer, epoch: epoch,
        isConsumed: true))
    return .accepted
  }

  func submit() -> UInt64 {
    let unused = reserved
    let wasOpen = maxRecord != nil
    reserved = 0
    maxRecord = nil
    return stream.state.withLock { state in
      state.usedBytes -= unused
      if wasOpen {
        state.submits += 1
        state.openTicks -= 1
      }
      state.records += pending
      state.submitted += UInt64(pending.count)
      pending.removeAll()
      if stream.durability == .memory { state.acknowledged = state.submitted }
      return state.submitted
    }
  }

  var acknowledged: UInt64 { stream.state.withLock { $0.acknowledged } }

  func requestWake(at position: UInt64) -> Bool {
    stream.state.withLock { state in
      guard state.acknowledged < position else { return false }
      state.wakes.append((position, wake))
      return true
    }
  }

  func close() {
    precondition(pending.isEmpty, "a lane is closed with nothing appended")
    stream.state.withLock { $0.openLanes -= 1 }
  }
}

/// What the daemon would show.
struct FakeEndpoints: ControlEndpoints {
  var isReady = true
  /// How long the only metric's description is.
  var helpBytes = 9
  func health() -> [String] { [] }
  /// Words that JSON has to escape.
  func readiness() -> [String] { isReady ? [] : [#"subscriber "a\b": down"#, "stream\t\u{1}"] }
  func metricFamilies() -> [MetricFamily] {
    [MetricFamily("sluice_up", .gauge, help: String(repeating: "1", count: helpBytes), samples: [.init([], 1)])]
  }
}
