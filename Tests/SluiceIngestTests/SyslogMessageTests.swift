import SluiceCore
import TestSupport
import Testing

@testable import SluiceIngest

/// What a message is to be taken apart into.
struct SyslogCase: Sendable, CustomTestStringConvertible {
  var from: String
  var text: String
  var form = SyslogMessage.Form.rfc3164
  var priority: Int?
  /// As RFC 3339 has it; nil: the message has none.
  var time: String?
  var host = ""
  var application = ""
  var process = ""
  var messageID = ""
  var data = ""
  var testDescription: String { from }
}

@Suite("Syslog messages")
struct SyslogMessageTests {
  /// 2026-01-05T00:00:00Z.
  static let now: Int64 = 1_767_571_200_000_000_000

  static let standard: [SyslogCase] = [
    .init(
      from: "RFC 5424, example 1",
      text: "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{FEFF}'su root' failed on /dev/pts/8",
      form: .rfc5424, priority: 34, time: "2003-10-11T22:14:15.003Z", host: "mymachine.example.com", application: "su",
      messageID: "ID47"),
    .init(
      from: "RFC 5424, example 2",
      text: "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
      form: .rfc5424, priority: 165, time: "2003-08-24T12:14:15.000003Z", host: "192.0.2.1", application: "myproc",
      process: "8710"),
    .init(
      from: "RFC 5424, example 4: structured data alone",
      text: #"<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [exampleSDID@32473 iut="3"][x@1 class="high"]"#,
      form: .rfc5424, priority: 165, time: "2003-10-11T22:14:15.003Z", host: "h", application: "evntslog",
      messageID: "ID47", data: #"[exampleSDID@32473 iut="3"][x@1 class="high"]"#),
    .init(
      from: "escapes in structured data", text: #"<13>1 - - - - - [a b="\"\\\]"] x"#, form: .rfc5424, priority: 13,
      data: #"[a b="\"\\\]"]"#),
    .init(from: "nothing but nil", text: "<0>1 - - - - - -", form: .rfc5424, priority: 0),
    .init(
      from: "rsyslog, RSYSLOG_SyslogProtocol23Format",
      text: "<86>1 2026-01-04T11:22:33.123456+01:00 web-1 sshd 4242 - -  Accepted publickey for root",
      form: .rfc5424, priority: 86, time: "2026-01-04T10:22:33.123456Z", host: "web-1", application: "sshd",
      process: "4242"),
    .init(
      from: "Docker, syslog-format rfc5424micro",
      text: "<30>1 2026-01-04T10:22:33.000001Z node7 web/1b2c3d 918 web/1b2c3d - GET / 200",
      form: .rfc5424, priority: 30, time: "2026-01-04T10:22:33.000001Z", host: "node7", application: "web/1b2c3d",
      process: "918", messageID: "web/1b2c3d"),
    .init(
      from: "util-linux logger --rfc5424",
      text: #"<13>1 2026-01-04T10:22:33.000001+00:00 box root - - [timeQuality tzKnown="1" isSynced="0"] hello"#,
      form: .rfc5424, priority: 13, time: "2026-01-04T10:22:33.000001Z", host: "box", application: "root",
      data: #"[timeQuality tzKnown="1" isSynced="0"]"#),
  ]

  static let bsd: [SyslogCase] = [
    .init(
      from: "RFC 3164, example 1", text: "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
      priority: 34, time: "2025-10-11T22:14:15Z", host: "mymachine", application: "su"),
    .init(
      from: "rsyslog, RSYSLOG_ForwardFormat", text: "<78>2026-01-04T10:22:33.5+00:00 web-1 CRON[77]: (root) CMD (true)",
      priority: 78, time: "2026-01-04T10:22:33.5Z", host: "web-1", application: "CRON", process: "77"),
    .init(
      from: "rsyslog, RSYSLOG_TraditionalForwardFormat", text: "<30>Jan  4 10:22:33 web-1 dhclient[612]: bound",
      priority: 30, time: "2026-01-04T10:22:33Z", host: "web-1", application: "dhclient", process: "612"),
    .init(
      from: "syslog(3) of glibc", text: "<30>Jan  4 10:22:33 dhclient[612]: bound", priority: 30,
      time: "2026-01-04T10:22:33Z", application: "dhclient", process: "612"),
    .init(
      from: "systemd, /dev/kmsg without a time", text: "<30>systemd[1]: Started Daily Cleanup.", priority: 30,
      application: "systemd", process: "1"),
    .init(
      from: "nginx", text: "<190>Jan  4 10:22:33 edge nginx: 192.0.2.7 - - [04/Jan/2026] \"GET / \"",
      priority: 190, time: "2026-01-04T10:22:33Z", host: "edge", application: "nginx"),
    .init(
      from: "nginx, nohostname", text: "<190>Jan  4 10:22:33 nginx: hello", priority: 190, time: "2026-01-04T10:22:33Z",
      application: "nginx"),
    .init(
      from: "Docker, the daemon's default", text: "<30>Jan  4 10:22:33 1b2c3d4e5f60[918]: hello", priority: 30,
      time: "2026-01-04T10:22:33Z", application: "1b2c3d4e5f60", process: "918"),
    .init(
      from: "busybox syslogd -R", text: "<13>Jan  4 10:22:33 root: hello", priority: 13, time: "2026-01-04T10:22:33Z",
      application: "root"),
    .init(
      from: "busybox klogd", text: "<5>Jan  4 10:22:33 kernel: [   12.345678] usb 1-1: new device", priority: 5,
      time: "2026-01-04T10:22:33Z", application: "kernel"),
    .init(
      from: "Cisco IOS", text: "<189>29: *Jan  4 10:22:33.250: %SYS-5-CONFIG_I: Configured from console by vty0",
      priority: 189, time: "2026-01-04T10:22:33.25Z", application: "%SYS-5-CONFIG_I"),
    .init(
      from: "Cisco IOS with year and zone", text: "<189>30: Jan 04 2026 10:22:33.250 UTC: %LINK-3-UPDOWN: down",
      priority: 189, time: "2026-01-04T10:22:33.25Z", application: "%LINK-3-UPDOWN"),
    .init(
      from: "Cisco IOS with origin-id", text: "<189>31: core-1: .Jan  4 10:22:33.250: %SYS-5-RESTART: up",
      priority: 189,
      time: "2026-01-04T10:22:33.25Z", host: "core-1", application: "%SYS-5-RESTART"),
    .init(
      from: "Cisco ASA", text: "<166>Jan 04 2026 10:22:33 fw : %ASA-6-302013: Built outbound TCP", priority: 166,
      time: "2026-01-04T10:22:33Z", host: "fw", application: "%ASA-6-302013"),
    .init(
      from: "Cisco ASA without a name", text: "<166>Jan 04 2026 10:22:33: %ASA-6-302013: Built", priority: 166,
      time: "2026-01-04T10:22:33Z", application: "%ASA-6-302013"),
    .init(from: "a text alone", text: "<13>hello", priority: 13),
    .init(from: "nothing behind the PRI", text: "<13>", priority: 13),
    .init(
      from: "a day that there is not", text: "<13>Feb 30 10:22:33 h su: x", priority: 13, application: "",
      messageID: ""),
    .init(
      from: "half a year of backlog", text: "<13>Jun 30 10:22:33 h su: x", priority: 13,
      time: "2025-06-30T10:22:33Z", host: "h", application: "su"),
    .init(
      from: "just a day ahead", text: "<13>Jan  6 00:00:00 h su: x", priority: 13, time: "2026-01-06T00:00:00Z",
      host: "h", application: "su"),
    .init(
      from: "more than a day ahead", text: "<13>Jan  6 00:00:01 h su: x", priority: 13, time: "2025-01-06T00:00:01Z",
      host: "h", application: "su"),
    .init(
      from: "an hour of one digit", text: "<13>Jan 4 3:04:05 h su: x", priority: 13, time: "2026-01-04T03:04:05Z",
      host: "h", application: "su"),
    .init(
      from: "an hour of one digit behind a year", text: "<13>Jan 4 2026 3:04:05 h su: x", priority: 13,
      time: "2026-01-04T03:04:05Z", host: "h", application: "su"),
    .init(
      from: "a leap day", text: "<13>Feb 29 00:00:00 h su: x", priority: 13, time: "2024-02-29T00:00:00Z", host: "h",
      application: "su"),
  ]

  static let malformed: [SyslogCase] = [
    .init(from: "no PRI", text: "hello", form: .malformed),
    .init(from: "nothing", text: "", form: .malformed),
    .init(from: "a PRI that is too large", text: "<192>hello", form: .malformed),
    .init(from: "a PRI of four digits", text: "<0013>hello", form: .malformed),
    .init(from: "an empty PRI", text: "<>hello", form: .malformed),
    .init(from: "a PRI without its end", text: "<13", form: .malformed),
    .init(
      from: "structured data without its end", text: #"<13>1 2026-01-04T10:22:33Z h a p m [x y="z" hello"#,
      form: .malformed, priority: 13, time: "2026-01-04T10:22:33Z", host: "h", application: "a", process: "p",
      messageID: "m"),
    .init(from: "a backslash at the end", text: #"<13>1 - - - - - [x y="\"#, form: .malformed, priority: 13),
    .init(from: "a time that is none", text: "<13>1 yesterday h a p m - x", form: .malformed, priority: 13),
    .init(from: "too few fields", text: "<13>1 - h a", form: .malformed, priority: 13, host: "h"),
    .init(
      from: "a host of 256 bytes", text: "<13>1 - \(String(repeating: "h", count: 256)) a p m - x", form: .malformed,
      priority: 13),
  ]

  @Test(arguments: standard + bsd + malformed) func whatIsSentIsTakenApart(_ sample: SyslogCase) {
    let bytes = Array(sample.text.utf8)
    bytes.withUnsafeBytes { bytes in
      let message = SyslogMessage(bytes, now: Self.now)
      func text(_ place: Range<Int>) -> String { String(decoding: bytes[place], as: UTF8.self) }
      #expect(message.form == sample.form && message.priority == sample.priority)
      #expect(message.time == sample.time.flatMap { time in Array(time.utf8).withUnsafeBytes(EventTime.nanoseconds) })
      #expect(text(message.host) == sample.host)
      #expect(text(message.application) == sample.application)
      #expect(text(message.process) == sample.process)
      #expect(text(message.messageID) == sample.messageID)
      #expect(text(message.structuredData) == sample.data)
    }
  }

  @Test func aTimeWithoutAYearIsInTheLastOneThatLeavesItAtMostADayAhead() {
    /// When it arrives, what it says, and what it is taken for.
    let cases = [
      ("2025-12-31T23:30:00Z", "Jan  1 00:10:00", "2026-01-01T00:10:00Z"),
      ("2026-01-01T00:10:00Z", "Dec 31 23:50:00", "2025-12-31T23:50:00Z"),
      ("2026-07-01T00:00:00Z", "Jul  3 00:00:00", "2025-07-03T00:00:00Z"),
      ("2028-02-28T12:00:00Z", "Feb 29 11:00:00", "2028-02-29T11:00:00Z"),
      ("2103-03-01T00:00:00Z", "Feb 29 11:00:00", "2096-02-29T11:00:00Z"),
    ]
    func nanoseconds(_ text: String) -> Int64? { Array(text.utf8).withUnsafeBytes(EventTime.nanoseconds) }
    for (arrival, said, taken) in cases {
      let message = Array("<13>\(said) h su: x".utf8).withUnsafeBytes {
        SyslogMessage($0, now: nanoseconds(arrival) ?? 0)
      }
      #expect(message.time == nanoseconds(taken), "\(said) at \(arrival)")
    }
  }

  /// Pieces that lead into every rule, and bytes that end it anywhere.
  @Test func whateverComesIsAMessageAndItsPlacesAreWithinIt() {
    var random = SeededGenerator(seed: UInt64.random(in: 0 ... .max))
    let pieces = [
      "<13>", "<", ">", "1 ", "-", " ", "[", "]", "\"", "\\", "=", "a", "Jan  4 10:22:33", "Feb 29 ", "12:", ":", "*",
      ".5",
      "2026-01-04T10:22:33Z ", "29: ", "h ", "99999999999999999999", "\u{0}", "\u{FF}", "é",
    ].map { Array($0.utf8) }
    for _ in 0..<20_000 {
      var bytes: [UInt8] = []
      for _ in 0..<Int.random(in: 0...12, using: &random) {
        if Int.random(in: 0..<4, using: &random) == 0 {
          bytes.append(UInt8.random(in: 0...255, using: &random))
        } else {
          bytes += pieces[Int.random(in: 0..<pieces.count, using: &random)]
        }
      }
      let now = Int64.random(in: .min ... .max, using: &random) / 2
      bytes.withUnsafeBytes { bytes in
        let message = SyslogMessage(bytes, now: now)
        for place in [message.host, message.application, message.process, message.messageID, message.structuredData] {
          #expect(place.upperBound <= bytes.count, "seed \(random.seed): \(Array(bytes))")
        }
        #expect(message.form == .malformed || message.priority != nil)
      }
    }
  }

  @Test func whatRFC5424WritesIsReadBack() {
    var random = SeededGenerator(seed: UInt64.random(in: 0 ... .max))
    func word(_ most: Int) -> String {
      let count = Int.random(in: 1...most, using: &random)
      return String(decoding: (0..<count).map { _ in UInt8.random(in: 0x21...0x7E, using: &random) }, as: UTF8.self)
    }
    func name() -> String { word(32).filter { !"=]\"".contains($0) } + "x" }
    for _ in 0..<2000 {
      let (host, application, process, messageID) = (word(255), word(48), word(128), word(32))
      let elements = (0..<Int.random(in: 0...3, using: &random)).map { _ in
        let parameters = (0..<Int.random(in: 0...3, using: &random)).map { _ in
          let value = String((0..<8).map { _ in "ab \\\"]=é".randomElement(using: &random) ?? "a" })
          return " \(name())=\"\(value.reduce(into: "") { $0 += "\\\"]".contains($1) ? "\\\($1)" : "\($1)" })\""
        }
        return "[\(name())\(parameters.joined())]"
      }.joined()
      let priority = Int.random(in: 0...191, using: &random)
      let head = "<\(priority)>1 2026-01-04T10:22:33.25Z \(host) \(application) \(process) \(messageID) "
      let bytes = Array((head + (elements.isEmpty ? "-" : elements) + " [text] \"").utf8)
      bytes.withUnsafeBytes { bytes in
        let message = SyslogMessage(bytes, now: 0)
        func text(_ place: Range<Int>) -> String { String(decoding: bytes[place], as: UTF8.self) }
        func shown(_ word: String) -> String { word == "-" ? "" : word }
        #expect(message.form == .rfc5424, "seed \(random.seed): \(text(0..<bytes.count))")
        #expect(message.priority == priority)
        #expect(text(message.host) == shown(host) && text(message.application) == shown(application))
        #expect(text(message.process) == shown(process) && text(message.messageID) == shown(messageID))
        #expect(text(message.structuredData) == elements)
      }
    }
  }
}
