import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

@Suite("Records of syslog messages")
struct SyslogFormatTests {
  struct Made: Equatable {
    var topic: String
    var key: String
    var time: Int64
    var headers: [String]
    var payload: String
    var isMalformed: Bool
  }

  static func headers(_ bytes: UnsafeRawBufferPointer) -> [String] {
    var found: [String] = []
    var at = 0
    while at < bytes.count {
      let name = at + 1..<at + 1 + Int(bytes[at])
      let count = Int(bytes[name.upperBound]) | Int(bytes[name.upperBound + 1]) << 8
      let value = name.upperBound + 2..<name.upperBound + 2 + count
      found.append("\(String(decoding: bytes[name], as: UTF8.self))=\(String(decoding: bytes[value], as: UTF8.self))")
      at = value.upperBound
    }
    return found
  }

  static func make(_ text: String, now: Int64 = SyslogMessageTests.now) -> Made? {
    let line = LineFormat(topic: "net")
    let format = SyslogFormat(topic: line.topic)
    return Array(text.utf8).withUnsafeBytes { bytes in
      Array("192.0.2.9".utf8).withUnsafeBytes { sender in
        guard let record = format.record(bytes, from: sender, now: now) else { return nil }
        let fields = record.fields
        return Made(
          topic: String(decoding: fields.topic, as: UTF8.self), key: String(decoding: fields.key, as: UTF8.self),
          time: fields.eventTime, headers: headers(fields.headers),
          payload: String(decoding: fields.payload, as: UTF8.self), isMalformed: record.isMalformed)
      }
    }
  }

  @Test func aWholeMessageFillsEveryField() {
    let text = #"<165>1 2026-01-04T10:22:33Z web-1 app 42 ID47 [a@1 b="c"] hello"#
    #expect(
      Self.make(text + "\r\n\0")
        == Made(
          topic: "local4.notice", key: "web-1", time: 1_767_522_153_000_000_000,
          headers: [
            "syslog=rfc5424", "facility=local4", "severity=notice", "app_name=app", "procid=42", "msgid=ID47",
            #"structured_data=[a@1 b="c"]"#, "from=192.0.2.9",
          ], payload: text, isMalformed: false))
  }

  @Test func whatAMessageDoesNotSayComesFromWhereItCame() {
    #expect(
      Self.make("<13>hello")
        == Made(
          topic: "user.notice", key: "192.0.2.9", time: SyslogMessageTests.now,
          headers: ["syslog=rfc3164", "facility=user", "severity=notice", "from=192.0.2.9"], payload: "<13>hello",
          isMalformed: false))
  }

  @Test func whatIsNoMessageIsKeptAsItIs() {
    #expect(
      Self.make("hello\n")
        == Made(
          topic: "net", key: "192.0.2.9", time: SyslogMessageTests.now,
          headers: ["syslog=malformed", "from=192.0.2.9"], payload: "hello", isMalformed: true))
    #expect(Self.make("") == nil && Self.make("\r\n\0") == nil)
  }

  @Test func everyPriorityHasItsTopic() {
    for priority in 0...191 {
      let facility = SyslogFormat.facilities[priority / 8]
      #expect(Self.make("<\(priority)>x")?.topic == "\(facility).\(SyslogFormat.severities[priority % 8])")
    }
  }

  @Test func theLargestMessageFitsAndItsHeadersGoWhereThereIsNoRoom() {
    for max in [1024, 4096, 1 << 20] {
      let stream = FakeStream(.memory, maxRecordBytes: max)
      let lane = stream.openLane(source: "s") {}
      let limit = SyslogFormat.maxMessageBytes(maxRecordBytes: max)
      let head = "<13>1 - \(String(repeating: "h", count: 255)) a p m - "
      let text = Array(head.utf8) + [UInt8](repeating: 0x61, count: limit - head.utf8.count)
      let format = SyslogFormat(topic: .empty)
      text.withUnsafeBytes { bytes in
        let record = format.record(bytes, from: .empty, now: 0)
        #expect(record.map(lane.append) == .accepted)
      }
      _ = lane.submit()
      #expect(stream.records.map(\.payload) == [text] && stream.records[0].key.utf8.count == 255)
      lane.close()
    }
  }
}

@Suite("Syslog over TCP")
struct SyslogConnectionTests {
  private func harness(maxRecordBytes: Int = 1 << 20) -> LinesHarness {
    LinesHarness(maxRecordBytes: maxRecordBytes) { $0.isSyslog = true }
  }

  @Test func countedMessagesAndLinesComeMixedAndCutAnywhere() throws {
    let harness = harness()
    let connection = try harness.connect()
    for piece in ["<13>o", "ne\n8 <14>t", "wo\n<", "15>thr", "ee\r\n9", " <16>fo\nur", "\n"] {
      try connection.receive(piece)
    }
    #expect(harness.texts == ["<13>one", "<14>two", "<15>three", "<16>fo\nur"])
    #expect(harness.stream.records.map(\.topic) == ["user.notice", "user.info", "user.debug", "mail.emerg"])
    #expect(harness.stream.records.allSatisfy { $0.key == "127.0.0.1" || $0.key.isEmpty })
    #expect(harness.count(.accepted) == 4 && harness.count(.malformed) == 0)
  }

  @Test func whatIsMalformedIsStoredAndCounted() throws {
    let harness = harness()
    try harness.connect().receive("12345678 <13>a\nhello\n<999>b\n<13>c\n")
    #expect(harness.texts == ["12345678 <13>a", "hello", "<999>b", "<13>c"])
    #expect(harness.count(.malformed) == 3 && harness.count(.accepted) == 4)
    #expect(harness.stream.records.map(\.topic) == ["lines", "lines", "lines", "user.notice"])
  }

  @Test func whatIsTooLongIsPassedOverAndTheConnectionGoesOn() throws {
    let harness = harness(maxRecordBytes: 1024)
    let connection = try harness.connect()
    let long = String(repeating: "x", count: 2000)
    try connection.receive("2000 \(long)<13>a\n<14>\(long)")
    try connection.receive("\(long)\n9999999 <15>")
    #expect(harness.texts == ["<13>a"] && harness.count(.tooLarge) == 3)
    #expect(connection.isOpen)
  }

  @Test func aCountedMessageThatIsCutOffIsCounted() throws {
    let harness = harness()
    let connection = try harness.connect()
    try connection.receive("<13>a\n20 <13>b")
    connection.endInput()
    #expect(harness.texts == ["<13>a"] && harness.count(.unfinished) == 1)
  }

  @Test func aFullStreamHoldsTheConnectionAndLosesNothing() throws {
    let harness = harness()
    harness.stream.setFull(.ring)
    let connection = try harness.connect()
    try connection.receive("<13>a\n6 <13>bc<13>d\n")
    #expect(harness.texts.isEmpty && harness.count(.pauses) == 1)
    harness.stream.setFull(nil)
    harness.loop.waitingRoom.tryAll()
    harness.eventLoop.run()
    #expect(harness.texts == ["<13>a", "<13>bc", "<13>d"])
  }
}
