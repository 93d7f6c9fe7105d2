// Where dead records go. The subscriber's cursor passes a record only when its letter has the durability of the dead
// letter stream; a stream that takes no letter holds the subscriber.

import SluiceCore

/// What keeps dead records.
package protocol DeadLetterSink: Sendable {
  /// Its name, for people.
  var name: String { get }
  /// Opens the way of one subscriber's thread. `wake` is called, on any thread, when what `isKept` said no to is kept.
  func openWriter(subscriber: String, wake: @escaping @Sendable () -> Void) -> any DeadLetterWriter
}

/// One subscriber's way to its dead letters. Owned by its thread.
package protocol DeadLetterWriter: AnyObject {
  /// Adds a letter with a copy of the record. Otherwise says why not now: the same is tried again.
  func append(_ letter: DeadLetter, _ record: RecordView) -> FullReason?
  /// Hands over what was added. Returns what to ask `isKept` for.
  func submit() -> UInt64
  /// Whether everything up to that `submit` is kept. If not, a wake comes.
  func isKept(_ position: UInt64) -> Bool
  /// Letters that did not fit and were cut, since it was opened.
  var cutLetters: UInt64 { get }
  func close()
}

/// Keeps dead records in a stream.
package final class StreamDeadLetterSink: DeadLetterSink {
  private let stream: any IngestStream

  package init(_ stream: any IngestStream) { self.stream = stream }

  package var name: String { stream.streamName }

  package func openWriter(subscriber: String, wake: @escaping @Sendable () -> Void) -> any DeadLetterWriter {
    StreamDeadLetterWriter(lane: stream.openLane(source: subscriber, wake: wake))
  }
}

final class StreamDeadLetterWriter: DeadLetterWriter {
  private let lane: any IngestLane
  private(set) var cutLetters: UInt64 = 0

  init(lane: any IngestLane) { self.lane = lane }

  func append(_ letter: DeadLetter, _ record: RecordView) -> FullReason? {
    // As much of the record as fits, which a reload may change.
    for cut in DeadLetter.Cut.allCases {
      var letter = letter
      letter.cut = cut
      var headers = DeadLetterFormat.encode(letter)
      if cut == .nothing { headers += record.headers }
      guard headers.count <= Limits.maxHeadersBytes else { continue }
      let result = headers.withUnsafeBytes { headers in
        lane.append(
          RecordFields(
            eventTime: record.eventTime, topic: record.topic, key: record.key, headers: headers,
            payload: cut == .payload ? .empty : record.payload))
      }
      switch result {
      case .accepted:
        if cut != .nothing { cutLetters += 1 }
        return nil
      case .full(let reason): return reason
      case .tooLarge: continue
      }
    }
    preconditionFailure("a letter without payload fits any dead letter stream, as the topology checks")
  }

  func submit() -> UInt64 { lane.submit() }

  func isKept(_ position: UInt64) -> Bool { lane.acknowledged >= position || !lane.requestWake(at: position) }

  func close() { lane.close() }
}
