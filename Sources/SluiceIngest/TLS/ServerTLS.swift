// TLS of a source. A connection that is accepted gets two handlers in front of its own:
//
//   socket ── NIOSSLServerHandler ── TLSGate ── HTTPConnection, TCPConnection, LinesConnection
//
// The first de- and encrypts. The gate waits for the handshake, tells the connection who is there, and counts. A plain
// source has neither.
//
// A reload gives the source other certificates (`renew`): handshakes from then on are made with those. Connections that
// are there have had theirs, and go on. Sessions that clients resume belong to the context that they were made under:
// after a renewal they make a full handshake.

import NIOCore
import NIOSSL
import SluiceCore
import Synchronization

/// A connection that wants to know what its transport vouches for.
protocol SecuredConnection: AnyObject {
  var security: ConnectionSecurity { get set }
}

/// What a source's connections are met with, and how their handshakes went.
final class ServerTLS: Sendable {
  let counters = TLSCounters()
  let handshakeLimit: TimeAmount
  private let material: Mutex<TLSMaterial>

  init(_ material: TLSMaterial, handshakeNanoseconds: Int64) {
    self.material = Mutex(material)
    handshakeLimit = .nanoseconds(handshakeNanoseconds)
  }

  /// For the handshakes that begin from now on.
  func renew(_ next: TLSMaterial) { material.withLock { $0 = next } }

  /// On the channel's loop, before any handler of the connection is added.
  func secure(_ channel: any Channel, for connection: (any SecuredConnection)?) throws {
    let context = material.withLock { $0.context }
    let handler = NIOSSLServerHandler(context: context)
    let pipeline = channel.pipeline.syncOperations
    try pipeline.addHandler(handler)
    try pipeline.addHandler(TLSGate(self, handler, connection))
    // NIOSSL keeps what it has not decrypted: a buffer that a loop shares would be overwritten under it.
    try channel.syncOptions?.setOption(
      .recvAllocator,
      value: AdaptiveRecvByteBufferAllocator(
        minimum: Limits.tlsReceiveBytes.lowerBound, initial: 1024, maximum: Limits.tlsReceiveBytes.upperBound))
    try channel.syncOptions?.setOption(.maxMessagesPerRead, value: 4)
  }
}
