import NIOCore
import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

/// What a client of the framed protocol sees.
@Suite("Framed sessions")
struct TCPSessionTests {
  @Test func whatAConnectionIsPromisedIsOfTheTimeOfItsWelcome() throws {
    let harness = TCPHarness(maxRecordBytes: 1024)
    let before = try harness.open("press-1")
    harness.stream.maxRecordBytes = 4 << 20
    let after = try harness.open("press-2")
    let welcome = try #require(after.welcome)
    #expect(before.welcome?.maxPart == UInt32(1024 - Limits.serverPartBytes))
    #expect(welcome.maxPart == UInt32(4 << 20 - Limits.serverPartBytes))
    #expect(welcome.maxFrame >= welcome.maxPart + 72 && welcome.credit.bytes >= UInt64(welcome.maxFrame))
    let large = [String(repeating: "x", count: 2 << 20)]
    try after.data(large, first: 1)
    try before.data([String(repeating: "x", count: 2000)], first: 1)
    harness.commit()
    #expect(try after.answers() == [.ack(0, 1)])
    #expect(try before.answers().nacks.map(\.code) == [WireNackCode.tooLarge.rawValue])
    harness.stream.maxRecordBytes = 1024
    #expect(try harness.open("press-3").welcome?.maxPart == before.welcome?.maxPart)
    try after.data(large, first: 2)
    harness.commit()
    #expect(try after.answers().nacks.map(\.code) == [WireNackCode.tooLarge.rawValue], "whatever it was promised")
  }

  @Test func theGoldenSessionIsAnsweredAsThePageShowsIt() throws {
    let harness = TCPHarness()
    let producer = try #require(harness.stream.producer(named: "press-7"))
    producer.advance(to: 40, epoch: 1)
    let connection = try harness.connect()
    for frame in try WireCodecTests.frames("plain", "client") {
      try connection.receive(ByteBuffer(bytes: frame))
      harness.commit()
    }
    var expected: [WireSeen] = []
    var receiver = WireReceiver(from: .toClient, maxFrame: 1 << 16)
    for frame in try WireCodecTests.frames("plain", "server") {
      try frame.withUnsafeBytes { bytes in
        if case .frame(let frame) = receiver.next(bytes) { expected.append(try WireSeen(frame)) }
      }
    }
    let seen = try connection.received()
    guard case .welcome(let welcome) = seen.first else {
      Issue.record("no WELCOME but \(seen)")
      return
    }
    #expect(welcome.lastSequence == 40 && welcome.stream == "events" && welcome.durability == .fsync)
    let isAnswer: (WireSeen) -> Bool = {
      switch $0 {
      case .welcome, .credit: false
      default: true
      }
    }
    #expect(seen.filter(isAnswer) == expected.filter(isAnswer))
    #expect(harness.stream.records.map(\.text) == ["open", "closed", "jam", "open", "oiled"])
    #expect(harness.stream.records.map(\.sequence) == [41, 42, 43, 44, 1])
    #expect(harness.stream.records.map(\.epoch) == [1, 1, 1, 1, 3])
  }

  @Test func anAckComesWhenTheRecordsAreDurableAndOnePerCommit() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    try connection.data(["a", "b"], first: 1)
    try connection.data(["c"], first: 3)
    #expect(try connection.answers() == [])
    #expect(harness.stream.submits == 2)
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 3)])
    #expect(harness.stream.records.map(\.text) == ["a", "b", "c"])
  }

  @Test func aStreamInMemoryAcknowledgesAtTheEndOfTheTick() throws {
    let harness = TCPHarness(.memory)
    let connection = try harness.open()
    try connection.data(["a", "b"], first: 1)
    #expect(try connection.answers() == [.ack(0, 2)])
  }

  @Test func aDuplicateIsAcknowledgedWithTheOriginalAndAtOnceWhenThatIsDurable() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    try connection.data(["a", "b"], first: 1)
    try connection.data(["a", "b"], first: 1)
    #expect(try connection.answers() == [])
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 2)])
    try connection.data(["b"], first: 2)
    #expect(try connection.answers() == [.ack(0, 2)])
    #expect(harness.stream.records.map(\.text) == ["a", "b"])
    #expect(harness.counters.value(.duplicates) == 3)
  }

  @Test func aGapIsToldWithWhatIsExpectedAndWhatFollowsIsDroppedUntilItComes() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    try connection.data(["a"], first: 1)
    try connection.data(["c", "d"], first: 3)
    try connection.data(["e"], first: 5)
    #expect(try connection.answers() == [.nack(0, WireNack(.gap, sequence: 3, expected: 2, text: "expected 2"))])
    try connection.data(["b", "c", "d", "e"], first: 2)
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 5)])
    #expect(harness.stream.records.map(\.text) == ["a", "b", "c", "d", "e"])
    #expect(harness.counters.value(.gaps) == 1 && harness.counters.value(.discarded) == 2)
  }

  @Test func aWrongChecksumIsTransientAndTheRecordMayComeAgain() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    let part = producerPart("a", sequence: 1)
    try connection.part(part, crc: 1, first: 1)
    #expect(try connection.answers() == [.nack(0, WireNack(.checksum, sequence: 1, expected: 1, text: "checksum"))])
    try connection.part(part, first: 1)
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 1)])
  }

  @Test func whatIsTooLargeOrMalformedIsConsumedAndToldWhenThatIsDurable() throws {
    let harness = TCPHarness(maxRecordBytes: 1024)
    let connection = try harness.open()
    try connection.data(["a"], first: 1)
    try connection.data([String(repeating: "x", count: 2000)], first: 2)
    // Its sequence is not its place; then one with a reserved bit; then one that is no record at all.
    try connection.part(producerPart("c", sequence: 9), first: 3)
    var reserved = producerPart("d", sequence: 4)
    reserved[2] = 2
    try connection.part(reserved, first: 4)
    try connection.part([], first: 5)
    try connection.data(["f"], first: 6)
    #expect(try connection.answers() == [])
    harness.commit()
    let nacks = [(2, WireNackCode.tooLarge), (3, .malformed), (4, .malformed), (5, .malformed)].map {
      WireSeen.nack(
        0, WireNack($0.1, sequence: UInt64($0.0), expected: UInt64($0.0) + 1, text: $0.1.label))
    }
    #expect(try connection.answers() == nacks + [.ack(0, 6)])
    #expect(harness.stream.records.map(\.isConsumed) == [false, true, true, true, true, false])
    #expect(harness.stream.records.map(\.sequence) == [1, 2, 3, 4, 5, 6])
  }

  @Test func aFullStreamRefusesAndGivesNoCreditUntilItTakesRecordsAgain() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    harness.stream.setFull(.retention)
    try connection.data(["a", "b"], first: 1)
    let nack = WireNack(
      .fullRetention, sequence: 1, expected: 1, retryAfterMilliseconds: UInt32(Limits.tcpFullRetryMilliseconds),
      text: "full_retention")
    #expect(try connection.received() == [.nack(0, nack)])
    harness.eventLoop.advanceTime(by: .milliseconds(100))
    #expect(try connection.received() == [])
    harness.stream.setFull(nil)
    harness.eventLoop.advanceTime(by: .milliseconds(100))
    guard case .credit(let credit)? = try connection.received().first else {
      Issue.record("no credit")
      return
    }
    #expect(credit.records == (connection.welcome?.credit.records ?? 0) + 2)
    try connection.data(["a", "b"], first: 1)
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 2)])
  }

  @Test func aStreamThatBlocksLetsRecordsWaitAndReadsNoFurther() throws {
    let harness = TCPHarness { $0.blocksWhenFull = true }
    let connection = try harness.open()
    // Room for one record: the second waits in the middle of its frame.
    harness.stream.setRoom(64)
    try connection.data(["a", "b"], first: 1)
    try connection.data(["c"], first: 3)
    #expect(try connection.answers() == [])
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 1)])
    harness.stream.setRoom(.max)
    harness.eventLoop.advanceTime(by: .milliseconds(100))
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 3)])
    #expect(harness.stream.records.map(\.text) == ["a", "b", "c"])
    #expect(harness.counters.value(.blocked) > 0)
  }

  @Test func anAnonymousProducerCountsFromOneAndLeavesNoNumbers() throws {
    let harness = TCPHarness()
    let connection = try harness.open("")
    #expect(connection.welcome?.lastSequence == 0)
    try connection.data(["a", "b"], first: 1, isAnonymous: true)
    try connection.part([], first: 3)
    harness.commit()
    let nack = WireNack(.malformed, sequence: 3, expected: 4, text: "malformed")
    #expect(try connection.answers() == [.nack(0, nack), .ack(0, 3)])
    #expect(harness.stream.records.map(\.sequence) == [0, 0])
    #expect(harness.stream.records.map(\.producer) == [0, 0])
    let other = try harness.open("")
    #expect(other.welcome?.lastSequence == 0)
  }

  @Test func theSameEpochSupersedesAfterWhatWasUnderWayIsDurable() throws {
    let harness = TCPHarness()
    let old = try harness.open()
    try old.data(["a", "b"], first: 1)
    let new = try harness.connect()
    try new.send { $0.hello(WireHello(producer: "press-7", epoch: 1), to: &$1) }
    #expect(try new.received() == [])
    #expect(try old.answers().compactMap(\.errorCode) == [.superseded])
    harness.commit()
    guard case .welcome(let welcome)? = try new.received().first else {
      Issue.record("no WELCOME")
      return
    }
    #expect(welcome.lastSequence == 2)
    try new.data(["c"], first: 3)
    harness.commit()
    #expect(try new.answers() == [.ack(0, 3)])
  }

  @Test func aHigherEpochFencesAndALowerOneIsRefused() throws {
    let harness = TCPHarness()
    let old = try harness.open(epoch: 2)
    _ = try harness.open(epoch: 5)
    guard case .error(0, let end)? = try old.received().first else {
      Issue.record("no ERROR")
      return
    }
    #expect(end.code == WireErrorCode.fenced.rawValue && end.value == 5 && end.scope == .connection)
    let late = try harness.connect()
    try late.send { $0.hello(WireHello(producer: "press-7", epoch: 4), to: &$1) }
    guard case .error(0, let refusal)? = try late.received().first else {
      Issue.record("no ERROR")
      return
    }
    #expect(refusal.code == WireErrorCode.fenced.rawValue && refusal.value == 5)
  }

  @Test func aChannelThatIsTakenOverLeavesTheOthersOpen() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    try connection.send { $0.open(WireOpen(producer: "press-8", epoch: 1), channel: 3, to: &$1) }
    #expect(try connection.answers() == [.opened(3, WireOpened(epoch: 1, lastSequence: 0))])
    _ = try harness.open("press-8")
    guard case .error(3, let end)? = try connection.answers().first else {
      Issue.record("no ERROR")
      return
    }
    #expect(end.scope == .channel && end.code == WireErrorCode.superseded.rawValue)
    // What was under way for it is dropped; the other channel goes on.
    try connection.data(["lost"], first: 1, channel: 3)
    try connection.data(["a"], first: 1)
    harness.commit()
    #expect(try connection.answers() == [.ack(0, 1)])
    #expect(harness.stream.records.map(\.text) == ["a"])
  }

  @Test func anOpenThatCannotBeServedEndsOnlyItsChannel() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    try connection.send {
      $0.open(WireOpen(producer: "press-8", epoch: 0), channel: 1, to: &$1)
      $0.open(WireOpen(producer: "press-8", epoch: 1), channel: 999, to: &$1)
      $0.open(WireOpen(producer: "press-8", epoch: 1), channel: 0, to: &$1)
      $0.ping(5, to: &$1)
    }
    let codes: [UInt16] = try connection.answers().compactMap {
      if case .error(_, let end) = $0, end.scope == .channel { end.code } else { nil }
    }
    #expect(
      codes == [WireErrorCode.protocolViolation, .channel, .channel].map(\.rawValue))
    #expect(connection.isOpen)
  }

  @Test func aClosedChannelMayBeUsedAgain() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    for round in 1...3 as ClosedRange<UInt64> {
      try connection.send {
        $0.open(WireOpen(producer: "press-8", epoch: 1), channel: 1, to: &$1)
        TCPTestConnection.data(["x"], first: round, channel: 1, &$0, &$1)
        $0.close(channel: 1, to: &$1)
      }
      #expect(try connection.answers() == [.opened(1, WireOpened(epoch: 1, lastSequence: round - 1))])
      harness.commit()
      #expect(try connection.answers() == [.ack(1, round), .close(1)])
    }
  }

  @Test func moreThanTheCreditEndsTheConnection() throws {
    let harness = TCPHarness()
    let connection = try harness.open()
    let window = try #require(connection.welcome?.credit)
    #expect(window.bytes >= UInt64(connection.welcome?.maxFrame ?? .max))
    let payload = String(repeating: "x", count: 60_000)
    var sent: UInt64 = 0
    var sequence: UInt64 = 0
    while sent <= window.bytes {
      sequence += 1
      sent += 60_000
      try connection.data([payload], first: sequence)
    }
    #expect(try connection.answers().compactMap(\.errorCode) == [.credit])
  }

  @Test func creditReturnsWithTheAcks() throws {
    let harness = TCPHarness(.memory)
    let connection = try harness.open()
    let payload = String(repeating: "x", count: 60_000)
    var granted = try #require(connection.welcome?.credit)
    for sequence in 1...300 as ClosedRange<UInt64> {
      try connection.data([payload], first: sequence)
      for case .credit(let credit) in try connection.received() {
        #expect(credit.bytes >= granted.bytes && credit.records >= granted.records)
        granted = credit
      }
    }
    #expect(granted.bytes > 300 * 60_000)
    #expect(connection.isOpen)
  }
}

extension Producer {
  /// As if so many records had been stored before.
  func advance(to sequence: UInt64, epoch: UInt16) {
    _ = self.sequence(epoch: epoch) { $0.sequence = sequence }
  }
}
