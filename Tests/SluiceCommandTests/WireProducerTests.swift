import ArgumentParser
import NIOCore
import SluiceCore
import SluiceIngest
import TestSupport
import Testing

@testable import sluice

/// A producer and a server, joined by hand.
private struct Rig {
  var machine: WireProducer
  var supply: RecordSupply
  var server = ModelServer()
  var tally = SendTally()
  var now: Int64 = 1

  init(
    producer: String = "p", records: UInt64 = 10, size: Int = 64, inFlight: Int = 1000, retries: Bool = true
  ) {
    machine = WireProducer(
      .init(
        producer: producer, epoch: 1, topic: Array("web".utf8), software: "test/1", inFlight: inFlight,
        retries: retries))
    supply = RecordSupply(
      .generated(GeneratedRecords(run: "89abcdef", size: size, count: records)), SendSchedule(start: 0), connection: 0,
      of: 1)
  }

  mutating func connect() {
    server.connect()
    machine.connected(at: now)
  }

  mutating func disconnect() { machine.disconnected(at: now, &tally) }

  /// What the client has to say goes to the server.
  mutating func toServer() throws {
    machine.turn(at: now)
    while machine.condition == .open, machine.send(from: &supply, at: now, &tally) {}
    for buffer in machine.takeOutput() { try server.received(buffer) }
  }

  mutating func toClient() { machine.received(server.takeOutput(), at: now, &tally) }

  mutating func exchange(_ rounds: Int = 1) throws {
    for _ in 0..<rounds {
      try toServer()
      toClient()
    }
  }

  var numbers: [Int] { server.payloads.map { Int($0.dropFirst(21).prefix(12)) ?? -1 } }

  var status: ExitCode? {
    if case .failed(let failure) = machine.condition { failure.status } else { nil }
  }
}

@Suite struct WireProducerTests {
  @Test("a whole session: hello, records, acks, goodbye")
  func session() throws {
    var rig = Rig()
    rig.connect()
    #expect(rig.machine.condition == .connecting)
    try rig.exchange(4)
    #expect(rig.machine.condition == .done)
    #expect(rig.numbers == Array(1...10))
    #expect(rig.tally.acknowledged == 10 && rig.tally.retried == 0 && rig.tally.pending == 0)
    #expect(rig.server.frames == [.hello, .data, .bye])
    #expect(rig.server.hello?.producer == "p" && rig.server.hello?.epoch == 1)
  }

  @Test("no more records are under way than may be, and an ACK makes room")
  func inFlight() throws {
    var rig = Rig(inFlight: 4)
    rig.connect()
    try rig.exchange()
    try rig.toServer()
    #expect(rig.server.payloads.count == 4)
    try rig.toServer()
    #expect(rig.server.payloads.count == 4)
    rig.toClient()
    try rig.toServer()
    #expect(rig.server.payloads.count == 8)
  }

  @Test("no frame is sent that credit does not cover whole, and more credit lets it go on")
  func credit() throws {
    var rig = Rig()
    let record = WireDataBuilder.recordBytes(partBytes: 32 + 8 + 64)
    rig.server.credit = WireCredit(bytes: UInt64(32 + 2 * record), records: 3)
    rig.connect()
    try rig.exchange(3)
    #expect(rig.server.payloads.count == 2)
    rig.server.say { $0.credit(WireCredit(bytes: 1 << 20, records: 3), to: &$1) }
    rig.toClient()
    try rig.exchange()
    #expect(rig.server.payloads.count == 3)
    // A CREDIT that says less than an earlier one changes nothing.
    rig.server.say { $0.credit(WireCredit(bytes: 0, records: 100), to: &$1) }
    rig.toClient()
    try rig.exchange(2)
    #expect(rig.numbers == Array(1...10))
  }

  @Test("after a NACK for now everything from there on is sent again, in order, when the time has come")
  func full() throws {
    var rig = Rig()
    rig.server.room = 4
    rig.connect()
    try rig.exchange(3)
    #expect(rig.server.payloads.count == 4 && rig.tally.acknowledged == 4)
    #expect(rig.machine.wakeAt == rig.now + Limits.sendRetryNanoseconds.lowerBound)
    rig.server.room = .max
    try rig.exchange()
    #expect(rig.server.payloads.count == 4)
    rig.now = rig.machine.wakeAt
    try rig.exchange(3)
    #expect(rig.numbers == Array(1...10) && rig.machine.condition == .done)
    #expect(rig.tally.retried == 6)
  }

  @Test("without retries the refused records are counted, and the next one takes their number")
  func noRetries() throws {
    var rig = Rig(producer: "", inFlight: 5, retries: false)
    rig.server.room = 2
    rig.connect()
    try rig.exchange(3)
    #expect(rig.tally.abandoned == 3 && rig.tally.acknowledged == 2)
    rig.server.room = .max
    rig.now = rig.machine.wakeAt
    try rig.exchange(3)
    #expect(rig.numbers == [1, 2, 6, 7, 8, 9, 10] && rig.machine.condition == .done)
  }

  @Test("records that are refused for good are told with their place, and the others are acknowledged")
  func refusedForGood() throws {
    var rig = Rig()
    rig.server.refuses = [3, 10]
    rig.connect()
    try rig.exchange(4)
    #expect(rig.tally.refusals.map(\.place) == [3, 10] && rig.tally.acknowledged == 8)
    #expect(rig.machine.condition == .done)
  }

  @Test("a record that is too large for the stream is not sent and takes no number")
  func tooLarge() throws {
    var rig = Rig(records: 2, size: 4096)
    rig.server.welcome.maxPart = 4096
    rig.connect()
    try rig.exchange(3)
    #expect(rig.tally.refused == 2 && rig.server.payloads.isEmpty && rig.machine.condition == .done)
  }

  @Test("a run under a name that the server knows passes over what it has")
  func resumesAnEarlierRun() throws {
    var rig = Rig()
    rig.server.lastSequence = 7
    rig.connect()
    try rig.exchange(4)
    #expect(rig.numbers == [8, 9, 10] && rig.tally.skipped == 7 && rig.tally.acknowledged == 3)
  }

  @Test("a name under which the server has more than there is belongs to other data")
  func otherData() throws {
    var rig = Rig()
    rig.server.lastSequence = 11
    rig.connect()
    try rig.exchange(2)
    #expect(rig.status == ExitStatus.dataError && rig.server.payloads.isEmpty)
  }

  @Test("a server that lost what it had acknowledged gets the rest, numbered from where it is")
  func serverLost() throws {
    var rig = Rig(inFlight: 4)
    rig.connect()
    try rig.exchange(2)
    try rig.toServer()
    rig.disconnect()
    rig.server.lastSequence = 2
    rig.connect()
    try rig.exchange(5)
    #expect(rig.numbers == [1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8, 9, 10])
    #expect(rig.server.lastSequence == 8 && rig.machine.condition == .done)
  }

  @Test("a server with another log gets all that is left, whatever its numbers seem to say")
  func anotherLog() throws {
    var rig = Rig(inFlight: 4)
    rig.connect()
    try rig.exchange(2)
    try rig.toServer()
    rig.disconnect()
    rig.server.welcome.logUUID = LogUUID(high: 3, low: 4)
    rig.server.lastSequence = 6
    rig.connect()
    try rig.exchange(5)
    #expect(rig.numbers == [1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8, 9, 10])
    #expect(rig.server.lastSequence == 12 && rig.server.epoch == 1 && rig.machine.condition == .done)
  }

  @Test("a held record that a server takes no more is refused, and what follows moves up", arguments: ["p", ""])
  func shrunk(producer: String) throws {
    let big = String(repeating: "x", count: 8_000)
    let lines = ["one", big, "three", big, "five"]
    for (maxFrame, maxPart) in [(1 << 20, 1 << 12), (1 << 12, 1 << 16)] as [(UInt32, UInt32)] {
      var rig = Rig(producer: producer)
      var chunk = LineChunk()
      for line in lines { Array(line.utf8).withUnsafeBytes { chunk.append($0) } }
      let queue = LineQueue(ReadAhead())
      queue.push(chunk)
      queue.end()
      rig.supply = RecordSupply(.lines(LineFeed(queue)), SendSchedule(start: 0), connection: 0, of: 1)
      rig.connect()
      try rig.exchange()
      try rig.toServer()
      #expect(rig.server.payloads == lines)
      // Nothing of it became durable.
      rig.disconnect()
      rig.server.lastSequence = 0
      rig.server.welcome.maxFrame = maxFrame
      rig.server.welcome.maxPart = maxPart
      rig.connect()
      try rig.exchange(4)
      #expect(rig.server.payloads.dropFirst(lines.count) == ["one", "three", "five"])
      #expect(rig.tally.refusals.map(\.place) == [2, 4] && rig.tally.refusals.allSatisfy { $0.code == "too_large" })
      #expect(rig.tally.acknowledged == 3 && rig.tally.pending == 0 && rig.machine.condition == .done)
    }
  }

  @Test("a client that was overtaken raises its epoch and goes on behind what the server has")
  func clientLost() throws {
    var rig = Rig(inFlight: 4)
    rig.connect()
    try rig.exchange(2)
    rig.disconnect()
    rig.server.lastSequence = 100
    rig.connect()
    try rig.exchange()
    #expect(rig.machine.condition == .broken(reconnectAfter: 0))
    rig.disconnect()
    rig.connect()
    try rig.exchange(5)
    #expect(rig.server.epoch == 2 && rig.server.lastSequence == 106 && rig.machine.condition == .done)
  }

  @Test("a higher epoch is taken over at the beginning, and ends the run later")
  func fenced() throws {
    var rig = Rig(inFlight: 4)
    rig.connect()
    try rig.exchange(2)
    rig.server.say { $0.end(.error, WireEnd(.fenced, value: 3), to: &$1) }
    rig.toClient()
    #expect(rig.status == ExitStatus.temporary)

    var fresh = Rig()
    fresh.server.connect()
    fresh.connect()
    fresh.server.say { $0.end(.error, WireEnd(.fenced, value: 3), to: &$1) }
    fresh.toClient()
    fresh.disconnect()
    fresh.connect()
    try fresh.exchange(4)
    #expect(fresh.server.epoch == 3 && fresh.machine.condition == .done)
  }

  @Test("a server that goes away is left alone until its time, and then finds the rest")
  func goaway() throws {
    var rig = Rig(inFlight: 4)
    rig.connect()
    try rig.exchange(2)
    rig.server.say { $0.end(.goaway, WireEnd(.draining, retryAfterMilliseconds: 250), to: &$1) }
    rig.toClient()
    try rig.exchange()
    #expect(rig.server.payloads.count == 4)
    rig.server.say { $0.end(.bye, WireEnd(), to: &$1) }
    rig.toClient()
    #expect(rig.machine.condition == .broken(reconnectAfter: 250_000_000))
    rig.disconnect()
    rig.connect()
    try rig.exchange(5)
    #expect(rig.numbers == Array(1...10) && rig.machine.condition == .done)
  }

  @Test("no server, and nobody who says a word in its place, keeps a client waiting for more than some minutes")
  func mostWait() throws {
    let (most, end) = (Limits.sendMostWaitNanoseconds, WireEnd(.busy, retryAfterMilliseconds: .max))
    for isWelcome in [false, true] {
      var rig = Rig()
      rig.connect()
      if isWelcome { try rig.exchange() }
      rig.server.say { $0.end(isWelcome ? .goaway : .error, end, to: &$1) }
      if isWelcome { rig.server.say { $0.end(.bye, WireEnd(), to: &$1) } }
      rig.toClient()
      #expect(rig.machine.condition == .broken(reconnectAfter: most))
    }
    var full = Rig()
    full.connect()
    try full.exchange()
    let nack = WireNack(.fullDisk, sequence: 1, expected: 1, retryAfterMilliseconds: .max, text: "")
    full.server.say { $0.nack(nack, channel: 0, to: &$1) }
    full.toClient()
    #expect(full.machine.resumeAt == full.now + most)
  }

  @Test("PING is answered, and sent when nothing else was for a third of the idle timeout")
  func keepsAlive() throws {
    var rig = Rig(records: 0)
    rig.server.welcome.idleTimeoutMilliseconds = 3000
    rig.connect()
    try rig.exchange()
    rig.supply = RecordSupply(
      .lines(LineFeed(LineQueue(ReadAhead()))), SendSchedule(start: 0), connection: 0, of: 1)
    try rig.exchange()
    #expect(rig.machine.wakeAt == rig.now + 1_000_000_000)
    rig.now = rig.machine.wakeAt
    try rig.exchange()
    #expect(rig.server.frames == [.hello, .ping] && rig.machine.condition == .open)
    rig.now += 3_000_000_000
    try rig.toServer()
    #expect(rig.machine.condition == .broken(reconnectAfter: 0))
  }

  @Test("a server that does not answer the hello is given up on, and one that speaks something else is told of")
  func noServer() throws {
    var rig = Rig()
    rig.connect()
    rig.now = rig.machine.wakeAt
    try rig.toServer()
    #expect(rig.machine.condition == .broken(reconnectAfter: 0))
    rig.disconnect()
    rig.connect()
    rig.machine.received(ByteBuffer(string: "HTTP/1.1 400 Bad Request\r\n\r\n"), at: rig.now, &rig.tally)
    #expect(rig.status == ExitStatus.protocolError)
  }

  @Test("no bytes from a server make the client crash")
  func fuzz() throws {
    var random = SeededGenerator(seed: .random(in: 0...(.max)))
    for _ in 0..<500 {
      var rig = Rig()
      rig.connect()
      try rig.exchange(Int.random(in: 0...2, using: &random))
      guard rig.machine.condition == .open || rig.machine.condition == .connecting else { continue }
      let word = random.next() >> UInt64.random(in: 0...63, using: &random)
      switch Int.random(in: 0..<6, using: &random) {
      case 0: rig.server.say { $0.ack(word, channel: 0, to: &$1) }
      case 1: rig.server.say { $0.nack(WireNack(.gap, sequence: word, expected: word), channel: 0, to: &$1) }
      case 2: rig.server.say { $0.nack(WireNack(.malformed, sequence: word, expected: 0), channel: 0, to: &$1) }
      case 3: rig.server.say { $0.credit(WireCredit(bytes: word, records: word), to: &$1) }
      case 4:
        rig.server.welcome.lastSequence = word
        let welcome = rig.server.welcome
        rig.server.say { $0.welcome(welcome, to: &$1) }
      default:
        rig.machine.received(ByteBuffer(bytes: random.bytes(upTo: 200)), at: rig.now, &rig.tally)
      }
      rig.toClient()
      try rig.toServer()
    }
  }

  @Test("whenever the connection breaks, the stream is full or credit runs out, each record is stored once, in order")
  func exactlyOnce() throws {
    for _ in 0..<200 {
      var random = SeededGenerator(seed: .random(in: 0...(.max)))
      var rig = Rig(
        records: UInt64.random(in: 0...60, using: &random), inFlight: Int.random(in: 1...30, using: &random))
      rig.connect()
      var rounds = 0
      while rig.machine.condition != .done, rounds < 10_000 {
        rounds += 1
        rig.now += Int64.random(in: 0...20_000_000, using: &random)
        rig.server.room = Int.random(in: 0...20, using: &random)
        try rig.toServer()
        // What the server says arrives in pieces, or not at all.
        var bytes = rig.server.takeOutput()
        while let piece = bytes.readSlice(length: min(bytes.readableBytes, Int.random(in: 1...100, using: &random))),
          piece.readableBytes > 0, Int.random(in: 0..<50, using: &random) > 0
        {
          rig.machine.received(piece, at: rig.now, &rig.tally)
        }
        let isBroken = bytes.readableBytes > 0 || Int.random(in: 0..<20, using: &random) == 0
        guard isBroken || rig.machine.condition != .open, rig.machine.condition != .done else { continue }
        if rig.machine.condition == .connecting, !isBroken { continue }
        #expect(rig.status == nil, "seed \(random.seed)")
        rig.disconnect()
        if rig.machine.condition == .done { break }
        rig.server.credit = WireCredit(bytes: UInt64.random(in: 200...4000, using: &random), records: 7)
        rig.connect()
      }
      #expect(rig.machine.condition == .done, "seed \(random.seed)")
      #expect(rig.numbers == Array(0..<rig.numbers.count).map { $0 + 1 }, "seed \(random.seed)")
      #expect(rig.tally.made == UInt64(rig.numbers.count), "seed \(random.seed)")
      #expect(rig.tally.acknowledged == rig.tally.made && rig.tally.pending == 0, "seed \(random.seed)")
    }
  }
}
