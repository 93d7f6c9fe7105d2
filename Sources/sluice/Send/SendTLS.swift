// TLS of `sluice send`. A gate stands between NIOSSL and the connection: it is not connected before the handshake is
// done, and a handshake that fails is told in words. What a server says of a client's certificate may come later: in TLS 1.3
// the client's handshake is done before the server has looked at it.

import NIOCore
import NIOSSL
import NIOTLS
import SluiceCore

/// How the connections of a run are encrypted.
struct SendTLS: Sendable {
  /// Paths of PEM files.
  struct Options: Equatable, Sendable {
    /// Who may sign the server's certificate; nil: those that the system trusts.
    var ca: String?
    /// The client's own certificate, with the chain behind it, and its key.
    var certificate: String?
    var key: String?
    /// Whoever answers is taken for the server.
    var isInsecure = false
  }

  private let context: NIOSSLContext
  private let host: String
  /// What the certificate is to say; nil for an address, which is compared with the one that was connected to.
  private var name: String? { (try? SocketAddress(ipAddress: host, port: 0)) == nil ? host : nil }

  /// Reads the files.
  init(_ options: Options, target: SendTarget) throws(SendFailure) {
    host = target.host
    var configuration = TLSConfiguration.makeClientConfiguration()
    if options.isInsecure { configuration.certificateVerification = .none }
    configuration.shutdownTimeout = .nanoseconds(Limits.tlsCloseNanoseconds)
    if case .http = target { configuration.applicationProtocols = ["http/1.1"] }
    if let ca = options.ca {
      configuration.trustRoots = .certificates(try Self.certificates(ca, "--ca"))
    }
    if let certificate = options.certificate, let key = options.key {
      configuration.certificateChain = try Self.certificates(certificate, "--cert").map { .certificate($0) }
      guard let key = try? NIOSSLPrivateKey(file: key, format: .pem) else {
        throw SendFailure(status: ExitStatus.noInput, message: "--key: no private key can be read from \(key)")
      }
      configuration.privateKey = .privateKey(key)
    }
    do {
      context = try NIOSSLContext(configuration: configuration)
    } catch NIOSSLError.failedToLoadPrivateKey {
      throw SendFailure(status: ExitStatus.noInput, message: "--key does not belong to --cert")
    } catch {
      throw SendFailure(status: ExitStatus.noInput, message: "TLS can't be set up: \(error)")
    }
  }

  private static func certificates(_ path: String, _ option: String) throws(SendFailure) -> [NIOSSLCertificate] {
    guard let found = try? NIOSSLCertificate.fromPEMFile(path), !found.isEmpty else {
      throw SendFailure(status: ExitStatus.noInput, message: "\(option): no certificate can be read from \(path)")
    }
    return found
  }

  /// On the channel's loop, before the handler of the connection is added. `failed` is called once at most: why there is no
  /// connection, and whether another one would fare no better.
  func secure(_ channel: any Channel, failed: @escaping (SendFailure, Bool) -> Void) throws {
    let pipeline = channel.pipeline.syncOperations
    try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: name))
    try pipeline.addHandler(SendTLSGate(host: host, failed: failed))
  }
}

private final class SendTLSGate: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let host: String
  private let failed: (SendFailure, Bool) -> Void
  private var isOpen = false
  private var hasFailed = false
  private var deadline: Scheduled<Void>?

  init(host: String, failed: @escaping (SendFailure, Bool) -> Void) {
    self.host = host
    self.failed = failed
  }

  func channelActive(context: ChannelHandlerContext) {
    let limit = TimeAmount.nanoseconds(Limits.sendConnectNanoseconds)
    deadline = context.eventLoop.assumeIsolated().scheduleTask(in: limit) {
      self.fail(.unavailable("\(self.host) does not answer the TLS handshake"), isFinal: false)
      context.close(promise: nil)
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? TLSUserEvent, case .handshakeCompleted = event, !isOpen {
      isOpen = true
      deadline?.cancel()
      context.fireChannelActive()
    }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if let error = error as? NIOSSLError, error == .uncleanShutdown { return }
    let text = "\(error)"
    if text.contains("_ALERT_"), ["CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE"].contains(where: text.contains) {
      fail(
        .noPermission("\(host) refuses this client's certificate, or wants one: --cert FILE --key FILE"), isFinal: true)
    } else if isOpen {
      context.fireErrorCaught(error)
    } else {
      tell(error, text)
    }
  }

  private func tell(_ error: any Error, _ text: String) {
    if text.contains("CERTIFICATE_VERIFY_FAILED") {
      fail(
        .protocolError(
          "the certificate of \(host) is not trusted: --ca FILE names who signed it, --insecure takes any"),
        isFinal: true)
    } else if text.contains("failedToValidateHostname") {
      fail(.protocolError("the certificate is not one of \(host); --insecure takes any"), isFinal: true)
    } else if text.contains("WRONG_VERSION_NUMBER") {
      fail(.protocolError("\(host) does not speak TLS there"), isFinal: true)
    } else if text.contains("EOF during handshake") || error is IOError {
      fail(.unavailable("\(host) ended the connection in the TLS handshake"), isFinal: false)
    } else {
      fail(.protocolError("no TLS with \(host): \(text)"), isFinal: true)
    }
  }

  private func fail(_ failure: SendFailure, isFinal: Bool) {
    guard !hasFailed else { return }
    hasFailed = true
    deadline?.cancel()
    failed(failure, isFinal)
  }
}
