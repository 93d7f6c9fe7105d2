import SluiceCore
import SluiceTopology

/// A record as commands show it.
///
///     {"lsn":7,"time":"…Z","event_time":"…Z","source":"api","topic":"web","payload":"{…}"}
///
/// `key`, `headers`, `producer`, `epoch` and `sequence` are there when the record has them. What is not UTF-8 is in
/// base64, in `topic_base64`, `key_base64` and `payload_base64`. Times are exact, so that `--from` and `--until` take them.
enum RecordJSON {
  static func members(of record: RecordView, source: String, producer: String) -> [JSONValue.Member] {
    var members: [JSONValue.Member] = [
      .init("time", .string(Timestamp.exactText(record.ingestTime))),
      .init("event_time", .string(Timestamp.exactText(record.eventTime))),
      .init("source", .string(source)), bytes("topic", record.topic),
    ]
    if !record.key.isEmpty { members.append(bytes("key", record.key)) }
    if record.producer != 0 {
      members += [
        .init("producer", .string(producer)), .init("epoch", .count(record.epoch)),
        .init("sequence", .count(record.sequence)),
      ]
    }
    if !record.headers.isEmpty { members.append(.init("headers", headers(record.headers))) }
    return members + [bytes("payload", record.payload)]
  }

  /// Text where it is text.
  static func bytes(_ name: String, _ bytes: UnsafeRawBufferPointer) -> JSONValue.Member {
    if let text = String(validating: bytes, as: UTF8.self) { return .init(name, .string(text)) }
    return .init("\(name)_base64", .string(Base64.encode(bytes)))
  }

  /// Pairs, since a name may come twice. What does not add up is left out: a reader of the log has checked the rest.
  static func headers(_ bytes: UnsafeRawBufferPointer) -> JSONValue {
    var pairs: [JSONValue] = []
    var at = 0
    while at < bytes.count {
      let nameEnd = at + 1 + Int(bytes[at])
      guard nameEnd + 2 <= bytes.count else { break }
      let valueEnd = nameEnd + 2 + Int(bytes[nameEnd]) + Int(bytes[nameEnd + 1]) << 8
      guard valueEnd <= bytes.count else { break }
      let name = String(decoding: bytes[(at + 1)..<nameEnd], as: UTF8.self)
      let value = UnsafeRawBufferPointer(rebasing: bytes[(nameEnd + 2)..<valueEnd])
      pairs.append(.object([.init("name", .string(name)), self.bytes("value", value)]))
      at = valueEnd
    }
    return .array(pairs)
  }
}

/// RFC 4648, with padding.
enum Base64 {
  private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  static func encode(_ bytes: UnsafeRawBufferPointer) -> String {
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = (0..<3).reduce(0) { $0 << 8 | (start + $1 < bytes.count ? Int(bytes[start + $1]) : 0) }
      for place in 0..<4 {
        text.append(start + place <= bytes.count ? digits[group >> (18 - 6 * place) & 63] : UInt8(ascii: "="))
      }
    }
    return String(decoding: text, as: UTF8.self)
  }
}
