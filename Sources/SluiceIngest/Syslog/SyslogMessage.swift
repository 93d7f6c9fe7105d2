// A syslog message, taken apart where it lies. RFC 5424 is held to its grammar; RFC 3164 is what senders make of it.
//
//   message   "<" PRI ">" ("1 " rfc5424 | bsd)         PRI: one to three digits, at most 191
//   rfc5424   time SP host SP app SP procid SP msgid SP data [SP text]; "-" where there is nothing
//   bsd       [number ": "] [host ": "] [time] [host] [tag ["[" procid "]"] ":"] text
//   time      RFC 3339, or "Jan  2 03:04:05", with "*" or "." in front, a year behind the day, a fraction, a zone's name
//
//   no PRI, or one that is none          malformed
//   "1 " and not the rest of RFC 5424    malformed; what was read up to there is kept
//   BSD without a time                   is well formed: its event time is that of arrival
//
// A BSD time has no zone: it is taken as UTC. One without a year gets the last that leaves it at most a day ahead of the
// arrival: a clock may be wrong, a zone not UTC, but what waited at its sender for months is old.

import SluiceCore

struct SyslogMessage: Equatable {
  enum Form: Int, CaseIterable { case rfc5424, rfc3164, malformed }

  var form = Form.malformed
  /// Facility × 8 + severity; nil if there is none.
  var priority: Int?
  /// Nanoseconds since 1970, if it says.
  var time: Int64?
  /// Places in the message; empty where there is nothing.
  var host = 0..<0
  var application = 0..<0
  var process = 0..<0
  var messageID = 0..<0
  var structuredData = 0..<0

  /// `now`: when it arrived.
  init(_ bytes: UnsafeRawBufferPointer, now: Int64) {
    var reader = SyslogReader(bytes: bytes, now: now)
    guard let priority = reader.priority() else { return }
    self.priority = priority
    if reader.skip("1 ") {
      if readStandard(&reader) { form = .rfc5424 }
    } else {
      readBSD(&reader)
      form = .rfc3164
    }
  }

  /// RFC 5424 behind the version. False: it is something else.
  private mutating func readStandard(_ reader: inout SyslogReader) -> Bool {
    guard let stamp = reader.word() else { return false }
    if !reader.isNil(stamp) {
      guard let time = reader.standardTime(stamp) else { return false }
      self.time = time
    }
    guard reader.field(&host), reader.field(&application), reader.field(&process), reader.field(&messageID),
      let data = reader.structuredData()
    else { return false }
    structuredData = data
    return true
  }

  private mutating func readBSD(_ reader: inout SyslogReader) {
    reader.skipNumber()
    time = reader.time()
    if time == nil {
      // Cisco's `logging origin-id`: the host stands in front of the time.
      let start = reader.at
      if let word = reader.word(), let name = reader.withoutColon(word), let stamp = reader.time() {
        (host, time) = (name, stamp)
      } else {
        reader.at = start
      }
    }
    if time != nil, host.isEmpty, !reader.skip(":") {
      reader.skipSpaces()
      if let word = reader.host() { host = word }
    }
    reader.skipSpaces()
    if reader.skip(":") { reader.skipSpaces() }
    if let tag = reader.tag() { (application, process) = tag }
  }
}

/// A place in a message and the ways to go on from there. Every read is within the bytes.
struct SyslogReader {
  let bytes: UnsafeRawBufferPointer
  let now: Int64
  var at = 0

  init(bytes: UnsafeRawBufferPointer, now: Int64) {
    self.bytes = bytes
    self.now = now
  }

  /// 0 behind the end, which no rule takes.
  @inline(__always)
  func byte(_ index: Int) -> UInt8 { index < bytes.count ? bytes[index] : 0 }

  mutating func skip(_ text: StaticString) -> Bool {
    for offset in 0..<text.utf8CodeUnitCount where byte(at + offset) != text.utf8Start[offset] { return false }
    at += text.utf8CodeUnitCount
    return true
  }

  mutating func skipSpaces() { while byte(at) == 0x20 { at += 1 } }

  mutating func priority() -> Int? {
    guard skip("<") else { return nil }
    var value = 0
    let start = at
    while let digit = Self.digit(byte(at)), at - start < 3 {
      value = value * 10 + digit
      at += 1
    }
    return at > start && value <= Limits.maxSyslogPriority && skip(">") ? value : nil
  }

  /// Printable ASCII up to a space, which is passed.
  mutating func word() -> Range<Int>? {
    let start = at
    while byte(at) > 0x20, byte(at) < 0x7F, at - start <= Limits.maxSyslogNameBytes { at += 1 }
    guard at > start, at - start <= Limits.maxSyslogNameBytes, byte(at) == 0x20 else { return nil }
    at += 1
    return start..<at - 1
  }

  func isNil(_ word: Range<Int>) -> Bool { word.count == 1 && bytes[word.lowerBound] == UInt8(ascii: "-") }

  /// A field of RFC 5424; `place` stays as it is where there is nothing. False: there is no word.
  mutating func field(_ place: inout Range<Int>) -> Bool {
    guard let word = word() else { return false }
    if !isNil(word) { place = word }
    return true
  }

  /// A word without the colon it ends with; nil without one.
  func withoutColon(_ word: Range<Int>) -> Range<Int>? {
    bytes[word.upperBound - 1] == UInt8(ascii: ":") && word.count > 1 ? word.lowerBound..<word.upperBound - 1 : nil
  }

  /// `[id name="value" …]…` with its brackets, or `-`, which is empty; then a space or the end.
  mutating func structuredData() -> Range<Int>? {
    let start = at
    if skip("-") { return isAtFieldEnd ? 0..<0 : nil }
    while skip("[") {
      guard name() else { return nil }
      while skip(" ") {
        guard name(), skip("=\""), value() else { return nil }
      }
      guard skip("]") else { return nil }
    }
    return at > start && isAtFieldEnd ? start..<at : nil
  }

  private var isAtFieldEnd: Bool { at >= bytes.count || byte(at) == 0x20 }

  private mutating func name() -> Bool {
    let start = at
    while byte(at) > 0x20, byte(at) < 0x7F, byte(at) != UInt8(ascii: "="), byte(at) != UInt8(ascii: "]"),
      byte(at) != UInt8(ascii: "\"")
    { at += 1 }
    return at > start
  }

  /// Up to and including its quote.
  private mutating func value() -> Bool {
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "\""):
        at += 1
        return true
      case UInt8(ascii: "\\"): at += 2
      default: at += 1
      }
    }
    return false
  }

  /// Cisco's sequence number: `123: `.
  mutating func skipNumber() {
    let start = at
    while Self.digit(byte(at)) != nil, at - start < 20 { at += 1 }
    if at == start || !skip(": ") { at = start }
  }

  /// The word behind a BSD time, if it is a host: a tag has a colon or a bracket, and a text's only word is no host.
  mutating func host() -> Range<Int>? {
    let start = at
    guard let word = word(), withoutColon(word) == nil, bytes[word.lowerBound] != UInt8(ascii: "%"),
      !bytes[word].contains(UInt8(ascii: "["))
    else {
      at = start
      return nil
    }
    return word
  }

  /// `name:`, `name[process]:` or `name[process]`.
  mutating func tag() -> (name: Range<Int>, process: Range<Int>)? {
    let start = at
    defer { at = start }
    while byte(at) > 0x20, byte(at) < 0x7F, byte(at) != UInt8(ascii: ":"), byte(at) != UInt8(ascii: "["),
      at - start <= Limits.maxSyslogNameBytes
    { at += 1 }
    let name = start..<at
    guard !name.isEmpty, name.count <= Limits.maxSyslogNameBytes else { return nil }
    if skip(":") { return (name, 0..<0) }
    guard skip("[") else { return nil }
    let from = at
    while byte(at) > 0x20, byte(at) < 0x7F, byte(at) != UInt8(ascii: "]"), at - from <= Limits.maxSyslogNameBytes {
      at += 1
    }
    guard byte(at) == UInt8(ascii: "]"), at - from <= Limits.maxSyslogNameBytes else { return nil }
    return (name, from..<at)
  }

  static func digit(_ byte: UInt8) -> Int? {
    byte &- UInt8(ascii: "0") < 10 ? Int(byte - UInt8(ascii: "0")) : nil
  }
}
