import ArgumentParser
import NIOCore
import SluiceCore
import Testing

@testable import sluice

/// A producer with its records, driven by hand.
private struct Rig {
  var machine: HTTPProducer
  var supply: RecordSupply
  var tally = SendTally()
  var now: Int64 = 0

  init(
    producer: String? = nil, records: UInt64 = 3, batch: Int = 1, inFlight: Int = 4, retries: Bool = true,
    rate: Double? = nil
  ) {
    machine = HTTPProducer(
      .init(
        head: "POST / HTTP/1.1\r\n", producer: producer, epoch: 1, batch: batch, inFlight: inFlight, isJSON: true,
        retries: retries))
    supply = RecordSupply(
      .generated(GeneratedRecords(run: "89abcdef", size: 64, count: records)), SendSchedule(rate: rate, start: 0),
      connection: 0, of: 1)
    machine.connected(at: 0)
  }

  var status: ExitCode? {
    if case .failed(let failure) = machine.condition { failure.status } else { nil }
  }

  /// What is sent now: of each request the sequence, or the number of its first record, and how many it has.
  mutating func requests() -> [String] {
    while machine.send(from: &supply, at: now, &tally) {}
    let text = machine.takeOutput().map { String(buffer: $0) }.joined()
    return text.split(separator: "POST / HTTP/1.1\r\n").map { request in
      let sequence = request.split(separator: "\r\n").first { $0.hasPrefix("Sluice-Sequence: ") }
      let epoch = request.split(separator: "\r\n").first { $0.hasPrefix("Sluice-Epoch: ") }
      let numbers = request.matches(of: #/89abcdef 0*(\d+)/#).map { String($0.1) }
      let name = sequence.map { "\(epoch == "Sluice-Epoch: 1" ? "" : "epoch ")#\($0.dropFirst(17)):" } ?? ""
      return name + numbers.joined(separator: ",")
    }
  }

  mutating func answer(_ status: Int, _ body: String = "", extra: String = "") {
    machine.received(
      ByteBuffer(string: "HTTP/1.1 \(status) X\r\n\(extra)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"), at: now,
      &tally)
  }
}

@Suite struct HTTPProducerTests {
  @Test("as many requests as may be are on their way, and each answer makes room for one")
  func closedLoop() {
    var rig = Rig(records: 3, inFlight: 2)
    #expect(rig.requests() == ["1", "2"])
    rig.now = 7_000_000
    rig.answer(202)
    #expect(rig.requests() == ["3"])
    rig.answer(202)
    rig.answer(202)
    #expect(rig.requests() == [] && rig.machine.condition == .done)
    #expect(rig.tally.acknowledged == 3 && rig.tally.latency(percentile: 100) / 100_000 == 70)
  }

  @Test("in an open loop a request waits until it is due, and its latency counts from then")
  func openLoop() {
    var rig = Rig(records: 3, rate: 1000)
    #expect(rig.requests() == ["1"] && rig.machine.wakeAt == 1_000_000)
    rig.now = 2_000_000
    #expect(rig.requests() == ["2", "3"])
    rig.now = 4_000_000
    for _ in 1...3 { rig.answer(202) }
    #expect(rig.tally.latency(percentile: 1) / 10_000 == 200)
    #expect(rig.tally.latency(percentile: 100) / 10_000 == 400)
  }

  @Test("after a 429 nothing is sent before the answers are in and the time is over; then all comes again in order")
  func full() {
    var rig = Rig(producer: "p", records: 4, inFlight: 3)
    #expect(rig.requests() == ["#1:1", "#2:2", "#3:3"])
    rig.answer(202)
    rig.answer(429, extra: "Retry-After: 1\r\n")
    #expect(rig.requests() == [])
    rig.answer(409, #"{"code":"gap","expected":2}"#)
    #expect(rig.requests() == [] && rig.machine.wakeAt == 1_000_000_000)
    rig.now = 1_000_000_000
    #expect(rig.requests() == ["#2:2", "#3:3", "#4:4"])
    for _ in 1...3 { rig.answer(202) }
    #expect(rig.tally.acknowledged == 4 && rig.tally.retried == 2 && rig.tally.refused == 0)
  }

  @Test("what was under way on a connection that broke is sent again, first and in order")
  func lostConnection() {
    var rig = Rig(producer: "p", records: 4, inFlight: 3)
    _ = rig.requests()
    rig.answer(202)
    rig.machine.disconnected(at: 0, &rig.tally)
    rig.machine.connected(at: 0)
    #expect(rig.requests() == ["#2:2", "#3:3", "#4:4"])
  }

  @Test("without retries what is refused for now or lost is counted, and the next is sent")
  func noRetries() {
    var rig = Rig(records: 5, inFlight: 2, retries: false)
    #expect(rig.requests() == ["1", "2"])
    rig.answer(429)
    rig.answer(202)
    rig.now = 1_000_000_000
    #expect(rig.requests() == ["3", "4"])
    #expect(rig.tally.abandoned == 1 && rig.tally.acknowledged == 1 && rig.tally.pending == 2)
    rig.machine.disconnected(at: 0, &rig.tally)
    #expect(rig.tally.abandoned == 3 && rig.tally.pending == 0)
  }

  @Test("a refusal for good is told with its place, and the others go on")
  func refused() {
    var rig = Rig(records: 2)
    _ = rig.requests()
    rig.answer(400, #"{"code":"bad_utf8","detail":"no"}"#)
    rig.answer(202)
    #expect(rig.tally.refusals == [SendRefusal(place: 1, code: "bad_utf8", detail: "no")])
    #expect(rig.tally.refused == 1 && rig.tally.acknowledged == 1)
  }

  @Test("of a batch those that the answer lists are refused, and all others acknowledged")
  func batch() {
    var rig = Rig(producer: "p", records: 7, batch: 5)
    #expect(rig.requests() == ["#1:1,2,3,4,5", "#6:6,7"])
    rig.answer(202, #"{"accepted":3,"rejected":[{"index":0,"code":"a"},{"index":3,"code":"b","detail":"d"}]}"#)
    rig.answer(202, #"{"accepted":2,"rejected":[]}"#)
    #expect(rig.tally.refusals.map(\.place) == [1, 4] && rig.tally.acknowledged == 5)
    #expect(rig.requests() == [] && rig.machine.condition == .done)
  }

  @Test(
    "an answer to a batch that does not say what became of each record ends the run",
    arguments: [
      "", "{}", #"{"accepted":4,"rejected":[]}"#, #"{"accepted":4,"rejected":[{"index":5}]}"#,
      #"{"accepted":3,"rejected":[{"index":1},{"index":1}]}"#, #"{"accepted":4,"rejected":[{}]}"#,
    ])
  func badBatchAnswer(body: String) {
    var rig = Rig(records: 5, batch: 5)
    _ = rig.requests()
    rig.answer(202, body)
    #expect(rig.status == ExitStatus.protocolError)
  }

  @Test("a server that went back has what is left numbered from where it is, once")
  func serverWentBack() {
    var rig = Rig(producer: "p", records: 5, inFlight: 2)
    _ = rig.requests()
    rig.answer(202)
    rig.answer(202)
    #expect(rig.requests() == ["#3:3", "#4:4"])
    rig.answer(409, #"{"code":"gap","expected":2}"#)
    rig.answer(409, #"{"code":"gap","expected":2}"#)
    rig.now = 1_000_000_000
    #expect(rig.requests() == ["#2:3", "#3:4"])
    rig.answer(202)
    #expect(rig.requests() == ["#4:5"] && rig.tally.refused == 0)
  }

  @Test("the highest epoch is taken over at the beginning; later a higher one ends the run")
  func fenced() {
    var rig = Rig(producer: "p", records: 3, inFlight: 1)
    #expect(rig.requests() == ["#1:1"])
    rig.answer(409, #"{"code":"fenced","epoch":4}"#)
    #expect(rig.requests() == ["epoch #1:1"])
    rig.answer(202)
    _ = rig.requests()
    rig.answer(409, #"{"code":"fenced","epoch":5}"#)
    #expect(rig.status == ExitStatus.temporary)
  }

  @Test(
    "answers that no other try will change end the run",
    arguments: [(401, ExitStatus.noPermission), (403, ExitStatus.noPermission), (404, ExitStatus.protocolError)])
  func failures(status: Int, expected: ExitCode) {
    var rig = Rig()
    _ = rig.requests()
    rig.answer(status, "no")
    #expect(rig.status == expected)
  }

  @Test("an answer that closes the connection has it made anew")
  func closes() {
    var rig = Rig(records: 1)
    _ = rig.requests()
    rig.answer(202, extra: "Connection: close\r\n")
    #expect(rig.machine.condition == .broken(reconnectAfter: 0))
    rig.machine.disconnected(at: 0, &rig.tally)
    rig.machine.connected(at: 0)
    #expect(rig.requests() == [] && rig.machine.condition == .done)
  }
}
