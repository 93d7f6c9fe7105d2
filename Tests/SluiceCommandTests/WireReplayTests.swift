import NIOCore
import SluiceCore
import SluiceIdentity
import SluiceIngest
import Testing

@testable import sluice

/// A server that knows the secret, as far as a recording needs one. What it says is kept, as an eavesdropper would.
private struct ProvingServer {
  let secret: IdentitySecret
  private(set) var said: [ByteBuffer] = []
  private var sender = WireSender(.toClient)
  private var receiver = WireReceiver(from: .toServer, maxFrame: 1 << 20)

  init(secret: IdentitySecret) { self.secret = secret }

  var counter: UInt64 { sender.counter }

  mutating func say(_ frame: (inout WireSender, inout ByteBuffer) -> Void) -> ByteBuffer {
    var buffer = ByteBuffer()
    frame(&sender, &buffer)
    said.append(buffer)
    return buffer
  }

  mutating func challenge() -> ByteBuffer { say { $0.challenge(WireProof(Nonce.make()), to: &$1) } }

  /// WELCOME, signed and sealed.
  mutating func welcome(hello: [UInt8], proof: [UInt8], creditBytes: UInt64) -> ByteBuffer {
    let transcript = HandshakeTranscript(hello: hello, challenge: Array(said[0].readableBytesView))
    let keys = transcript.keys(for: secret, proofFrame: proof)
    var welcome = ModelServer().welcome
    welcome.integrity = WireIntegrity.hmacSHA256.rawValue
    welcome.credit = WireCredit(bytes: creditBytes, records: 1 << 20)
    welcome.serverSignature = keys.serverSignature
    sender.seal(with: keys.sealer)
    receiver = WireReceiver(from: .toServer, maxFrame: 1 << 20)
    for frame in [hello, proof] { _ = frame.withUnsafeBytes { receiver.next($0) } }
    receiver.expectTags(of: keys.sealer)
    return say { $0.welcome(welcome, to: &$1) }
  }
}

extension ProvingServer {
  /// The sequences of a DATA frame that is sealed as it should be.
  fileprivate mutating func sequences(of data: [UInt8]) throws -> [UInt64] {
    try data.withUnsafeBytes { bytes in
      guard case .frame(let frame) = receiver.next(bytes), frame.length == data.count else { return [] }
      var records = try frame.records()
      var sequences: [UInt64] = []
      while let (part, crc) = records.peek(in: frame.body) {
        if CRC32C.of(part) == crc { sequences.append(records.sequence) }
        records.advance(past: part)
      }
      return sequences
    }
  }
}

/// `sluice send` and what answers it, joined by hand.
private struct ReplayRig {
  private static let token = IdentityToken(identity: "press-7", keyID: "k1", secret: IdentitySecret())

  var machine: WireProducer
  var supply = RecordSupply(
    .generated(GeneratedRecords(run: "89abcdef", size: 64, count: 10)), SendSchedule(start: 0), connection: 0, of: 1)
  var tally = SendTally()
  var server = ProvingServer(secret: token.secret)

  init() {
    // Elsewhere than on this machine it proves itself.
    machine = WireProducer(
      .init(
        producer: "press-7", epoch: 1,
        credential: WireCredential(token: Self.token.text, fingerprint: "", host: "example.com"),
        topic: Array("web".utf8), software: "test/1", inFlight: 4, retries: true))
  }

  mutating func hear(_ bytes: ByteBuffer) { machine.received(bytes, at: 1, &tally) }

  /// What the client says now, frame by frame.
  mutating func heard() -> [[UInt8]] {
    machine.turn(at: 1)
    while machine.condition == .open, machine.send(from: &supply, at: 1, &tally) {}
    return machine.takeOutput().map { Array($0.readableBytesView) }
  }

  mutating func shakeHands(creditBytes: UInt64 = 1 << 20) throws {
    machine.connected(at: 1)
    let hello = try #require(heard().first)
    hear(server.challenge())
    let proof = try #require(heard().first)
    hear(server.welcome(hello: hello, proof: proof, creditBytes: creditBytes))
    #expect(machine.condition == .open)
  }

  static func type(_ frame: [UInt8]) -> WireFrameType? { WireFrameType(rawValue: frame[WireLayout.type]) }
}

@Suite("What an honest server said, said again by somebody else")
struct WireReplayTests {
  /// A captured frame as the server's frame `counter`: its checksum is made right, which takes no key.
  private func again(_ frame: ByteBuffer, as counter: UInt64) -> ByteBuffer {
    var bytes = Array(frame.readableBytesView)
    bytes.withUnsafeMutableBytes { bytes in
      let seed = withUnsafeBytes(of: (WireDirection.toClient.rawValue.littleEndian, counter.littleEndian)) {
        CRC32C.of($0)
      }
      let header = UnsafeRawBufferPointer(rebasing: bytes[..<WireLayout.headCRC])
      bytes.storeBytes(
        of: CRC32C.of(header, seed: seed).littleEndian, toByteOffset: WireLayout.headCRC, as: UInt32.self)
    }
    return ByteBuffer(bytes: bytes)
  }

  @Test("An ACK is believed once: as it was, or with the checksum of the next frame, it ends the connection")
  func capturedAck() throws {
    for isAdapted in [false, true] {
      var rig = ReplayRig()
      try rig.shakeHands()
      #expect(rig.heard().map(ReplayRig.type) == [.data])
      let ack = rig.server.say { $0.ack(2, channel: 0, to: &$1) }
      rig.hear(ack)
      #expect(rig.machine.condition == .open && rig.tally.acknowledged == 2)
      rig.hear(isAdapted ? again(ack, as: rig.server.counter) : ack)
      guard case .broken = rig.machine.condition else {
        Issue.record("\(rig.machine.condition)")
        continue
      }
      #expect(rig.tally.acknowledged == 2)
      #expect(!rig.heard().map(ReplayRig.type).contains(.data))
    }
  }

  @Test("An ACK for what is still under way, taken from an earlier connection, is not believed")
  func ackOfAnotherConnection() throws {
    var rig = ReplayRig()
    try rig.shakeHands()
    _ = rig.heard()
    let captured = rig.server.say { $0.ack(4, channel: 0, to: &$1) }
    rig.machine.disconnected(at: 1, &rig.tally)
    rig.server = ProvingServer(secret: rig.server.secret)
    try rig.shakeHands()
    #expect(rig.heard().map(ReplayRig.type) == [.data])
    #expect(captured.readableBytes > 0 && rig.server.counter == 2, "the counters fit: it is the key that does not")
    rig.hear(captured)
    guard case .broken = rig.machine.condition else {
      Issue.record("\(rig.machine.condition)")
      return
    }
    #expect(rig.tally.acknowledged == 0)
  }

  @Test("What is sent again after a reconnect is sealed anew, and fits into the credit with its tag")
  func sentAgain() throws {
    var rig = ReplayRig()
    try rig.shakeHands()
    let first = try #require(rig.heard().first)
    #expect(try rig.server.sequences(of: first) == [1, 2, 3, 4])
    rig.machine.disconnected(at: 1, &rig.tally)
    rig.server = ProvingServer(secret: rig.server.secret)
    let bare = WireLayout.headerBytes + WireLayout.dataFixedBytes
    let record = (first.count - bare - FrameSealer.tagBytes) / 4
    // Two records, if there were no tag.
    let credit = bare + 2 * record
    try rig.shakeHands(creditBytes: UInt64(credit))
    let again = rig.heard()
    #expect(again.map(ReplayRig.type) == [.data])
    let frame = try #require(again.first)
    #expect(frame.count <= credit)
    #expect(try rig.server.sequences(of: frame) == [1])
  }

  @Test("A whole recording gets a proof and no record, on the first connection and on a later one")
  func wholeRecording() throws {
    for isFirst in [true, false] {
      var rig = ReplayRig()
      try rig.shakeHands()
      _ = rig.heard()
      _ = rig.server.say { $0.ack(2, channel: 0, to: &$1) }
      let recording = rig.server.said
      if isFirst {
        // Another client with the same secret.
        rig.machine = WireProducer(rig.machine.settings)
      } else {
        rig.machine.disconnected(at: 1, &rig.tally)
      }
      rig.machine.connected(at: 1)
      #expect(rig.heard().map(ReplayRig.type) == [.hello])
      rig.hear(recording[0])
      #expect(rig.heard().map(ReplayRig.type) == [.proof])
      for frame in recording[1...] { rig.hear(frame) }
      switch rig.machine.condition {
      case .failed where isFirst, .broken where !isFirst: break
      default: Issue.record("\(rig.machine.condition)")
      }
      #expect(rig.tally.acknowledged == 0)
      #expect(!rig.heard().map(ReplayRig.type).contains(.data))
    }
  }
}
