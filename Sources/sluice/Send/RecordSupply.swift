import SluiceCore

/// The records of one connection, each when it is due: generated ones, or lines of the input.
struct RecordSupply {
  enum Source {
    case generated(GeneratedRecords)
    case lines(LineFeed)
  }

  enum Availability: Equatable {
    /// The next record has this many bytes.
    case ready(bytes: Int)
    /// It is not due before this time.
    case later(Int64)
    /// No line has come yet; the queue calls when one does.
    case waiting
    /// There are no more.
    case over
  }

  // One of the two; as optionals they are changed in place.
  private var generated: GeneratedRecords?
  private var feed: LineFeed?
  private let schedule: SendSchedule
  private let connection: UInt64
  private let connections: UInt64
  /// Records taken, and inputs passed: taken, skipped or refused.
  private var taken: UInt64 = 0
  private var passed: UInt64 = 0
  private var isStopped = false
  /// The records have come to their end, and not the time for them.
  private(set) var isExhausted = false

  init(_ source: Source, _ schedule: SendSchedule, connection: Int, of connections: Int) {
    switch source {
    case .generated(let records): generated = records
    case .lines(let lines): feed = lines
    }
    self.schedule = schedule
    self.connection = UInt64(connection)
    self.connections = UInt64(connections)
  }

  /// The place in the run of the next record that is taken, for the schedule.
  private var position: UInt64 { taken * connections + connection }

  /// The line, or generated number, of the next record.
  var place: UInt64 { passed * connections + connection + 1 }

  /// Where the records that are taken from now on come from.
  func origin(at now: Int64) -> ParcelOrigin {
    let interval = schedule.rate.map { Double(connections) * 1e9 / $0 } ?? 0
    return ParcelOrigin(
      place: place, stride: connections, time: schedule.due(position) ?? now, interval: interval)
  }

  /// No further record is handed out.
  mutating func stop() { isStopped = true }

  /// What the next record is, if it is due.
  mutating func next(at now: Int64) -> Availability {
    guard !isStopped else { return .over }
    let bytes: Int
    if let generated {
      if let count = generated.count, place > count {
        isExhausted = true
        return .over
      }
      bytes = generated.size
    } else {
      switch feed?.look() ?? .ended {
      case .line(let count): bytes = count
      case .waiting: return .waiting
      case .ended:
        isExhausted = true
        return .over
      }
    }
    switch schedule.moment(of: position, at: now) {
    case .now: return .ready(bytes: bytes)
    case .later(let due): return .later(due)
    case .over: return .over
    }
  }

  /// Looks at the record that `next` said is ready.
  mutating func withRecord<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    let number = place
    if let result = generated?.withRecord(number, body) ?? feed?.withLine(body) { return result }
    preconditionFailure("a supply has one of the two")
  }

  /// The record that was looked at is sent.
  mutating func take() {
    taken += 1
    pass()
  }

  /// It is not sent: the server has it, or would not take it.
  mutating func pass() {
    passed += 1
    feed?.advance()
  }
}

/// The lines of one connection, as they come out of its queue.
struct LineFeed {
  enum Look: Equatable {
    case line(bytes: Int)
    case waiting
    case ended
  }

  private let queue: LineQueue
  private var chunk = LineChunk()
  private var index = 0

  init(_ queue: LineQueue) { self.queue = queue }

  mutating func look() -> Look {
    while index == chunk.ends.count {
      switch queue.next() {
      case .chunk(let next):
        chunk = next
        index = 0
      case .waiting: return .waiting
      case .ended: return .ended
      }
    }
    return .line(bytes: chunk.ends[index] - start)
  }

  private var start: Int { index == 0 ? 0 : chunk.ends[index - 1] }

  func withLine<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    chunk.bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[start..<chunk.ends[index]])) }
  }

  mutating func advance() { index += 1 }
}
