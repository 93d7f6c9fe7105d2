// How a record becomes a line.
//
// raw      the payload, then a newline. A payload that has newlines in it becomes several lines.
// ndjson   a payload that looks like a JSON object — its first byte that is not blank is '{', its last is '}' — is the
//          line, without the blanks around it. Line breaks in it become blanks: in JSON they can only stand between
//          tokens, so the value is the same. Anything else is wrapped:
//            {"time":"2026-11-22T10:34:30.123456789Z","source":"api","topic":"web","lsn":17,"message":"…"}
//          with the payload as text, or, if it is not UTF-8, in "payload_base64". time is the event time; bytes of source
//          and topic that are not UTF-8 become U+FFFD.
//          Not promised: that what looks like an object is one. POST /log has checked that; over TCP the producer
//          answers for it.

import Glibc
import SluicePluginKit

/// How a record becomes a line.
package enum LineFormat: String, Codable, CaseIterable, Sendable {
  case ndjson
  case raw

  /// As a key of a config.
  package static let field = Field(
    "ndjson: each record is one line of JSON. raw: each record's payload, then a newline.", default: LineFormat.ndjson)
}

/// The bytes of one NDJSON line. Nothing here allocates.
package enum JSONLine {
  /// The payload without the blanks around it, if it begins and ends as a JSON object does.
  package static func object(in payload: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    var start = 0
    var end = payload.count
    while start < end, isBlank(payload[start]) { start += 1 }
    while start < end, isBlank(payload[end - 1]) { end -= 1 }
    guard end - start >= 2, payload[start] == UInt8(ascii: "{"), payload[end - 1] == UInt8(ascii: "}") else {
      return nil
    }
    return UnsafeRawBufferPointer(rebasing: payload[start..<end])
  }

  private static func isBlank(_ byte: UInt8) -> Bool {
    byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
  }

  package static func hasBreaks(_ line: UnsafeRawBufferPointer) -> Bool {
    guard let base = line.baseAddress else { return false }
    return memchr(base, 0x0A, line.count) != nil || memchr(base, 0x0D, line.count) != nil
  }

  package static func blankBreaks(_ line: UnsafeMutableRawBufferPointer) {
    for index in line.indices where line[index] == 0x0A || line[index] == 0x0D { line[index] = 0x20 }
  }

  // MARK: Wrapping

  /// Bytes that `wrap` needs at most: fixed parts (with the longest number and time), each byte of a name as its
  /// longest escape.
  package static func wrappedBound(_ message: borrowing Message) -> Int {
    160 + 6 * (message.source.count + message.topic.count + message.payload.count)
  }

  /// Writes the message as an object around its payload, with the newline.
  /// - Returns: the bytes written, at most `wrappedBound`.
  package static func wrap(_ message: borrowing Message, into target: UnsafeMutableRawBufferPointer) -> Int {
    var out = Output(target)
    out.text("{\"time\":\"")
    out.time(message.eventTime)
    out.text("\",\"source\":\"")
    _ = out.escaped(message.source)
    out.text("\",\"topic\":\"")
    _ = out.escaped(message.topic)
    out.text("\",\"lsn\":")
    out.number(message.lsn)
    let here = out
    out.text(",\"message\":\"")
    if !out.escaped(message.payload) {
      out = here
      out.text(",\"payload_base64\":\"")
      out.base64(message.payload)
    }
    out.text("\"}\n")
    return out.count
  }
}

/// Writes into memory that its maker has measured; going over it is a bug and traps.
private struct Output {
  private let target: UnsafeMutableRawBufferPointer
  private(set) var count = 0

  init(_ target: UnsafeMutableRawBufferPointer) { self.target = target }

  mutating func byte(_ byte: UInt8) {
    precondition(count < target.count, "a wrapped line is longer than its bound")
    target[count] = byte
    count += 1
  }

  mutating func text(_ text: StaticString) {
    text.withUTF8Buffer { for unit in $0 { byte(unit) } }
  }

  mutating func number(_ number: UInt64) {
    var divisor: UInt64 = 1
    while number / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      byte(UInt8(ascii: "0") + UInt8(number / divisor % 10))
      divisor /= 10
    }
  }

  /// `value` with leading zeros.
  private mutating func digits(_ value: Int, _ width: Int) {
    var divisor = 1
    for _ in 1..<width { divisor *= 10 }
    while divisor > 0 {
      byte(UInt8(ascii: "0") + UInt8(value / divisor % 10))
      divisor /= 10
    }
  }

  /// Nanoseconds since 1970 as RFC 3339 in UTC. 64 bits reach from 1677 to 2262.
  mutating func time(_ nanoseconds: Int64) {
    let (seconds, fraction) = nanoseconds.floored(by: 1_000_000_000)
    let (day, second) = seconds.floored(by: 86_400)
    // Days from 1970 to a date, by eras of 400 years that begin on 1 March.
    let (era, dayOfEra) = (day + 719_468).floored(by: 146_097)
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shifted = (5 * dayOfYear + 2) / 153
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    digits(Int(era * 400 + yearOfEra + (month <= 2 ? 1 : 0)), 4)
    byte(UInt8(ascii: "-"))
    digits(Int(month), 2)
    byte(UInt8(ascii: "-"))
    digits(Int(dayOfYear - (153 * shifted + 2) / 5 + 1), 2)
    byte(UInt8(ascii: "T"))
    digits(Int(second / 3600), 2)
    byte(UInt8(ascii: ":"))
    digits(Int(second / 60 % 60), 2)
    byte(UInt8(ascii: ":"))
    digits(Int(second % 60), 2)
    byte(UInt8(ascii: "."))
    digits(Int(fraction), 9)
    byte(UInt8(ascii: "Z"))
  }

  /// The inside of a JSON string; what is not UTF-8 becomes U+FFFD. Whether all of it was UTF-8.
  mutating func escaped(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var isUTF8 = true
    var decoder = Unicode.UTF8()
    var iterator = bytes.makeIterator()
    while true {
      switch decoder.decode(&iterator) {
      case .emptyInput: return isUTF8
      case .error:
        isUTF8 = false
        text("\u{FFFD}")
      case .scalarValue(let scalar): escaped(scalar)
      }
    }
  }

  private mutating func escaped(_ scalar: Unicode.Scalar) {
    switch scalar.value {
    case 0x22, 0x5C:
      byte(0x5C)
      byte(UInt8(scalar.value))
    case 0..<0x20:
      text("\\u00")
      byte(hexDigit(scalar.value >> 4))
      byte(hexDigit(scalar.value & 0xF))
    default:
      for unit in Unicode.UTF8.encode(scalar) ?? Unicode.UTF8.encodedReplacementCharacter { byte(unit) }
    }
  }

  private func hexDigit(_ value: UInt32) -> UInt8 {
    UInt8(value) + (value < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") - 10)
  }

  mutating func base64(_ bytes: UnsafeRawBufferPointer) {
    let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    var at = 0
    while at < bytes.count {
      let left = min(3, bytes.count - at)
      var group = UInt32(bytes[at]) << 16
      if left > 1 { group |= UInt32(bytes[at + 1]) << 8 }
      if left > 2 { group |= UInt32(bytes[at + 2]) }
      for digit in 0..<4 {
        byte(digit <= left ? alphabet.utf8Start[Int(group >> (18 - 6 * UInt32(digit)) & 63)] : UInt8(ascii: "="))
      }
      at += 3
    }
  }
}

extension Int64 {
  /// Quotient rounded down, and the remainder, which is never negative.
  fileprivate func floored(by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
    let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
  }
}
