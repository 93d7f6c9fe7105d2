import NIOCore
import SluiceCore
import SluiceIdentity
import TestSupport
import Testing

@testable import SluiceIngest

/// Whole sessions, cut in two at every byte and then into single bytes: what is answered and what is stored stay the same.
@Suite("Framed sessions cut at every byte")
struct TCPCutTests {
  private struct Outcome: Equatable {
    var seen: [WireSeen] = []
    var records: [FakeStream.Record] = []
    var isOpen = false
  }

  /// All connections of a test are of one instant, so that WELCOME says the same time.
  private let clock = TestClock()

  private func harness(_ authentication: SourceAuthentication = .none) -> TCPHarness {
    TCPHarness {
      $0.clock = clock.source
      $0.authentication = authentication
    }
  }

  private static func pieces(_ bytes: [UInt8], cutAt cut: Int?) -> [ArraySlice<UInt8>] {
    guard let cut else { return bytes.indices.map { bytes[$0...$0] } }
    return [bytes[..<cut], bytes[cut...]]
  }

  /// Nil: into single bytes.
  private static func cuts(_ bytes: [UInt8]) -> [Int?] { [nil] + (1..<bytes.count).map(Optional.some) }

  private func finish(_ connection: TCPTestConnection, _ harness: TCPHarness) throws -> Outcome {
    let before = try connection.answers()
    harness.commit()
    harness.commit()
    return Outcome(
      seen: before + (try connection.answers()), records: harness.stream.records, isOpen: connection.isOpen)
  }

  /// A session whose client waits for nothing. `prepare`: what was there before it.
  private func outcome(
    _ bytes: [UInt8], cutAt cut: Int?, sealer: FrameSealer? = nil, prepare: (TCPHarness) throws -> Void = { _ in }
  ) throws -> Outcome {
    let harness = harness()
    try prepare(harness)
    let connection = try harness.connect()
    if let sealer { connection.receiver.expectTags(of: sealer) }
    for piece in Self.pieces(bytes, cutAt: cut) { try connection.receive(ByteBuffer(bytes: piece)) }
    return try finish(connection, harness)
  }

  /// The session of the page begins behind 40 records.
  private func fortyRecords(_ harness: TCPHarness) throws {
    let before = try harness.open("press-7")
    try before.data([String](repeating: "x", count: 40), first: 1)
    harness.commit()
    try before.send { $0.end(.bye, WireEnd(), to: &$1) }
    harness.stream.forgetRecords()
  }

  @Test func theSessionOfThePage() throws {
    let bytes = try WireCodecTests.frames("plain", "client").flatMap(\.self)
    let whole = try outcome(bytes, cutAt: bytes.count, prepare: fortyRecords)
    #expect(whole.seen.welcome?.lastSequence == 40)
    let told = whole.seen.compactMap { seen -> String? in
      switch seen {
      case .ack(let channel, let sequence): "ack \(channel) \(sequence)"
      case .nack(let channel, let nack): "nack \(channel) \(nack.sequence) \(nack.code)"
      case .opened: "opened"
      case .close: "close"
      case .pong: "pong"
      case .bye: "bye"
      default: nil
      }
    }
    #expect(told.sorted() == ["ack 0 44", "ack 1 1", "bye", "close", "nack 0 44 6", "opened", "pong"])
    #expect(whole.records.map(\.sequence) == [41, 42, 43, 44, 1])
    for cut in Self.cuts(bytes) {
      #expect(try outcome(bytes, cutAt: cut, prepare: fortyRecords) == whole, "\(cut ?? -1)")
    }
  }

  @Test func aSessionThatIsRefused() throws {
    let bytes = try WireCodecTests.frames("refused", "client").flatMap(\.self)
    let whole = try outcome(bytes, cutAt: bytes.count)
    let golden = try #require(try WireCodecTests.frames("refused", "server").first)
    let code = UInt16(golden[WireLayout.headerBytes + 2]) | UInt16(golden[WireLayout.headerBytes + 3]) << 8
    #expect(whole.seen.count == 1 && whole.seen.error?.rawValue == code)
    for cut in Self.cuts(bytes) { #expect(try outcome(bytes, cutAt: cut) == whole, "\(cut ?? -1)") }
  }

  @Test func aSessionWithSHA256() throws {
    var sender = WireSender(.toServer)
    var buffer = ByteBuffer()
    var hello = WireHello(producer: "press-7", epoch: 1)
    hello.integrity = WireIntegrity.sha256.rawValue
    sender.hello(hello, to: &buffer)
    sender.seal(with: .sha256)
    Self.rest(&sender, &buffer)
    let bytes = Array(buffer.readableBytesView)
    let whole = try outcome(bytes, cutAt: bytes.count, sealer: .sha256)
    try checkRest(whole)
    for cut in Self.cuts(bytes) { #expect(try outcome(bytes, cutAt: cut, sealer: .sha256) == whole, "\(cut ?? -1)") }
  }

  /// What follows a handshake.
  private static func rest(_ sender: inout WireSender, _ buffer: inout ByteBuffer) {
    TCPTestConnection.data(["a", "b"], first: 1, &sender, &buffer)
    sender.open(WireOpen(producer: "press-7/2", epoch: 1), channel: 1, to: &buffer)
    TCPTestConnection.data(["c"], first: 5, channel: 1, &sender, &buffer)
    TCPTestConnection.data(["d"], first: 1, channel: 1, &sender, &buffer)
    sender.ping(7, to: &buffer)
    sender.end(.bye, WireEnd(), to: &buffer)
  }

  private func checkRest(_ outcome: Outcome) throws {
    #expect(outcome.seen.welcome != nil && outcome.seen.last == .bye)
    #expect(outcome.seen.contains(.ack(0, 2)) && outcome.seen.contains(.ack(1, 1)) && outcome.seen.contains(.pong(7)))
    #expect(outcome.seen.nacks.map(\.sequence) == [5])
    #expect(outcome.records.map(\.text) == ["a", "b", "d"])
  }

  /// The client's frames behind HELLO depend on the challenge: HELLO is cut, or what follows it.
  @Test func aSessionWithAProof() throws {
    let press = TestIdentity()
    let authentication = SourceAuthentication(.required, IdentityAuthority([press.definition]))
    var sizes = (hello: 0, rest: 0)
    func run(hello helloCut: Int?, rest restCut: Int?, isWhole: Bool = false) throws -> Outcome {
      let harness = harness(authentication)
      let connection = try harness.connect(from: AuthenticationAttackTests.remote)
      var hello = WireHello(producer: "press-7", epoch: 1)
      hello.integrity = WireIntegrity.hmacSHA256.rawValue
      hello.authentication = WireAuthentication.challenge.rawValue
      hello.identity = press.name
      hello.clientNonce = [UInt8](repeating: 7, count: 32)
      var buffer = ByteBuffer()
      connection.sender.hello(hello, to: &buffer)
      let first = Array(buffer.readableBytesView)
      for piece in isWhole ? [first[...]] : Self.pieces(first, cutAt: helloCut) {
        try connection.receive(ByteBuffer(bytes: piece))
      }
      guard case .challenge = try connection.received().last else { throw TCPTestConnection.Unexpected() }
      let transcript = HandshakeTranscript(hello: first, challenge: connection.challengeFrame)
      buffer.clear()
      connection.sender.proof(WireProof(transcript.proof(of: press.secret)), to: &buffer)
      let keys = transcript.keys(for: press.secret, proofFrame: Array(buffer.readableBytesView))
      connection.sender.seal(with: keys.sealer)
      connection.receiver.expectTags(of: keys.sealer)
      Self.rest(&connection.sender, &buffer)
      let second = Array(buffer.readableBytesView)
      sizes = (first.count, second.count)
      for piece in isWhole ? [second[...]] : Self.pieces(second, cutAt: restCut) {
        try connection.receive(ByteBuffer(bytes: piece))
      }
      var outcome = try finish(connection, harness)
      guard case .welcome(var welcome) = outcome.seen.first else { throw TCPTestConnection.Unexpected() }
      #expect(HandshakeTranscript.isSigned(welcome.serverSignature, keys))
      // It is of the server's nonce, which is another each time.
      welcome.serverSignature = []
      outcome.seen[0] = .welcome(welcome)
      return outcome
    }
    let whole = try run(hello: nil, rest: nil, isWhole: true)
    try checkRest(whole)
    #expect(try run(hello: nil, rest: nil) == whole, "bytewise")
    for cut in 1..<sizes.hello { #expect(try run(hello: cut, rest: sizes.rest) == whole, "HELLO at \(cut)") }
    for cut in 1..<sizes.rest { #expect(try run(hello: sizes.hello, rest: cut) == whole, "the rest at \(cut)") }
  }
}
