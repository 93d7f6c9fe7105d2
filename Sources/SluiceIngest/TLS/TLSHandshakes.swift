import NIOSSL
import SluiceCore
import Synchronization

/// How a handshake went.
enum TLSHandshake: Int, CaseIterable {
  case ok
  /// What came is no TLS.
  case notTLS
  /// The client showed no certificate, and has to.
  case noCertificate
  /// No trusted authority signed the client's certificate, or its time has passed.
  case unknownCA
  /// No version or cipher in common, or a peer that breaks the protocol.
  case protocolError
  /// It took too long.
  case timeout
  /// The client went away, or sent an alert: it does not trust the server's certificate, say.
  case other

  var label: String {
    switch self {
    case .ok: "ok"
    case .notTLS: "not_tls"
    case .noCertificate: "no_certificate"
    case .unknownCA: "unknown_ca"
    case .protocolError: "protocol"
    case .timeout: "timeout"
    case .other: "other"
    }
  }

  /// What a failure was. BoringSSL tells its reasons by name only.
  init(_ error: any Error) {
    guard let error = error as? NIOSSLError, case .handshakeFailed(.sslError(let stack)) = error else {
      self = .other
      return
    }
    let text = stack.map(\.description).joined(separator: " ")
    func says(_ reasons: String...) -> Bool { reasons.contains { text.contains($0) } }
    // OpenSSL sends its alerts plain where encrypted records are due: they are too short to be one.
    if stack == [.eofDuringHandshake] || says("_ALERT_", "BAD_PACKET_LENGTH") {
      self = .other
    } else if says("HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER") {
      self = .notTLS
    } else if says("PEER_DID_NOT_RETURN_A_CERTIFICATE") {
      self = .noCertificate
    } else if says("CERTIFICATE_VERIFY_FAILED") {
      self = .unknownCA
    } else {
      self = .protocolError
    }
  }
}

/// How the handshakes of a source went. All its loops count here, once per connection.
final class TLSCounters: Sendable {
  private let ok = Atomic<UInt64>(0)
  private let notTLS = Atomic<UInt64>(0)
  private let noCertificate = Atomic<UInt64>(0)
  private let unknownCA = Atomic<UInt64>(0)
  private let protocolError = Atomic<UInt64>(0)
  private let timeout = Atomic<UInt64>(0)
  private let other = Atomic<UInt64>(0)

  func add(_ handshake: TLSHandshake) {
    switch handshake {
    case .ok: ok.add(1, ordering: .relaxed)
    case .notTLS: notTLS.add(1, ordering: .relaxed)
    case .noCertificate: noCertificate.add(1, ordering: .relaxed)
    case .unknownCA: unknownCA.add(1, ordering: .relaxed)
    case .protocolError: protocolError.add(1, ordering: .relaxed)
    case .timeout: timeout.add(1, ordering: .relaxed)
    case .other: other.add(1, ordering: .relaxed)
    }
  }

  func value(_ handshake: TLSHandshake) -> UInt64 {
    switch handshake {
    case .ok: ok.load(ordering: .relaxed)
    case .notTLS: notTLS.load(ordering: .relaxed)
    case .noCertificate: noCertificate.load(ordering: .relaxed)
    case .unknownCA: unknownCA.load(ordering: .relaxed)
    case .protocolError: protocolError.load(ordering: .relaxed)
    case .timeout: timeout.load(ordering: .relaxed)
    case .other: other.load(ordering: .relaxed)
    }
  }

  func family(source: String) -> MetricFamily {
    MetricFamily(
      "sluice_source_tls_handshakes_total", .counter, help: "TLS handshakes, by how they went.",
      samples: TLSHandshake.allCases.map { .init([("source", source), ("result", $0.label)], Double(value($0))) })
  }
}
