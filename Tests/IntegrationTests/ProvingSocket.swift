import DaemonTestSupport
import Foundation
import NIOCore
import SluiceCore
import SluiceIdentity
import SluiceIngest

/// A blocking framed connection that proves who it is, and keeps what it sends as an eavesdropper would.
final class ProvingSocket {
  struct Ended: Error {}

  private let descriptor: Int32
  private let identity: IdentityToken
  private var sender = WireSender(.toServer)
  private var receiver = WireReceiver(from: .toClient, maxFrame: 65_536)
  private var input: [UInt8] = []
  private(set) var sent: [[UInt8]] = []

  init?(port: Int, _ identity: IdentityToken) {
    self.identity = identity
    guard let descriptor = connectToLoopback(port, seconds: 120) else { return nil }
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  /// The handshake; the last sequence that the stream has of the producer.
  func greet() throws -> UInt64 {
    var hello = WireHello(producer: "press-7", epoch: 1)
    hello.integrity = WireIntegrity.hmacSHA256.rawValue
    hello.authentication = WireAuthentication.challenge.rawValue
    hello.identity = identity.identity
    hello.clientNonce = Nonce.make()
    let helloFrame = frame { $0.hello(hello, to: &$1) }
    try send(helloFrame)
    let challenge: [UInt8] = try next { frame in frame.type == .challenge ? Array(frame.bytes) : nil }
    let transcript = HandshakeTranscript(hello: helloFrame, challenge: challenge)
    let proofFrame = frame { $0.proof(WireProof(transcript.proof(of: identity.secret)), to: &$1) }
    try send(proofFrame)
    let keys = transcript.keys(for: identity.secret, proofFrame: proofFrame)
    sender.seal(with: keys.sealer)
    receiver.expectTags(of: keys.sealer)
    let welcome: WireWelcome = try next { frame in frame.type == .welcome ? try WireWelcome(frame.body) : nil }
    guard HandshakeTranscript.isSigned(welcome.serverSignature, keys) else { throw Ended() }
    return welcome.lastSequence
  }

  func record(_ payload: String, sequence: UInt64) -> [UInt8] {
    frame { sender, buffer in
      var data = sender.beginData(channel: 0, firstSequence: sequence, in: &buffer)
      Array(#"{"message":"\#(payload)"}"#.utf8).withUnsafeBytes {
        data.append(RecordFields(eventTime: 7, sequence: sequence, payload: $0), to: &buffer)
      }
      sender.finishData(data, in: &buffer)
    }
  }

  func awaitAck() throws -> UInt64 { try next { frame in frame.type == .ack ? try frame.word() : nil } }

  func awaitError() throws -> UInt16 { try next { frame in frame.type == .error ? try WireEnd(frame.body).code : nil } }

  private func frame(_ build: (inout WireSender, inout ByteBuffer) -> Void) -> [UInt8] {
    var buffer = ByteBuffer()
    build(&sender, &buffer)
    return Array(buffer.readableBytesView)
  }

  func send(_ bytes: [UInt8]) throws {
    sent.append(bytes)
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw Ended() }
      rest = rest.dropFirst(count)
    }
  }

  /// The first frame that `take` wants; others are passed over.
  private func next<Value>(_ take: (WireFrame) throws -> Value?) throws -> Value {
    while true {
      var used = 0
      var found: Value?
      try input.withUnsafeBytes { bytes in
        while found == nil, case .frame(let frame) = receiver.next(UnsafeRawBufferPointer(rebasing: bytes[used...])) {
          used += frame.length
          found = try take(frame)
        }
      }
      input.removeFirst(used)
      if let found { return found }
      var chunk = [UInt8](repeating: 0, count: 4096)
      let count = recv(descriptor, &chunk, chunk.count, 0)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw Ended() }
      input += chunk[..<count]
    }
  }
}
