// How a syslog message becomes a record.
//
//   payload     the message as it was sent, from its PRI on; LF, CR LF and NUL at its end are framing
//   topic       facility.severity, as in "auth.notice"; of a message without PRI the source's
//   key         the host that it names, else the address that it came from
//   event time  the message's, else that of arrival
//   headers     syslog (rfc5424, rfc3164, malformed), facility, severity, app_name, procid, msgid, structured_data (as
//               sent, brackets included), from (the address that it came from); each only if there is one
//
// A message that exceeds `max_record` only with its headers is stored without them.

import SluiceCore

/// Confined to the thread that takes messages: what it gives lies in a buffer that the next message overwrites.
final class SyslogFormat {
  struct Record {
    var fields: RecordFields
    var isMalformed: Bool
  }

  static let facilities = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit",
    "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
  ]
  static let severities = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]
  private static let formNames = ["rfc5424", "rfc3164", "malformed"]

  /// What is the same in all messages of a kind, made once.
  private struct Fixed {
    var topic: [UInt8]
    var headers: [UInt8]
  }

  private let sourceTopic: UnsafeRawBufferPointer
  private let byPriority: [Fixed]
  private let byForm: [[UInt8]]
  private let buffer: UnsafeMutableRawBufferPointer
  private var end = 0

  init(topic: UnsafeRawBufferPointer) {
    sourceTopic = topic
    byPriority = (0...Limits.maxSyslogPriority).map { priority in
      let (facility, severity) = (Self.facilities[priority / 8], Self.severities[priority % 8])
      return Fixed(
        topic: Array("\(facility).\(severity)".utf8),
        headers: Self.header("facility", facility) + Self.header("severity", severity))
    }
    byForm = Self.formNames.map { Self.header("syslog", $0) }
    buffer = .allocate(byteCount: Limits.maxTopicBytes + Limits.maxHeadersBytes, alignment: 1)
  }

  deinit { buffer.deallocate() }

  /// A message of this length is a record even with the longest topic and key, without headers.
  static func maxMessageBytes(maxRecordBytes: Int) -> Int {
    let fixed = Limits.serverPartBytes + Limits.producerFixedBytes
    return max(0, maxRecordBytes - fixed - RecordLayout.padded(Limits.maxTopicBytes + Limits.maxSyslogNameBytes)) & ~7
  }

  /// The record of `message`, which came from `sender` (the text of an address, at most 255 bytes) at `now`. Nil for an
  /// empty message. What it gives is valid until the next call.
  func record(_ message: UnsafeRawBufferPointer, from sender: UnsafeRawBufferPointer, now: Int64) -> Record? {
    let bytes = Self.trimmed(message)
    guard !bytes.isEmpty else { return nil }
    let parsed = SyslogMessage(bytes, now: now)
    end = 0
    var topic = sourceTopic
    if let priority = parsed.priority {
      byPriority[priority].topic.withUnsafeBytes { add($0) }
      topic = UnsafeRawBufferPointer(rebasing: buffer[..<end])
    }
    let start = end
    byForm[parsed.form.rawValue].withUnsafeBytes { add($0) }
    if let priority = parsed.priority { byPriority[priority].headers.withUnsafeBytes { add($0) } }
    addHeader("app_name", bytes, parsed.application)
    addHeader("procid", bytes, parsed.process)
    addHeader("msgid", bytes, parsed.messageID)
    if parsed.structuredData.count <= Limits.maxSyslogStructuredHeaderBytes {
      addHeader("structured_data", bytes, parsed.structuredData)
    }
    addHeader("from", sender, 0..<sender.count)
    let key = parsed.host.isEmpty ? sender : UnsafeRawBufferPointer(rebasing: bytes[parsed.host])
    return Record(
      fields: RecordFields(
        eventTime: parsed.time ?? now, topic: topic, key: key,
        headers: UnsafeRawBufferPointer(rebasing: buffer[start..<end]), payload: bytes),
      isMalformed: parsed.form == .malformed)
  }

  /// Without what frames it.
  private static func trimmed(_ message: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    var end = message.count
    while end > 0, message[end - 1] == 0x0A || message[end - 1] == 0x0D || message[end - 1] == 0 { end -= 1 }
    return UnsafeRawBufferPointer(rebasing: message[..<end])
  }

  private static func header(_ name: String, _ value: String) -> [UInt8] {
    [UInt8(name.utf8.count)] + name.utf8 + [UInt8(value.utf8.count), 0] + value.utf8
  }

  private func add(_ bytes: UnsafeRawBufferPointer) {
    UnsafeMutableRawBufferPointer(rebasing: buffer[end...]).copyMemory(from: bytes)
    end += bytes.count
  }

  /// Room is there: the names and the structured data are bounded far below `Limits.maxHeadersBytes` in all.
  private func addHeader(_ name: StaticString, _ bytes: UnsafeRawBufferPointer, _ place: Range<Int>) {
    guard !place.isEmpty else { return }
    buffer[end] = UInt8(name.utf8CodeUnitCount)
    end += 1
    add(UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
    buffer[end] = UInt8(place.count & 0xFF)
    buffer[end + 1] = UInt8(place.count >> 8)
    end += 2
    add(UnsafeRawBufferPointer(rebasing: bytes[place]))
  }
}

extension IngestLane {
  /// Appends a message with its headers, or, if the stream takes it only so, without.
  func append(_ record: SyslogFormat.Record) -> AppendResult {
    let result = append(record.fields)
    guard case .tooLarge = result else { return result }
    var fields = record.fields
    fields.headers = .empty
    return append(fields)
  }
}
