import SluiceCore
import SluiceHost
import SluiceTopology

/// What is asked of the dead letters.
struct DeadRequest: Equatable {
  enum Action: String, CaseIterable { case list, show, retry, export, purge }

  var action: Action
  /// The dead letter stream.
  var stream: String
  var selection = DeadLetterSelection()
  var limit: Int

  init(_ members: inout ControlMembers) throws(ControlError) {
    guard let action = try members.text("do").flatMap(Action.init) else {
      throw ControlError(.badRequest, "'do' must be \(Action.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    self.action = action
    stream = try members.text("dead") ?? Topology.defaultDeadLetter
    selection.subscriber = try members.text("subscriber")
    selection.stream = try members.text("stream")
    if let cause = try members.text("cause") {
      guard let known = RejectedRange.Cause(rawValue: cause) else {
        throw ControlError(.badRequest, "there is no cause '\(cause)'")
      }
      selection.cause = known
    }
    if let code = try members.number("code") {
      guard let code = UInt32(exactly: code) else { throw ControlError(.badRequest, "'code' is too large") }
      selection.code = code
    }
    let first = try members.number("first")
    let last = try members.number("last")
    if let first {
      guard first > 0, first <= last ?? first else { throw ControlError(.badRequest, "'first' is above 'last'") }
      selection.lsns = first...(last ?? first)
    } else if last != nil {
      throw ControlError(.badRequest, "'last' goes with 'first'")
    }
    limit = Int(clamping: try members.number("limit") ?? UInt64(Limits.deadListLetters))
    let all = try members.flag("all")
    if action == .retry || action == .purge, !all, selection == DeadLetterSelection() {
      throw ControlError(.badRequest, "say which letters, or that all are meant")
    }
    if action == .show, selection.lsns == nil { throw ControlError(.badRequest, "'show' takes the letter's LSN") }
  }
}

/// A letter as commands show it.
enum LetterJSON {
  static func summary(_ entry: DeadLetterEntry) -> [JSONValue.Member] {
    let letter = entry.letter
    return [
      .init("lsn", .count(entry.lsn)), .init("time", .string(Timestamp.text(letter.time))),
      .init("subscriber", .string(letter.subscriber)), .init("stream", .string(letter.stream)),
      .init("log_uuid", .string("\(letter.logUUID)")), .init("record_lsn", .count(letter.lsn)),
      .init("cause", .string(letter.cause.rawValue)), .init("code", .count(letter.code)),
      .init("reason", .string(letter.reason)), .init("attempts", .count(letter.attempts)),
      entry.topic.withUnsafeBytes { RecordJSON.bytes("topic", $0) },
      .init("payload_bytes", .count(entry.payload.count)),
    ]
  }

  /// With the record.
  static func whole(_ entry: DeadLetterEntry) -> [JSONValue.Member] {
    let letter = entry.letter
    var members = summary(entry)
    members += [
      .init("event_time", .string(Timestamp.exactText(entry.eventTime))),
      .init("ingest_time", .string(Timestamp.exactText(letter.ingestTime))), .init("source", .string(letter.source)),
    ]
    if !letter.producer.isEmpty {
      members += [
        .init("producer", .string(letter.producer)), .init("epoch", .count(letter.epoch)),
        .init("sequence", .count(letter.sequence)),
      ]
    }
    if !entry.key.isEmpty { members.append(entry.key.withUnsafeBytes { RecordJSON.bytes("key", $0) }) }
    if !entry.headers.isEmpty { members.append(.init("headers", entry.headers.withUnsafeBytes(RecordJSON.headers))) }
    if letter.cut != .nothing { members.append(.init("cut", .string(letter.cut.rawValue))) }
    members.append(entry.payload.withUnsafeBytes { RecordJSON.bytes("payload", $0) })
    return members
  }
}

extension DeadRequest {
  /// Answers on the connection's thread.
  func run(on view: DaemonView, _ reply: ControlReply) throws(ControlError) {
    guard let door = view.state.streams.first(where: { $0.settings.name == stream })?.letters else {
      let names = view.state.streams.filter { $0.letters != nil }.map(\.settings.name)
      throw ControlError(
        .notFound,
        "'\(stream)' is not a stream of dead letters"
          + (names.isEmpty ? "" : "; there are: \(names.joined(separator: ", "))"))
    }
    var isFound = true
    try door.use { letters in
      switch action {
      case .list, .show, .export:
        var left = action == .list ? limit : .max
        isFound = action != .show
        try letters.forEach(selection) { entry in
          guard left > 0, !door.isClosing else { return false }
          left -= 1
          isFound = true
          return reply.item(.object(action == .list ? LetterJSON.summary(entry) : LetterJSON.whole(entry)))
        }
      case .purge: reply.item(["purged": .count(try letters.purge(selection))])
      case .retry:
        let deadline = Clock.monotonic() + Limits.deadRetryNanoseconds
        let result = try letters.retry(selection, deadline: deadline, isGivenUp: { door.isClosing }) { name in
          view.state.subscribers.first { $0.settings.name == name }?.instance
        }
        reply.item([
          "delivered": .count(result.delivered), "rejected": .count(result.rejected),
          "unsettled": .count(result.unsettled), "unavailable": .count(result.unavailable),
          "incomplete": .count(result.incomplete),
        ])
      }
    }
    if !isFound { throw ControlError(.notFound, "there is no open letter there") }
  }
}
