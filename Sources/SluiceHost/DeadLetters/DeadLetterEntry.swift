import SluiceCore

/// One open letter, as listings show it.
package struct DeadLetterEntry: Sendable, Equatable {
  /// In the dead letter stream: what names the letter.
  package var lsn: UInt64
  package var letter: DeadLetter
  package var eventTime: Int64
  package var topic: [UInt8]
  package var key: [UInt8]
  /// The record's own headers, as they stand in records.
  package var headers: [UInt8]
  package var payload: [UInt8]

  init(lsn: UInt64, _ letter: DeadLetter, _ record: RecordView, ownHeaders: UnsafeRawBufferPointer) {
    self.lsn = lsn
    self.letter = letter
    eventTime = record.eventTime
    topic = Array(record.topic)
    key = Array(record.key)
    headers = Array(ownHeaders)
    payload = Array(record.payload)
  }
}

/// Which letters are meant: those that are all that is given.
package struct DeadLetterSelection: Sendable, Equatable {
  package var subscriber: String?
  package var stream: String?
  package var cause: RejectedRange.Cause?
  package var code: UInt32?
  /// In the dead letter stream.
  package var lsns: ClosedRange<UInt64>?
  /// Given up before this time, ns since 1970.
  package var before: Int64?

  package init() {}

  func includes(_ letter: DeadLetter, at lsn: UInt64) -> Bool {
    if let subscriber, subscriber != letter.subscriber { return false }
    if let stream, stream != letter.stream { return false }
    if let cause, cause != letter.cause { return false }
    if let code, code != letter.code { return false }
    if let lsns, !lsns.contains(lsn) { return false }
    if let before, letter.time >= before { return false }
    return true
  }
}

/// What came of trying letters again.
package struct DeadLetterRetry: Sendable, Equatable {
  /// Acknowledged, and so settled.
  package var delivered = 0
  /// Rejected again; the letter stays.
  package var rejected = 0
  /// Not settled in time; the letter stays.
  package var unsettled = 0
  /// Their subscriber does not run, or is busy with others.
  package var unavailable = 0
  /// Cut when they were kept, or not what they were: nothing to deliver.
  package var incomplete = 0
}

/// Why an operation on dead letters failed.
package struct DeadLetterError: Error, Sendable, Equatable, CustomStringConvertible {
  package var message: String
  package init(_ message: String) { self.message = message }
  package var description: String { message }
}
