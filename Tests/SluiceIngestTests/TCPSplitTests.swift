import NIOCore
import NIOEmbedded
import SluiceCore
import TestSupport
import Testing

@testable import SluiceIngest

/// Random sessions, cut anywhere, against a model that knows nothing of frames, ticks or commits.
@Suite("Framed sessions at random")
struct TCPSplitTests {
  /// A record as the client sends it.
  enum Sent { case good, badChecksum, malformed, tooLarge }

  /// Rows R1 to R7 over whole sessions.
  struct Model {
    struct Channel {
      var next: UInt64 = 1
      var isDiscarding = false
    }
    struct Nack: Equatable {
      var channel: UInt16
      var sequence: UInt64
      var code: UInt16
    }
    var channels: [UInt16: Channel] = [:]
    var stored: [UInt16: [UInt64]] = [:]
    var nacks: [Nack] = []

    mutating func receive(_ sent: Sent, _ sequence: UInt64, on number: UInt16) {
      var channel = channels[number] ?? Channel()
      defer { channels[number] = channel }
      if sequence < channel.next { return }
      if sequence > channel.next {
        if !channel.isDiscarding { nack(.gap, sequence, number) }
        channel.isDiscarding = true
        return
      }
      switch sent {
      case .good:
        stored[number, default: []].append(sequence)
        channel.next += 1
        channel.isDiscarding = false
      case .badChecksum:
        nack(.checksum, sequence, number)
        channel.isDiscarding = true
      case .malformed, .tooLarge:
        nack(sent == .malformed ? .malformed : .tooLarge, sequence, number)
        channel.next += 1
        channel.isDiscarding = false
      }
    }

    private mutating func nack(_ code: WireNackCode, _ sequence: UInt64, _ channel: UInt16) {
      nacks.append(Nack(channel: channel, sequence: sequence, code: code.rawValue))
    }
  }

  static let maxRecord = 512

  /// A whole session as the client sends it, and what the model makes of it.
  struct Session {
    struct Record {
      var sent: Sent
      var sequence: UInt64
      var channel: UInt16
      /// Where its producer part stands, whose damage is one record's.
      var part: Range<Int>
    }
    var bytes = ByteBuffer()
    var channels: UInt16 = 1
    var records: [Record] = []

    var model: Model {
      var model = Model()
      for record in records { model.receive(record.sent, record.sequence, on: record.channel) }
      return model
    }
  }

  static func session(_ random: inout SeededGenerator) -> Session {
    var session = Session()
    var sender = WireSender(.toServer)
    var buffer = ByteBuffer()
    var model = Model()
    sender.hello(WireHello(producer: "p0", epoch: 1), to: &buffer)
    let channels = UInt16.random(in: 1...3, using: &random)
    for channel in 1..<channels {
      sender.open(WireOpen(producer: "p\(channel)", epoch: 1), channel: channel, to: &buffer)
    }
    for _ in 0..<Int.random(in: 1...30, using: &random) {
      if Int.random(in: 0..<8, using: &random) == 0 { sender.ping(random.next(), to: &buffer) }
      let channel = UInt16.random(in: 0..<channels, using: &random)
      let next = model.channels[channel]?.next ?? 1
      // Mostly where it should be; sometimes a while back, sometimes ahead.
      let back = UInt64.random(in: 0...4, using: &random)
      let first =
        switch Int.random(in: 0..<5, using: &random) {
        case 0: next > back ? next - back : 1
        case 1: next + back
        default: next
        }
      var data = sender.beginData(channel: channel, firstSequence: first, in: &buffer)
      for sequence in first..<first + UInt64.random(in: 1...6, using: &random) {
        let sent = Self.sent(&random)
        let start = buffer.writerIndex + WireLayout.recordPrefixBytes
        append(sent, sequence, &random, &data, &buffer)
        session.records.append(
          .init(sent: sent, sequence: sequence, channel: channel, part: start..<buffer.writerIndex))
        model.receive(sent, sequence, on: channel)
      }
      sender.finishData(data, in: &buffer)
    }
    session.bytes = buffer
    session.channels = channels
    return session
  }

  static func sent(_ random: inout SeededGenerator) -> Sent {
    switch Int.random(in: 0..<24, using: &random) {
    case 0: .badChecksum
    case 1: .malformed
    case 2: .tooLarge
    default: .good
    }
  }

  static func append(
    _ sent: Sent, _ sequence: UInt64, _ random: inout SeededGenerator, _ data: inout WireDataBuilder,
    _ buffer: inout ByteBuffer
  ) {
    let length = sent == .tooLarge ? Self.maxRecord : Int.random(in: 0...100, using: &random)
    var part = producerPart(String(repeating: "x", count: length), sequence: sequence)
    if sent == .malformed { part[30] = 1 }
    part.withUnsafeBytes {
      let crc = CRC32C.of($0)
      data.append(part: $0, crc: sent == .badChecksum ? ~crc : crc, to: &buffer)
    }
  }

  @Test("the model and the server agree, however the bytes are cut", arguments: 1...60 as ClosedRange<UInt64>)
  func agreement(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let session = Self.session(&random)
    let harness = TCPHarness(Bool.random(using: &random) ? .fsync : .memory, maxRecordBytes: Self.maxRecord)
    let connection = try harness.connect()
    let mostBytes = [1, 40, 400, 100_000][Int.random(in: 0..<4, using: &random)]
    var left = session.bytes
    while left.readableBytes > 0 {
      let count = min(Int.random(in: 1...mostBytes, using: &random), left.readableBytes)
      let slice = left.readSlice(length: count)
      let part = try #require(slice)
      if Bool.random(using: &random) { try connection.receive(part) } else { connection.push(part) }
      if Int.random(in: 0..<4, using: &random) == 0 { harness.commit() }
    }
    harness.eventLoop.run()
    harness.commit()
    harness.commit()
    try check(connection.received(), harness, session.model, session.channels, seed)
  }

  private func checkStored(_ harness: TCPHarness, _ model: Model, _ channels: UInt16, _ seed: UInt64) throws {
    for channel in 0..<channels {
      let producer = try #require(harness.stream.producer(named: "p\(channel)"))
      let stored = harness.stream.records.filter { $0.producer == producer.id }
      #expect(stored.filter { !$0.isConsumed }.map(\.sequence) == model.stored[channel] ?? [], "seed \(seed)")
      let next = model.channels[channel]?.next ?? 1
      #expect(stored.map(\.sequence) == Array(1..<next), "seed \(seed): no number is missing from the log")
    }
  }

  private func check(
    _ seen: [WireSeen], _ harness: TCPHarness, _ model: Model, _ channels: UInt16, _ seed: UInt64
  ) throws {
    try checkStored(harness, model, channels, seed)
    for channel in 0..<channels {
      let next = model.channels[channel]?.next ?? 1
      var acknowledged: UInt64 = 0
      var permanent: UInt64 = 0
      for frame in seen {
        switch frame {
        case .ack(channel, let sequence):
          #expect(sequence >= acknowledged, "seed \(seed): acks rise")
          acknowledged = sequence
        case .nack(channel, let nack) where nack.isPermanent:
          #expect(nack.sequence > permanent && nack.sequence > acknowledged, "seed \(seed): told before its ACK")
          permanent = nack.sequence
        default: break
        }
      }
      #expect(acknowledged == next - 1, "seed \(seed): everything is answered")
      // Transient ones are told at once, permanent ones when they are durable: each kind in its order.
      for isPermanent in [false, true] {
        let told = seen.compactMap { frame -> Model.Nack? in
          guard case .nack(channel, let nack) = frame, nack.isPermanent == isPermanent else { return nil }
          return Model.Nack(channel: channel, sequence: nack.sequence, code: nack.code)
        }
        let expected = model.nacks.filter { $0.channel == channel && ($0.code >= 128) == isPermanent }
        #expect(told == expected, "seed \(seed)")
      }
    }
  }

  /// Damage of a record's own bytes is that record's; any other ends the connection before a record of its frame is taken.
  @Test(
    "damage ends the connection, or refuses one record, and changes nothing before it or elsewhere",
    arguments: 1...60 as ClosedRange<UInt64>)
  func damage(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var session = Self.session(&random)
    let bytes = Array(session.bytes.readableBytesView)
    var damaged = bytes
    for _ in 0..<Int.random(in: 1...3, using: &random) {
      damaged[Int.random(in: 0..<damaged.count, using: &random)] ^= UInt8.random(in: 1...255, using: &random)
    }
    let places = bytes.indices.filter { bytes[$0] != damaged[$0] }
    let structural = places.first { place in !session.records.contains { $0.part.contains(place) } }
    let end = structural.map { Self.frameStart(of: $0, in: bytes) } ?? bytes.count
    session.records.removeAll { $0.part.lowerBound >= end }
    for index in session.records.indices where places.contains(where: { session.records[index].part.contains($0) }) {
      if session.records[index].sent != .tooLarge { session.records[index].sent = .badChecksum }
    }

    let harness = TCPHarness(maxRecordBytes: Self.maxRecord)
    let connection = try harness.connect()
    try connection.receive(ByteBuffer(bytes: damaged))
    harness.commit()
    harness.commit()
    let seen = try connection.received()
    if structural == nil {
      #expect(seen.error == nil && connection.isOpen, "seed \(seed)")
      try check(seen, harness, session.model, session.channels, seed)
    } else {
      let code = try #require(seen.last?.errorCode, "seed \(seed): \(seen)")
      #expect([.integrity, .magic].contains(code), "seed \(seed)")
      try checkStored(harness, session.model, session.channels, seed)
      harness.advance(seconds: Int64(Limits.defaultLingerSeconds) + 2)
      #expect(!connection.isOpen, "seed \(seed)")
    }
    let other = try harness.open("unharmed")
    try other.data(["a"], first: 1)
    harness.commit()
    #expect(try other.answers() == [.ack(0, 1)], "seed \(seed)")
  }

  /// Where the frame begins that the byte at `place` is of.
  private static func frameStart(of place: Int, in bytes: [UInt8]) -> Int {
    var start = 0
    while true {
      let length = bytes.withUnsafeBytes { Int($0.loadUnaligned(fromByteOffset: start, as: UInt32.self).littleEndian) }
      guard place >= start + length else { return start }
      start += length
    }
  }
}
