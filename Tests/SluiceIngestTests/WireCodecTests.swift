import NIOCore
import SluiceCore
import SluiceIdentity
import TestSupport
import Testing

@testable import SluiceIngest

/// The golden sessions through the codec, both ways, and random bytes through its receiver.
@Suite("Wire codec")
struct WireCodecTests {
  /// The frames of a session that has no tags, one side after the other.
  static func frames(_ session: String, _ side: String) throws -> [[UInt8]] {
    try Golden.names("wire").filter { $0.hasPrefix("\(session)-") && $0.contains("-\(side)-") }
      .map { try Golden.bytes("wire/" + $0) }
  }

  static let sides: [(String, String, WireDirection)] = [
    ("plain", "client", .toServer), ("plain", "server", .toClient), ("refused", "client", .toServer),
    ("refused", "server", .toClient),
  ]

  @Test(arguments: sides)
  func whatIsDecodedIsEncodedToTheSameBytes(_ session: String, _ side: String, _ direction: WireDirection) throws {
    var receiver = WireReceiver(from: direction, maxFrame: 1 << 21)
    var sender = WireSender(direction)
    for bytes in try Self.frames(session, side) {
      var buffer = ByteBuffer()
      try bytes.withUnsafeBytes { raw in
        guard case .frame(let frame) = receiver.next(raw) else {
          Issue.record("no frame: \(receiver.next(raw))")
          return
        }
        #expect(frame.length == bytes.count)
        try Self.copy(frame, sender: &sender, to: &buffer)
      }
      #expect(Array(buffer.readableBytesView) == bytes)
    }
    #expect(sender.counter == receiver.counter)
  }

  /// The session with challenge–response: its frames have tags from WELCOME on, under a key that both sides work out.
  @Test(arguments: [("client", WireDirection.toServer), ("server", .toClient)])
  func sealedFramesAreDecodedAndEncodedToTheSameBytes(_ side: String, _ direction: WireDirection) throws {
    let secret = try #require(IdentitySecret(Array(0..<32)))
    let client = try Self.frames("auth", "client")
    let transcript = HandshakeTranscript(hello: client[0], challenge: try Self.frames("auth", "server")[0])
    let sealer = transcript.keys(for: secret, proofFrame: client[1]).sealer
    var receiver = WireReceiver(from: direction, maxFrame: 1 << 21)
    var sender = WireSender(direction)
    for (place, bytes) in try Self.frames("auth", side).enumerated() {
      if place == (side == "client" ? 2 : 1) {
        receiver.expectTags(of: sealer)
        sender.seal(with: sealer)
      }
      var buffer = ByteBuffer()
      try bytes.withUnsafeBytes { raw in
        guard case .frame(let frame) = receiver.next(raw) else {
          Issue.record("no frame: \(receiver.next(raw))")
          return
        }
        try Self.copy(frame, sender: &sender, to: &buffer)
      }
      #expect(Array(buffer.readableBytesView) == bytes)
    }
  }

  /// Decodes a frame and writes what was found.
  static func copy(_ frame: WireFrame, sender: inout WireSender, to buffer: inout ByteBuffer) throws {
    let channel = frame.channel
    switch try #require(frame.type) {
    case .hello: sender.hello(try WireHello(frame.body), to: &buffer)
    case .welcome: sender.welcome(try WireWelcome(frame.body), to: &buffer)
    case .open: sender.open(try WireOpen(frame.body), channel: channel, to: &buffer)
    case .opened: sender.opened(try WireOpened(frame.body), channel: channel, to: &buffer)
    case .close: sender.close(channel: channel, to: &buffer)
    case .data:
      var records = try frame.records()
      var data = sender.beginData(channel: channel, firstSequence: records.sequence, in: &buffer)
      while let (part, crc) = records.peek(in: frame.body) {
        data.append(part: part, crc: crc, to: &buffer)
        records.advance(past: part)
      }
      sender.finishData(data, in: &buffer)
    case .ack: sender.ack(try frame.word(), channel: channel, to: &buffer)
    case .nack: sender.nack(try WireNack(frame.body), channel: channel, to: &buffer)
    case .credit: sender.credit(try WireCredit(frame.body), to: &buffer)
    case .ping: sender.ping(try frame.word(), to: &buffer)
    case .pong: sender.pong(try frame.word(), to: &buffer)
    case .goaway, .bye, .error:
      sender.end(try #require(frame.type), try WireEnd(frame.body), channel: channel, to: &buffer)
    case .challenge: sender.challenge(try WireProof(frame.body), to: &buffer)
    case .proof: sender.proof(try WireProof(frame.body), to: &buffer)
    }
  }

  @Test func theFieldsOfTheGoldenSessionAreWhatThePageSays() throws {
    let server = try Self.frames("plain", "server")
    try server[0].withUnsafeBytes { raw in
      let welcome = try WireWelcome(UnsafeRawBufferPointer(rebasing: raw[24...]))
      #expect(welcome.durability == .fsync && welcome.lastSequence == 40 && welcome.stream == "events")
      #expect(welcome.logUUID.description == "00112233-4455-4677-8899-aabbccddeeff")
      #expect(welcome.maxChannels == 256 && welcome.maxPart == (1 << 20) - 24)
      #expect(welcome.credit == WireCredit(bytes: 4 << 20, records: 10_000))
    }
    try server[2].withUnsafeBytes { raw in
      let nack = try WireNack(UnsafeRawBufferPointer(rebasing: raw[24...]))
      #expect(nack == WireNack(.gap, sequence: 44, expected: 43, text: "expected 43"))
    }
  }

  @Test func aFrameThatIsRepeatedOrReflectedFailsItsChecksum() throws {
    let frames = try Self.frames("plain", "client")
    var receiver = WireReceiver(from: .toServer, maxFrame: 1 << 21)
    frames[0].withUnsafeBytes { raw in
      _ = receiver.next(raw)
      guard case .fault(let fault) = receiver.next(raw) else {
        Issue.record("the same frame was taken twice")
        return
      }
      #expect(fault.code == .integrity)
    }
    var other = WireReceiver(from: .toClient, maxFrame: 1 << 21)
    frames[0].withUnsafeBytes { raw in
      guard case .fault = other.next(raw) else {
        Issue.record("a frame of the other direction was taken")
        return
      }
    }
  }

  @Test func aFrameIsAskedForInStepsWhateverPartOfItIsThere() throws {
    let bytes = try Self.frames("plain", "client")[1]
    for count in 0..<bytes.count {
      var receiver = WireReceiver(from: .toServer, maxFrame: 1 << 21)
      _ = try Self.frames("plain", "client")[0].withUnsafeBytes { receiver.next($0) }
      bytes[..<count].withUnsafeBytes { raw in
        guard case .needMore(let total) = receiver.next(raw) else {
          Issue.record("\(count) bytes of \(bytes.count) were taken for a frame")
          return
        }
        #expect(total == (count < 24 ? 24 : bytes.count))
      }
    }
  }

  @Test("every record that was encoded is found again", arguments: [1, 2, 3] as [UInt64])
  func dataGoesThrough(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    for _ in 0..<50 {
      var sender = WireSender(.toServer)
      var receiver = WireReceiver(from: .toServer, maxFrame: 1 << 21)
      var buffer = ByteBuffer()
      let first = UInt64.random(in: 1...1 << 40, using: &random)
      var data = sender.beginData(channel: 7, firstSequence: first, in: &buffer)
      let payloads = (0..<Int.random(in: 1...20, using: &random)).map { _ in random.bytes(upTo: 300) }
      for (index, payload) in payloads.enumerated() {
        payload.withUnsafeBytes {
          data.append(RecordFields(eventTime: 5, sequence: first + UInt64(index), payload: $0), to: &buffer)
        }
      }
      #expect(data.bytes == buffer.readableBytes)
      sender.finishData(data, in: &buffer)
      try buffer.withUnsafeReadableBytes { raw in
        guard case .frame(let frame) = receiver.next(raw) else {
          Issue.record("seed \(seed): no frame")
          return
        }
        #expect(frame.channel == 7 && frame.length == raw.count)
        var records = try frame.records()
        for (index, payload) in payloads.enumerated() {
          let (part, crc) = try #require(records.peek(in: frame.body))
          #expect(records.sequence == first + UInt64(index) && records.left == payloads.count - index)
          try RecordView.validateProducerPart(part)
          #expect(CRC32C.of(part) == crc)
          #expect(Array(part[32..<32 + payload.count]) == payload)
          records.advance(past: part)
        }
        #expect(records.peek(in: frame.body) == nil)
      }
    }
  }

  @Test("damaged frames are refused without reading past them", arguments: [1, 2, 3] as [UInt64])
  func damage(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let sides = Self.sides.filter { $0.0 == "plain" }
    let all = try sides.map { try Self.frames($0.0, $0.1) }
    for _ in 0..<4000 {
      let side = Int.random(in: 0..<sides.count, using: &random)
      let frames = all[side]
      let index = Int.random(in: 0..<frames.count, using: &random)
      var receiver = WireReceiver(from: sides[side].2, maxFrame: 1 << 21)
      for frame in frames[..<index] { _ = frame.withUnsafeBytes { receiver.next($0) } }
      // A buffer of exactly its length, so that reading past it is found.
      let golden = frames[index]
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: golden.count, alignment: 1)
      defer { buffer.deallocate() }
      buffer.copyBytes(from: golden)
      let at = Int.random(in: 0..<golden.count, using: &random)
      buffer[at] ^= UInt8.random(in: 1...255, using: &random)
      let isInPart = golden[4] == WireFrameType.data.rawValue && at >= WireLayout.headerBytes
      switch receiver.next(UnsafeRawBufferPointer(buffer)) {
      case .fault: break
      case .needMore(let total): Issue.record("seed \(seed): \(total) bytes asked for after damage at \(at)")
      case .frame: #expect(isInPart, "seed \(seed): damage at \(at) of frame \(index) went unseen")
      }
    }
  }

  @Test("bodies with right checksums and random contents are decoded or refused", arguments: [1, 2, 3] as [UInt64])
  func contents(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let all = try Self.frames("plain", "client") + Self.frames("plain", "server")
    for _ in 0..<4000 {
      let golden = all[Int.random(in: 0..<all.count, using: &random)]
      let count = RecordLayout.padded(Int.random(in: 0...golden.count - 24, using: &random))
      let body = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
      defer { body.deallocate() }
      body.copyBytes(from: golden[24..<24 + count])
      for _ in 0..<Int.random(in: 0...4, using: &random) where count > 0 {
        body[Int.random(in: 0..<min(count, 48), using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      let frame = WireFrame(
        type: WireFrameType(rawValue: golden[4]), channel: 0, count: 0, length: 24 + count,
        body: UnsafeRawBufferPointer(body))
      var sender = WireSender(.toServer)
      var buffer = ByteBuffer()
      do {
        try Self.copy(frame, sender: &sender, to: &buffer)
      } catch is WireFault {
        continue
      }
    }
  }
}
