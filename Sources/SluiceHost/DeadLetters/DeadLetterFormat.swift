// A dead letter: a record that a subscriber will never take, as it is kept in a dead letter stream. It is a record like
// any other, so that everything that reads streams reads it.
//
//   event time, topic, key, payload   the dead record's own
//   headers                           the letter's, in this order and all of them, then the dead record's own, byte for byte
//
//   name                  value (text; numbers in decimal)
//   sluice-dead           1, the version of this format
//   sluice-subscriber     who rejected it
//   sluice-stream         where it came from, and with the next two the record's identity
//   sluice-log            the log's UUID
//   sluice-lsn
//   sluice-cause          plugin | attempts_exhausted | crash (it killed the plugin's process)
//   sluice-code           the plugin's number, 0 = none
//   sluice-reason         in the plugin's words, at most 1 KiB
//   sluice-attempts       how often it was delivered
//   sluice-time           when it was given up, ns since 1970
//   sluice-ingest-time    the record's, ns since 1970
//   sluice-source         names, empty as in the record
//   sluice-producer
//   sluice-epoch          the producer's, and
//   sluice-sequence       its number of the record
//   sluice-crc            the record's checksum, over its producer part
//   sluice-cut            empty; or what did not fit and is not here: headers | payload (then neither is)
//
// A letter that is not cut has all that the record had: its producer part can be made again, and `sluice-crc` tells
// whether it is the same.
//
// A resolution says that letters of the same stream are settled. It has no topic, key or payload, and these headers:
//
//   sluice-resolution     1
//   sluice-outcome        delivered | purged
//   sluice-first          the LSNs, in this dead letter stream, of the letters that it settles: all in first…last
//   sluice-last           that are letters and that lie before it
//   sluice-time           ns since 1970
//
// A letter is open until a resolution covers it. The same record may have several letters: after a crash it may be
// rejected once more. Anything else in the stream (a producer may write to it too) is neither, and is passed over.

import SluiceCore

/// Where a record came from and why it is dead.
package struct DeadLetter: Sendable, Equatable {
  package enum Cut: String, Sendable, CaseIterable {
    case nothing = ""
    case headers
    case payload
  }

  package var subscriber: String
  package var stream: String
  package var logUUID: LogUUID
  package var lsn: UInt64
  package var cause: RejectedRange.Cause
  package var code: UInt32
  package var reason: String
  package var attempts: UInt32
  package var time: Int64
  package var ingestTime: Int64
  package var source: String
  package var producer: String
  package var epoch: UInt16
  package var sequence: UInt64
  package var crc: UInt32
  package var cut = Cut.nothing
}

/// That letters are settled.
package struct DeadLetterResolution: Sendable, Equatable {
  package enum Outcome: String, Sendable, CaseIterable {
    /// The subscriber acknowledged the records when they were delivered again.
    case delivered
    /// An operator gave them up.
    case purged
  }

  package var outcome: Outcome
  package var letters: ClosedRange<UInt64>
  package var time: Int64

  package init(outcome: Outcome, letters: ClosedRange<UInt64>, time: Int64) {
    self.outcome = outcome
    self.letters = letters
    self.time = time
  }
}

package enum DeadLetterFormat {
  package static let version = "1"

  /// What a record of a dead letter stream is. `ownHeaders`: the dead record's, in place.
  package enum Entry {
    case letter(DeadLetter, ownHeaders: UnsafeRawBufferPointer)
    case resolution(DeadLetterResolution)
    case other
  }

  // MARK: Writing

  /// The letter's own headers.
  package static func encode(_ letter: DeadLetter) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(1024)
    func put(_ name: String, _ value: String) { append(name, value, to: &bytes) }
    put("sluice-dead", version)
    put("sluice-subscriber", letter.subscriber)
    put("sluice-stream", letter.stream)
    put("sluice-log", letter.logUUID.description)
    put("sluice-lsn", String(letter.lsn))
    put("sluice-cause", letter.cause.rawValue)
    put("sluice-code", String(letter.code))
    put("sluice-reason", letter.reason)
    put("sluice-attempts", String(letter.attempts))
    put("sluice-time", String(letter.time))
    put("sluice-ingest-time", String(letter.ingestTime))
    put("sluice-source", letter.source)
    put("sluice-producer", letter.producer)
    put("sluice-epoch", String(letter.epoch))
    put("sluice-sequence", String(letter.sequence))
    put("sluice-crc", String(letter.crc))
    put("sluice-cut", letter.cut.rawValue)
    return bytes
  }

  package static func encode(_ resolution: DeadLetterResolution) -> [UInt8] {
    var bytes: [UInt8] = []
    append("sluice-resolution", version, to: &bytes)
    append("sluice-outcome", resolution.outcome.rawValue, to: &bytes)
    append("sluice-first", String(resolution.letters.lowerBound), to: &bytes)
    append("sluice-last", String(resolution.letters.upperBound), to: &bytes)
    append("sluice-time", String(resolution.time), to: &bytes)
    return bytes
  }

  private static func append(_ name: String, _ value: String, to bytes: inout [UInt8]) {
    let value = cut(Array(value.utf8))
    bytes.append(UInt8(name.utf8.count))
    bytes += Array(name.utf8)
    bytes.append(UInt8(value.count & 0xFF))
    bytes.append(UInt8(value.count >> 8))
    bytes += value
  }

  /// At most as much as a value may have, in whole characters.
  private static func cut(_ text: [UInt8]) -> ArraySlice<UInt8> {
    var end = min(text.count, Limits.maxDeadLetterValueBytes)
    while end < text.count, end > 0, text[end] & 0xC0 == 0x80 { end -= 1 }
    return text[..<end]
  }

  // MARK: Reading

  package static func decode(_ record: RecordView) -> Entry {
    guard record.type == RecordLayout.typeData else { return .other }
    var fields = HeaderFields(record.headers)
    if let letter = letter(&fields) { return .letter(letter, ownHeaders: fields.rest) }
    fields = HeaderFields(record.headers)
    if let resolution = resolution(&fields) { return .resolution(resolution) }
    return .other
  }

  private static func letter(_ fields: inout HeaderFields) -> DeadLetter? {
    guard fields.next("sluice-dead") == version,
      let subscriber = fields.next("sluice-subscriber"), let stream = fields.next("sluice-stream"),
      let log = fields.next("sluice-log").flatMap(LogUUID.init(canonical:)),
      let lsn = fields.next("sluice-lsn").flatMap({ UInt64($0) }), lsn > 0, lsn <= Limits.maxLSN,
      let cause = fields.next("sluice-cause").flatMap(RejectedRange.Cause.init(rawValue:)),
      let code = fields.next("sluice-code").flatMap({ UInt32($0) }), let reason = fields.next("sluice-reason"),
      let attempts = fields.next("sluice-attempts").flatMap({ UInt32($0) }),
      let time = fields.next("sluice-time").flatMap({ Int64($0) }),
      let ingestTime = fields.next("sluice-ingest-time").flatMap({ Int64($0) }),
      let source = fields.next("sluice-source"), let producer = fields.next("sluice-producer"),
      let epoch = fields.next("sluice-epoch").flatMap({ UInt16($0) }),
      let sequence = fields.next("sluice-sequence").flatMap({ UInt64($0) }),
      let crc = fields.next("sluice-crc").flatMap({ UInt32($0) }),
      let cut = fields.next("sluice-cut").flatMap(DeadLetter.Cut.init(rawValue:))
    else { return nil }
    return DeadLetter(
      subscriber: subscriber, stream: stream, logUUID: log, lsn: lsn, cause: cause, code: code, reason: reason,
      attempts: attempts, time: time, ingestTime: ingestTime, source: source, producer: producer, epoch: epoch,
      sequence: sequence, crc: crc, cut: cut)
  }

  private static func resolution(_ fields: inout HeaderFields) -> DeadLetterResolution? {
    guard fields.next("sluice-resolution") == version,
      let outcome = fields.next("sluice-outcome").flatMap(DeadLetterResolution.Outcome.init(rawValue:)),
      let first = fields.next("sluice-first").flatMap({ UInt64($0) }),
      let last = fields.next("sluice-last").flatMap({ UInt64($0) }), first > 0, first <= last, last <= Limits.maxLSN,
      let time = fields.next("sluice-time").flatMap({ Int64($0) }), fields.rest.isEmpty
    else { return nil }
    return DeadLetterResolution(outcome: outcome, letters: first...last, time: time)
  }
}

/// A record's headers, read one after the other. Borrowed from the record.
private struct HeaderFields {
  private(set) var rest: UnsafeRawBufferPointer

  init(_ headers: UnsafeRawBufferPointer) { rest = headers }

  /// The value of the next header if that is its name and the value is text.
  mutating func next(_ name: String) -> String? {
    guard let nameBytes = rest.first.map({ Int($0) }), rest.count >= 3 + nameBytes,
      rest[1..<(1 + nameBytes)].elementsEqual(name.utf8)
    else { return nil }
    let valueBytes = Int(rest[1 + nameBytes]) | Int(rest[2 + nameBytes]) << 8
    let start = 3 + nameBytes
    guard rest.count >= start + valueBytes,
      let value = String(validating: rest[start..<(start + valueBytes)], as: UTF8.self)
    else { return nil }
    rest = UnsafeRawBufferPointer(rebasing: rest[(start + valueBytes)...])
    return value
  }
}
