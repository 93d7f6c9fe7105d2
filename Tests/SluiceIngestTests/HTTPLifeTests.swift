import NIOCore
import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

@Suite("HTTP connections")
struct HTTPLifeTests {
  static let body = #"{"message":"hello"}"#

  @Test func theConnectionIsKeptOrClosedAsAsked() throws {
    let harness = HTTPHarness(.fsync)
    let cases: [(request: String, header: String?, isOpen: Bool)] = [
      (post(Self.body), nil, true),
      (post(Self.body, headers: "Connection: close\r\n"), "close", false),
      ("POST /log HTTP/1.0\r\nContent-Length: 19\r\n\r\n\(Self.body)", "close", false),
      (
        "POST /log HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 19\r\n\r\n\(Self.body)", "keep-alive", true
      ),
      ("GET /health HTTP/1.0\r\n\r\n", "close", false),
      ("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", nil, true),
    ]
    for (request, header, isOpen) in cases {
      let connection = try harness.connect()
      try connection.receive(request)
      harness.commit()
      let response = try #require(try connection.responses().first)
      #expect(response.headers["connection"] == header)
      #expect(connection.isOpen == isOpen, "\(request)")
    }
  }

  @Test func afterARefusalTheAnswersBeforeItAreStillGiven() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    try connection.receive(post(Self.body) + "GET / HTTP/1.1\r\nBad Header: x\r\n\r\n" + post(Self.body))
    #expect(try connection.sent() == "" && connection.isOpen)
    harness.commit()
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [202, 400])
    #expect(responses[1].headers["connection"] == "close")
    #expect(responses[1].body.contains(#""code":"bad_header_name""#))
    #expect(harness.stream.records.count == 1, "nothing behind the refusal is read")
  }

  @Test func aPeerThatGoesAwayWhileItsRecordWaitsDoesNoHarm() throws {
    let harness = HTTPHarness(.fsync)
    let (gone, other) = (try harness.connect(), try harness.connect())
    try gone.receive(post(Self.body) + post("{") + post(Self.body, headers: "Connection: close\r\n"))
    try other.receive(post(Self.body))
    gone.channel.close(promise: nil)
    harness.commit()
    #expect(try other.responses().map(\.status) == [202])
    #expect(harness.stream.records.count == 3)
  }

  @Test func aPeerThatShutsItsSideGetsItsAnswers() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    try connection.receive(post(Self.body))
    connection.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    #expect(connection.isOpen)
    harness.commit()
    #expect(try connection.responses().map(\.status) == [202])
    #expect(!connection.isOpen)
  }

  @Test func aPeerThatShutsItsSideGetsWhatItIsSlowToTakeToo() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    connection.channel.isWritable = false
    try connection.receive("GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    #expect(try connection.sent() == "" && connection.isOpen, "no more is served than the peer takes")
    connection.channel.isWritable = true
    connection.channel.pipeline.fireChannelWritabilityChanged()
    harness.eventLoop.run()
    #expect(try connection.responses().map(\.status) == [200, 200])
    #expect(!connection.isOpen)
  }

  @Test func timeLimitsAreNeverShorterThanAskedFor() {
    let cases: [(Int64, Int)] = [(100_000_000, 1), (1_000_000_000, 1), (1_000_000_001, 2), (75_000_000_000, 75)]
    for (nanoseconds, seconds) in cases { #expect(HTTPSourceOptions.seconds(nanoseconds) == seconds) }
  }

  @Test func aSourceTakesEveryBodyLimitThatATopologyMayName() {
    let options = HTTPSourceOptions(name: "api", maxBodyBytes: Limits.maxMaxBodyBytes)
    #expect(options.maxBodyBytes == Limits.maxMaxBodyBytes)
  }

  @Test func aHeadThatDoesNotEndInTimeIsAnswered408() throws {
    let harness = HTTPHarness { $0.headerSeconds = 10 }
    let connection = try harness.connect()
    try connection.receive(post(Self.body) + "POST /log HT")
    #expect(try connection.responses().map(\.status) == [202])
    for _ in 0..<9 {
      harness.eventLoop.advanceTime(by: .seconds(1))
      try connection.receive("a")
    }
    #expect(try connection.sent() == "" && connection.isOpen, "sending a little now and then gains nothing")
    harness.eventLoop.advanceTime(by: .seconds(3))
    #expect(try connection.responses().map(\.status) == [408])
    harness.eventLoop.advanceTime(by: .seconds(Int64(Limits.defaultLingerSeconds) + 2))
    #expect(!connection.isOpen)
  }

  @Test(arguments: [0, 1, 9])
  func behindTheLastAnswerAConnectionIsReadForAsLongAsTheTopologySays(_ seconds: Int) throws {
    let http = HTTPHarness { $0.lingerSeconds = seconds }
    let web = try http.connect()
    let tcp = TCPHarness { $0.lingerSeconds = seconds }
    let framed = try tcp.connect()
    for channel in [web.channel, framed.channel] {
      try channel.pipeline.syncOperations.addHandler(OutputCloser(), position: .first)
    }
    try web.receive("POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n")
    try framed.receive(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    #expect(try web.responses().map(\.status) == [413])
    #expect(try framed.received().compactMap(\.errorCode) == [.magic])
    for second in 0...seconds {
      for channel in [web.channel, framed.channel] {
        #expect(channel.isActive == (seconds > 0), "after \(second) s")
      }
      for loop in [http.eventLoop, tcp.eventLoop] { loop.advanceTime(by: .seconds(1)) }
    }
    #expect(!web.isOpen && !framed.channel.isActive)
  }

  @Test func aDrainWaitsNoLongerForWhoLingersThanByDefault() throws {
    let http = HTTPHarness { $0.lingerSeconds = 60 }
    let web = try http.connect()
    let tcp = TCPHarness { $0.lingerSeconds = 60 }
    let framed = try tcp.connect()
    for channel in [web.channel, framed.channel] {
      try channel.pipeline.syncOperations.addHandler(OutputCloser(), position: .first)
    }
    try web.receive("no request\r\n")
    try framed.receive(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
    _ = (http.loop.drain(within: .seconds(300)), tcp.loop.drain(within: .seconds(300)))
    #expect(web.isOpen && framed.channel.isActive)
    for loop in [http.eventLoop, tcp.eventLoop] {
      loop.advanceTime(by: .seconds(Int64(Limits.defaultLingerSeconds) + 2))
    }
    #expect(!web.isOpen && !framed.channel.isActive)
  }

  @Test func aBodyHasItsOwnTime() throws {
    let harness = HTTPHarness {
      $0.headerSeconds = 10
      $0.bodySeconds = 20
    }
    let connection = try harness.connect()
    try connection.receive(String(post(Self.body).dropLast(3)))
    harness.eventLoop.advanceTime(by: .seconds(19))
    #expect(try connection.sent() == "" && connection.isOpen)
    harness.eventLoop.advanceTime(by: .seconds(3))
    #expect(try connection.responses().map(\.status) == [408])
  }

  @Test func anIdleConnectionIsClosedButNotOneThatWaitsForTheJournal() throws {
    let harness = HTTPHarness(.fsync) { $0.idleSeconds = 30 }
    let (idle, waiting) = (try harness.connect(), try harness.connect())
    try waiting.receive(post(Self.body))
    harness.eventLoop.advanceTime(by: .seconds(29))
    #expect(idle.isOpen)
    harness.eventLoop.advanceTime(by: .seconds(100))
    #expect(!idle.isOpen && waiting.isOpen)
    harness.commit()
    #expect(try waiting.responses().map(\.status) == [202])
  }

  @Test func drainingAnswersWhatWaitsAndClosesTheRest() throws {
    let harness = HTTPHarness(.fsync)
    let (idle, waiting, late) = (try harness.connect(), try harness.connect(), try harness.connect())
    try waiting.receive(post(Self.body))
    try late.receive("POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 19\r\n\r\n")
    let drained = NIOLoopBoundBox(false, eventLoop: harness.eventLoop)
    harness.loop.drain(within: .seconds(30)).whenSuccess { drained.value = true }
    #expect(!idle.isOpen && waiting.isOpen && late.isOpen)
    try late.receive(Self.body)
    harness.commit()
    #expect(try waiting.responses().map(\.status) == [202])
    let last = try late.responses()
    #expect(last.map(\.status) == [202])
    #expect(last.first?.headers["connection"] == "close")
    #expect(!late.isOpen)
    // What was answered before draining was known about is idle now.
    #expect(!waiting.isOpen && drained.value)
    #expect(harness.stream.lanes == 0)
  }

  /// A refused request whose body never comes, and a head that never ends.
  @Test(arguments: ["POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", "POST /log HT"])
  func nobodyDelaysADrainForLongByWhatNeverEnds(_ text: String) throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.channel.pipeline.syncOperations.addHandler(OutputCloser(), position: .first)
    try connection.receive(text)
    // Long before the drain.
    harness.eventLoop.advanceTime(by: .seconds(5))
    let drained = NIOLoopBoundBox(false, eventLoop: harness.eventLoop)
    harness.loop.drain(within: .seconds(300)).whenSuccess { drained.value = true }
    harness.eventLoop.advanceTime(by: .seconds(1))
    #expect(connection.isOpen, "there is a little time for it still")
    harness.eventLoop.advanceTime(by: .seconds(Int64(Limits.drainGraceSeconds)))
    #expect(!connection.isOpen && drained.value)
    #expect(try connection.responses().map(\.status) == [text.hasSuffix("{") ? 404 : 408])
  }

  @Test func aHeadThatEndsSoonInADrainIsServed() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    let (first, second) = (post(Self.body).prefix(12), post(Self.body).dropFirst(12))
    try connection.receive(String(first))
    harness.eventLoop.advanceTime(by: .seconds(5))
    _ = harness.loop.drain(within: .seconds(300))
    harness.eventLoop.advanceTime(by: .seconds(Int64(Limits.drainGraceSeconds)))
    try connection.receive(String(second))
    let answers = try connection.responses()
    #expect(answers.map(\.status) == [202] && answers.first?.headers["connection"] == "close")
    #expect(!connection.isOpen)
  }

  @Test func drainingCutsWhatIsLeftAtTheDeadline() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    try connection.receive(post(Self.body) + "POST /log")
    let drained = NIOLoopBoundBox(false, eventLoop: harness.eventLoop)
    harness.loop.drain(within: .seconds(5)).whenSuccess { drained.value = true }
    harness.eventLoop.advanceTime(by: .seconds(4))
    #expect(!drained.value && connection.isOpen)
    harness.eventLoop.advanceTime(by: .seconds(2))
    #expect(drained.value && !connection.isOpen)
    harness.commit()
    #expect(harness.stream.lanes == 0)
  }

  @Test func theCountersCount() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    let text = post(Self.body) + post(Self.body) + post("{") + "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    try connection.receive(text)
    harness.stream.setFull(.ring)
    try connection.receive(post(Self.body))
    let families = HTTPCounters.families(source: "api", [harness.counters, HTTPCounters()])
    func value(_ name: String, _ label: String? = nil) -> Double? {
      families.first { $0.name == name }?.samples.first { label == nil || $0.labels.last?.1 == label }?.value
    }
    #expect(value("sluice_http_requests_total", "202") == 2)
    #expect(value("sluice_http_requests_total", "400") == 1)
    #expect(value("sluice_http_requests_total", "200") == 1)
    #expect(value("sluice_http_requests_total", "429") == 1)
    #expect(value("sluice_source_accepted_records_total") == 2)
    #expect(value("sluice_source_rejected_records_total", "json") == 1)
    #expect(value("sluice_source_rejected_records_total", "ring") == 1)
    #expect(value("sluice_source_received_bytes_total") == Double(text.utf8.count + post(Self.body).utf8.count))
    #expect(value("sluice_source_connections") == 1)
    connection.channel.close(promise: nil)
    #expect(HTTPCounters.families(source: "api", [harness.counters])[6].samples[0].value == 0)
  }
}
