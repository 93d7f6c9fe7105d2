import Logging
import SluiceCore
import SluiceHost
import SluiceJournal
import SluiceTopology
import Synchronization

/// Has a part of a stream delivered to one subscriber once more.
struct ReplayRequest: Equatable {
  /// Where the part begins, or ends.
  enum Place: Equatable {
    case lsn(UInt64)
    /// ns since 1970, of when records came in.
    case time(Int64)
  }

  var stream: String
  var subscriber: String
  /// Nil: the oldest record.
  var from: Place?
  /// With this LSN, or before what came in at this time. Nil: what was the last when the replay began.
  var until: Place?
  /// Records per second at most.
  var rate: Int?

  init(_ members: inout ControlMembers) throws(ControlError) {
    guard let stream = try members.text("stream"), let subscriber = try members.text("to") else {
      throw ControlError(.badRequest, "'replay' takes a 'stream', and a subscriber 'to' which it goes")
    }
    self.stream = stream
    self.subscriber = subscriber
    from = try Self.place(&members, "from", "since")
    if from == .lsn(0) { from = .lsn(1) }
    until = try Self.place(&members, "until", "before")
    if let rate = try members.number("rate") {
      guard (1...UInt64(Limits.maxReplayRate)).contains(rate) else {
        throw ControlError(.badRequest, "'rate' must be from 1 to \(Limits.maxReplayRate) records per second")
      }
      self.rate = Int(rate)
    }
  }

  private static func place(
    _ members: inout ControlMembers, _ lsn: String, _ time: String
  ) throws(ControlError) -> Place? {
    switch (try members.number(lsn), try members.number(time)) {
    case (nil, nil): return nil
    case (let lsn?, nil): return .lsn(lsn)
    case (nil, let time?): return .time(Int64(clamping: time))
    case (_?, _?): throw ControlError(.badRequest, "'\(lsn)' and '\(time)' say the same thing: give one of them")
    }
  }

  // MARK: The answer

  /// Answers on the connection's thread with how far it is, until it is over. When nobody listens any more, it is
  /// cancelled.
  func run(on view: DaemonView, _ reply: ControlReply, _ places: ReplayPlaces) throws(ControlError) {
    defer { places.taken.subtract(1, ordering: .relaxed) }
    guard places.taken.add(1, ordering: .relaxed).newValue <= Limits.maxReplays else {
      throw ControlError(.busy, "there are \(Limits.maxReplays) replays already")
    }
    let (log, instance) = try find(in: view.state)
    let range: StreamReplay
    do throws(ReplayRange.Failure) {
      range = try ReplayRange(of: log, from: from, until: until).replay(rate: rate)
    } catch {
      throw ControlError(error.isFault ? .failed : .notFound, error.message)
    }
    do throws(ReplayRefusal) {
      try instance.replay(range)
    } catch {
      switch error {
      case .ended: throw ControlError(.stopping, "subscriber '\(subscriber)' does not run any more")
      case .busy(let other):
        throw ControlError(
          .busy,
          "LSN \(other.first) to \(other.last) of '\(other.streamName)' are being replayed to '\(subscriber)' already, "
            + "and are at \(other.progress.next): there is one replay at a time")
      }
    }
    while true {
      let progress = range.wait(until: Clock.monotonic() + Limits.replayProgressNanoseconds)
      let isHeard = reply.item(Self.json(range, progress)) && !reply.isCut
      switch progress.state {
      case .completed: return
      case .cancelled: throw ControlError(.failed, "the replay was cancelled at LSN \(progress.next)")
      case .ended:
        throw ControlError(
          .stopping,
          "subscriber '\(subscriber)' ended, by a reload or the daemon's end, and its replay with it at LSN "
            + "\(progress.next); go on with --from \(progress.next)")
      case .waiting, .running:
        guard isHeard else {
          range.cancel()
          // The peer has gone, or the daemon is stopping and says this while it can.
          throw ControlError(
            .stopping, "the replay was cancelled at LSN \(progress.next); go on with --from \(progress.next)")
        }
      }
    }
  }

  private func find(in state: DaemonView.State) throws(ControlError) -> (StreamLog, SubscriberInstance) {
    func unknown(_ what: String, _ name: String, _ names: [String]) -> ControlError {
      let hint = nearestName(to: name, in: names).map { "; did you mean '\($0)'?" }
      let all = names.isEmpty ? "" : "; there are: \(names.joined(separator: ", "))"
      return ControlError(.notFound, "there is no \(what) '\(name)'" + (hint ?? all))
    }
    guard let log = state.streams.first(where: { $0.settings.name == stream })?.log else {
      throw unknown("stream", stream, state.streams.map(\.settings.name))
    }
    guard let running = state.subscribers.first(where: { $0.settings.name == subscriber }) else {
      throw unknown("subscriber", subscriber, state.subscribers.map(\.settings.name))
    }
    let streams = running.settings.streams
    guard streams.contains(stream) else {
      throw ControlError(
        .badRequest,
        "subscriber '\(subscriber)' does not read '\(stream)'; it reads: \(streams.joined(separator: ", "))")
    }
    return (log, running.instance)
  }

  /// How far it is, as the answer and `status` show it.
  static func json(_ range: StreamReplay, _ progress: ReplayProgress) -> JSONValue {
    let records = progress.records
    return [
      "stream": .string(range.streamName), "state": .string(progress.state.rawValue), "first": .count(range.first),
      "last": .count(range.last), "next_lsn": .count(progress.next), "total": .count(range.total),
      "delivered": .count(records.delivered), "rejected": .count(records.rejected), "gone": .count(records.gone),
      "passed": .count(records.passed), "rate": range.rate.map { .count($0) } ?? .null,
      "rejections": .array(
        progress.rejections.map {
          ["first": .count($0.first), "last": .count($0.last), "code": .count($0.code), "reason": .string($0.reason)]
        }),
    ]
  }
}

/// A part of a log, from and to which its records are.
struct ReplayRange {
  let log: StreamLog
  let first: UInt64
  let last: UInt64

  /// Why there is none.
  struct Failure: Error {
    var message: String
    /// The log can't be read, rather than that there is nothing.
    var isFault = false
  }

  /// What has come in until now counts.
  init(of log: StreamLog, from: ReplayRequest.Place?, until: ReplayRequest.Place?) throws(Failure) {
    let (name, end) = (log.streamName, log.committedLSN)
    let first = try from.map { from throws(Failure) in try Self.lsn(of: from, in: log) } ?? log.oldestLSN
    let last: UInt64 =
      switch until {
      case .lsn(let lsn)?: min(end, lsn)
      case .time(let time)?: min(end, try Self.lsn(of: .time(time), in: log) - 1)
      case nil: end
      }
    guard end >= log.oldestLSN else { throw Failure(message: "stream '\(name)' has no records") }
    guard first <= end else {
      throw Failure(message: "nothing to replay: stream '\(name)' ends at LSN \(end)")
    }
    guard first <= last else {
      throw Failure(message: "nothing to replay: the part would begin at LSN \(first) and end at \(last)")
    }
    (self.log, self.first, self.last) = (log, first, last)
  }

  private static func lsn(of place: ReplayRequest.Place, in log: StreamLog) throws(Failure) -> UInt64 {
    switch place {
    case .lsn(let lsn): return lsn
    case .time(let time):
      do throws(JournalError) {
        return try log.lsn(notBefore: time)
      } catch {
        throw Failure(message: "stream '\(log.streamName)': \(error)", isFault: true)
      }
    }
  }

  /// How many there are, with those that are not kept any more: they are asked for as well, and will be told as gone.
  var records: UInt64 {
    let oldest = log.oldestLSN
    let gone = first < oldest ? min(last, oldest - 1) - first + 1 : 0
    return log.records(from: max(first, oldest), through: last) + gone
  }

  func replay(rate: Int? = nil) -> StreamReplay {
    StreamReplay(log.openScan(at: first), first: first, last: last, total: records, rate: rate)
  }
}

/// How many replays go on.
final class ReplayPlaces: Sendable {
  let taken = Atomic<Int>(0)
}
