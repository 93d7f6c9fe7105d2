// Stands between TLS and a connection, and makes of TLS's events what the connection is to know:
//
//   waiting ── handshake completed ──► open       the connection is told who is there, before its first byte
//      │                                 errors of the transport go on to the connection; an end without close_notify
//      │                                 is an end like any other
//      └── an error, the limit, ──► failed        counted; NIOSSL closes after an error, the gate does at the limit, and when
//          a close                                the connection wants to: nobody is there yet to say goodbye to

import NIOCore
import NIOSSL
import NIOTLS
import SluiceIdentity

/// Confined to the loop of its channel.
final class TLSGate: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer

  private enum State { case waiting, open, failed }

  private let tls: ServerTLS
  private let handler: NIOSSLServerHandler
  private let connection: (any SecuredConnection)?
  private var state = State.waiting
  private var deadline: Scheduled<Void>?

  init(_ tls: ServerTLS, _ handler: NIOSSLServerHandler, _ connection: (any SecuredConnection)?) {
    self.tls = tls
    self.handler = handler
    self.connection = connection
  }

  func handlerAdded(context: ChannelHandlerContext) {
    deadline = context.eventLoop.assumeIsolated().scheduleTask(in: tls.handshakeLimit) { self.isLate(context) }
  }

  func handlerRemoved(context: ChannelHandlerContext) { settle(.other) }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? TLSUserEvent, case .handshakeCompleted = event, state == .waiting {
      let certificate = try? handler.peerCertificate?.toDERBytes()
      connection?.security = ConnectionSecurity(
        isEncrypted: true, certificateSHA256: certificate.map { Digest.sha256($0) })
      settle(.ok)
    }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    switch state {
    case .waiting: settle(TLSHandshake(error))
    case .failed: break
    case .open:
      // The end of the input follows, and what was asked before it is answered.
      if let error = error as? NIOSSLError, error == .uncleanShutdown { return }
      context.fireErrorCaught(error)
    }
  }

  private func isLate(_ context: ChannelHandlerContext) {
    guard state == .waiting else { return }
    settle(.timeout)
    closeInFront(context, promise: nil)
  }

  func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    guard state == .waiting, mode == .all else { return context.close(mode: mode, promise: promise) }
    settle(.other)
    closeInFront(context, promise: promise)
  }

  /// From in front of NIOSSL, which would want to say goodbye.
  private func closeInFront(_ context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
    do {
      try context.pipeline.syncOperations.context(handler: handler).close(promise: promise)
    } catch {
      // NIOSSL has left the pipeline, and with it the socket its end.
      context.close(promise: promise)
    }
  }

  private func settle(_ handshake: TLSHandshake) {
    guard state == .waiting else { return }
    state = handshake == .ok ? .open : .failed
    deadline?.cancel()
    deadline = nil
    tls.counters.add(handshake)
  }
}
