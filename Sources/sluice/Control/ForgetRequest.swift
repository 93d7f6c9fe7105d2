import ArgumentParser
import Logging
import SluiceCore
import SluiceJournal
import SluiceTopology

/// Lets go of the cursor of a subscriber that is not there.
struct ForgetRequest: Equatable {
  var stream: String
  var cursor: String

  init(_ members: inout ControlMembers) throws(ControlError) {
    guard let stream = try members.text("stream"), let cursor = try members.text("cursor") else {
      throw ControlError(.badRequest, "'forget' takes a 'stream' and a 'cursor'")
    }
    self.stream = stream
    self.cursor = cursor
  }

  /// Answers on the connection's thread, which waits for the disk.
  func run(on view: DaemonView, _ reply: ControlReply, _ logger: Logger) throws(ControlError) {
    guard let log = view.state.streams.first(where: { $0.settings.name == stream })?.log else {
      let names = view.state.streams.map(\.settings.name).joined(separator: ", ")
      throw ControlError(.notFound, "there is no stream '\(stream)'; there are: \(names)")
    }
    let outcome: StreamLog.Forgetting
    do throws(JournalError) {
      outcome = try log.letGo(ofCursor: cursor)
    } catch {
      throw ControlError(.failed, "the cursor is let go, but that may not outlive a crash: \(error)")
    }
    switch outcome {
    case .connected:
      throw ControlError(
        .busy, "subscriber '\(cursor)' is connected to '\(stream)'; take it out of the topology and reload first")
    case .unknown:
      let names = log.cursorNames.map(\.name).joined(separator: ", ")
      throw ControlError(
        .notFound, "stream '\(stream)' has no cursor '\(cursor)'" + (names.isEmpty ? "" : "; there are: \(names)"))
    case .forgotten(let lsn, let frees):
      logger.notice(
        "a cursor was let go, as it was commanded",
        metadata: ["stream": "\(stream)", "cursor": "\(cursor)", "lsn": "\(lsn)", "freed_bytes": "\(frees)"])
      reply.item([
        "stream": .string(stream), "cursor": .string(cursor), "next_lsn": .count(lsn), "freed_bytes": .count(frees),
      ])
    }
  }
}

/// `sluice stream forget`.
struct StreamForget: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "forget",
    abstract: "Let go of the cursor of a subscriber that is gone, on a running daemon.",
    discussion: """
      The records that only it held back may go then. Should a subscriber of that name come again, it begins at its \
      `start`. `sluice status` lists the cursors of absent subscribers and what they hold back.

        sluice stream forget events --cursor archive -c sluice.yaml

      Exit status: 0 done, 66 no such stream or cursor, 75 the subscriber is connected, 69 no daemon answers.
      """)

  @OptionGroup var daemon: DaemonLocation

  @Argument(help: "The stream.")
  var stream: String

  @Option(help: "The cursor: its subscriber's name.")
  var cursor: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    var outcome: JSONValue = .null
    try daemon.ask(["verb": "forget", "stream": .string(stream), "cursor": .string(cursor)]) { outcome = $0 }
    if json { return print(outcome.canonicalText) }
    let lsn = outcome["next_lsn"]?.canonicalText ?? "?"
    let bytes = outcome["freed_bytes"]?.canonicalText ?? "?"
    print("let go of \(cursor) of \(stream): it was at LSN \(lsn), and \(bytes) bytes were held back for it alone")
  }
}
