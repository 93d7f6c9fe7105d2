import NIOCore
import NIOEmbedded
import SluiceCore
import TestSupport
import Testing

@testable import SluiceIngest

@Suite("Idempotent producers over HTTP")
struct HTTPProducerTests {
  static func record(_ text: String) -> String { #"{"message":"\#(text)"}"# }

  static func headers(_ sequence: UInt64, _ name: String = "press-7", epoch: Int? = nil) -> String {
    "Sluice-Producer: \(name)\r\nSluice-Sequence: \(sequence)\r\n" + (epoch.map { "Sluice-Epoch: \($0)\r\n" } ?? "")
  }

  func one(_ sequence: UInt64, _ text: String, epoch: Int? = nil) -> String {
    post(Self.record(text), headers: Self.headers(sequence, epoch: epoch))
  }

  func many(_ first: UInt64, _ texts: [String], epoch: Int? = nil) -> String {
    post(texts.joined(separator: "\n"), headers: Self.headers(first, epoch: epoch), path: "/logs")
  }

  @Test func aRecordIsStoredOnceHoweverOftenItIsSent() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    try connection.receive(one(1, "a") + one(1, "a"))
    #expect(try connection.sent() == "", "a duplicate waits for its original")
    harness.commit()
    #expect(try connection.responses().map(\.body) == Array(repeating: #"{"status":"queued"}"#, count: 2))
    try connection.receive(one(1, "a"))
    #expect(try connection.responses().map(\.status) == [202], "the original is durable")
    let records = harness.stream.records
    #expect(records.map(\.text) == [Self.record("a")])
    #expect(records[0].sequence == 1 && records[0].epoch == 1)
    #expect(records[0].producer == harness.stream.producer(named: "press-7")?.id)
    #expect(harness.value("sluice_source_accepted_records_total") == 1)
    #expect(harness.value("sluice_source_duplicate_records_total") == 2)
  }

  @Test func aDuplicateOnAnotherLoopWaitsForTheOriginalToo() throws {
    let harness = HTTPHarness(.fsync)
    let other = HTTPHarness(on: harness.stream)
    let (first, second) = (try harness.connect(), try other.connect())
    try first.receive(one(1, "a"))
    try second.receive(one(1, "a"))
    #expect(try second.sent() == "" && first.sent() == "")
    harness.commit()
    other.eventLoop.run()
    #expect(try first.responses().map(\.status) == [202])
    #expect(try second.responses().map(\.status) == [202])
    #expect(harness.stream.records.count == 1)
  }

  @Test func aGapIsToldWithWhatIsExpected() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    try connection.receive(one(2, "b"))
    try connection.receive(many(3, [Self.record("c"), Self.record("d")]))
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [409, 409])
    for response in responses {
      #expect(response.body.contains(#""code":"gap""#) && response.body.contains(#""expected":1}"#))
    }
    #expect(harness.stream.records.isEmpty)
    #expect(harness.value("sluice_source_rejected_records_total", "gap") == 3)
  }

  @Test func ofABodyThatOverlapsOnlyWhatIsNewIsStored() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    let texts = ["a", "b", "c", "d", "e"].map(Self.record)
    try connection.receive(many(1, Array(texts[..<3])) + many(2, Array(texts[1...])) + many(1, texts))
    #expect(
      try connection.responses().map(\.body) == [3, 4, 5].map { #"{"accepted":\#($0),"rejected":[]}"# })
    #expect(harness.stream.records.map(\.text) == texts)
    #expect(harness.stream.records.map(\.sequence) == [1, 2, 3, 4, 5])
  }

  @Test func aRefusedRecordConsumesItsNumberAndIsRefusedTheSameWayAgain() throws {
    let harness = HTTPHarness(.fsync)
    let connection = try harness.connect()
    let bad = post(#"{"message":1}"#, headers: Self.headers(1))
    let batch = many(2, [Self.record("a"), "x", Self.record("b")])
    try connection.receive(bad)
    #expect(try connection.sent() == "", "the number is used up when the log says so")
    harness.commit()
    try connection.receive(batch)
    harness.commit()
    let first = try connection.responses()
    try connection.receive(bad + batch)
    let second = try connection.responses()
    #expect(first.map(\.status) == [400, 202] && second.map(\.body) == first.map(\.body))
    #expect(first[0].body.contains(#""code":"message_not_a_string""#) && first[0].body.contains(#""offset":11}"#))
    #expect(first[1].body.contains(#"{"accepted":2,"rejected":[{"index":1,"#))
    #expect(harness.stream.records.map(\.sequence) == [1, 2, 3, 4])
    #expect(harness.stream.records.map(\.isConsumed) == [true, false, true, false])
  }

  @Test func whatIsRefusedAsAWholeConsumesNothing() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    let wrong = [
      post(Self.record("a"), headers: Self.headers(1) + "Sluice-Time: soon\r\n"),
      post("[{]", headers: Self.headers(1), path: "/logs"),
      post(Self.record("a"), headers: Self.headers(1) + "Content-Encoding: br\r\n"),
    ]
    try connection.receive(wrong.joined() + one(1, "a"))
    #expect(try connection.responses().map(\.status) == [400, 400, 415, 202])
    #expect(harness.stream.records.map(\.sequence) == [1])
  }

  @Test func aHigherEpochFencesTheLowerOnes() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive(one(1, "a") + one(2, "b", epoch: 3) + one(3, "c", epoch: 2) + one(3, "c", epoch: 3))
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [202, 202, 409, 202])
    #expect(responses[2].body.contains(#""code":"fenced""#) && responses[2].body.contains(#""epoch":3}"#))
    #expect(harness.stream.records.map(\.epoch) == [1, 3, 3])
  }

  @Test func aProducerThatAFramedConnectionOwnsIsLeftToIt() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    let producer = try #require(harness.stream.producer(named: "press-7"))
    let outcome = producer.claim(epoch: 1, ClaimNotices(ready: { _ in }, revoked: { _ in }))
    guard case .granted(let claim) = outcome else { return #expect(Bool(false), "nobody else claims it") }
    try connection.receive(one(1, "a"))
    producer.release(claim, at: nil)
    try connection.receive(one(1, "a"))
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [409, 202] && responses[0].body.contains(#""code":"owned""#))
  }

  @Test func noRoomUsesUpNoNumber() throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    let batch = many(1, [Self.record("a"), "x", Self.record("b")])
    harness.stream.setRoom(56 + 8 + 16 + 56 + 56 + 8 + 15)
    try connection.receive(batch)
    harness.stream.setRoom(.max)
    try connection.receive(batch)
    #expect(try connection.responses().map(\.status) == [429, 202])
    #expect(harness.stream.records.map(\.sequence) == [1, 2, 3])
  }

  static let wrongHeaders: [(String, String)] = [
    ("Sluice-Producer: p\r\n", "bad_sequence"), ("Sluice-Sequence: 1\r\n", "bad_producer"),
    ("Sluice-Epoch: 1\r\n", "bad_producer"),
    ("Sluice-Producer: p\r\nSluice-Sequence: 0\r\n", "bad_sequence"),
    ("Sluice-Producer: p\r\nSluice-Sequence: +1\r\n", "bad_sequence"),
    ("Sluice-Producer: p\r\nSluice-Sequence: 1000000000000000000\r\n", "bad_sequence"),
    ("Sluice-Producer: p\r\nSluice-Sequence: 1\r\nSluice-Epoch: 0\r\n", "bad_epoch"),
    ("Sluice-Producer: p\r\nSluice-Sequence: 1\r\nSluice-Epoch: 65536\r\n", "bad_epoch"),
    ("Sluice-Producer: \(String(repeating: "p", count: 256))\r\nSluice-Sequence: 1\r\n", "bad_producer"),
    ("Sluice-Producer: p\r\nSluice-Producer: p\r\nSluice-Sequence: 1\r\n", "duplicate_header"),
  ]

  @Test(arguments: wrongHeaders) func wrongHeadersAreRefusedByName(_ headers: String, _ code: String) throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive(post(Self.record("a"), headers: headers))
    let response = try #require(try connection.responses().first)
    #expect(response.status == 400 && response.body.contains(#""code":"\#(code)""#), "\(response.body)")
  }

  /// A client that never knows whether it was heard, over two loops: bodies of any size, sent again from anywhere.
  @Test func aRetryStormStoresEveryRecordOnceAndInOrder() throws {
    for _ in 0..<50 {
      var random = SeededGenerator(seed: UInt64.random(in: 0 ... .max))
      let first = HTTPHarness(.fsync)
      let loops = [first, HTTPHarness(on: first.stream)]
      let total = 40
      var sent = 0
      while sent < total {
        let harness = loops[Int.random(in: 0...1, using: &random)]
        let connection = try harness.connect()
        let from = Int.random(in: max(0, sent - 10)...sent, using: &random)
        let count = Int.random(in: 1...8, using: &random)
        let texts = (from..<min(total, from + count)).map { $0 % 7 == 3 ? "{}" : Self.record("\($0)") }
        guard !texts.isEmpty else { continue }
        if Bool.random(using: &random) { first.stream.setRoom(Int.random(in: 0...1500, using: &random)) }
        try connection.receive(
          texts.count == 1 && Bool.random(using: &random)
            ? post(texts[0], headers: Self.headers(UInt64(from + 1)))
            : post(texts.joined(separator: "\n"), headers: Self.headers(UInt64(from + 1)), path: "/logs"))
        if Bool.random(using: &random) { connection.channel.close(promise: nil) }
        first.commit()
        loops[1].eventLoop.run()
        sent = max(sent, Int(first.stream.producer(named: "press-7")?.known.position.sequence ?? 0))
        #expect(sent <= from + texts.count || sent >= from)
        if connection.isOpen {
          let response = try #require(try connection.responses().first, "seed \(random.seed)")
          #expect([202, 400, 429].contains(response.status), "seed \(random.seed)")
        }
      }
      let records = first.stream.records
      #expect(records.map(\.sequence) == (1...UInt64(total)).map { $0 }, "seed \(random.seed)")
      for record in records {
        let isBad = (record.sequence - 1) % 7 == 3
        #expect(record.isConsumed == isBad && (isBad || record.text == Self.record("\(record.sequence - 1)")))
      }
    }
  }
}
