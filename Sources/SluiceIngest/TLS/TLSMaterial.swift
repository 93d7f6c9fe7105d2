// PEM files → what a handshake takes. Everything is parsed and held against each other here, once, by whoever checks a
// topology; what passed is what runs, so that a file that changes meanwhile changes nothing.

import Glibc
import NIOCore
import NIOSSL
import SluiceCore
import SluiceIdentity

/// A certificate, its key, and what is asked of clients: what new connections of a source are met with.
package struct TLSMaterial: Sendable {
  /// The files of a source, as read.
  package struct Files: Sendable {
    /// The chain, the server's own certificate first.
    package var certificate: [UInt8]
    package var key: [UInt8]
    package var clientCA: [UInt8]?

    package init(certificate: [UInt8], key: [UInt8], clientCA: [UInt8]? = nil) {
      self.certificate = certificate
      self.key = key
      self.clientCA = clientCA
    }

    /// 32 bytes that differ when any of the files does.
    package var digest: [UInt8] {
      // Each with its length, so that no other parting of the same bytes looks the same.
      Digest.sha256(
        [certificate, key, clientCA ?? []].flatMap { file in
          withUnsafeBytes(of: UInt64(file.count).littleEndian) { Array($0) } + file
        })
    }
  }

  package enum ClientCertificate: Sendable { case none, optional, required }

  package enum File: Sendable { case certificate, key, clientCA }

  /// What is wrong with one of the files, or soon will be.
  package struct Problem: Error, Equatable, Sendable {
    package var file: File
    package var message: String
    package var help: String?

    package init(file: File, message: String, help: String? = nil) {
      self.file = file
      self.message = message
      self.help = help
    }
  }

  let context: NIOSSLContext
  /// Nothing that keeps the source from starting.
  package let warnings: [Problem]

  /// `protocols`: for ALPN. `now`: seconds since 1970, which certificates are held against.
  package init(
    _ files: Files, client: ClientCertificate = .none, requiresTLS13: Bool = false, protocols: [String] = [], now: Int64
  ) throws(Problem) {
    let chain = try Self.certificates(files.certificate, .certificate)
    let key = try Self.key(files.key)
    let authorities = try files.clientCA.map { bytes throws(Problem) in try Self.certificates(bytes, .clientCA) } ?? []
    var configuration = TLSConfiguration.makeServerConfiguration(
      certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
    configuration.minimumTLSVersion = requiresTLS13 ? .tlsv13 : .tlsv12
    configuration.applicationProtocols = protocols
    configuration.shutdownTimeout = .nanoseconds(Limits.tlsCloseNanoseconds)
    configuration.certificateVerification =
      switch client {
      case .none: .none
      case .optional: .optionalVerification
      case .required: .noHostnameVerification
      }
    if client != .none {
      configuration.trustRoots = .certificates(authorities)
      // Which of its certificates a client with several is to show.
      configuration.sendCANameList = true
    }
    do {
      context = try NIOSSLContext(configuration: configuration)
    } catch NIOSSLError.failedToLoadPrivateKey {
      throw Problem(
        file: .key, message: "this key does not belong to the certificate", help: "cert and key come in pairs")
    } catch {
      throw Problem(file: .certificate, message: "it can't be used: \(error)")
    }
    warnings =
      Self.warnings(chain, .certificate, now: now) + Self.warnings(authorities, .clientCA, now: now)
  }

  // MARK: PEM

  private static func certificates(_ bytes: [UInt8], _ file: File) throws(Problem) -> [NIOSSLCertificate] {
    guard let certificates = try? NIOSSLCertificate.fromPEMBytes(bytes), !certificates.isEmpty else {
      throw Problem(
        file: file, message: "no certificate can be read from it",
        help: "PEM: it begins with -----BEGIN CERTIFICATE-----")
    }
    return certificates
  }

  private static func key(_ bytes: [UInt8]) throws(Problem) -> NIOSSLPrivateKey {
    if String(decoding: bytes, as: UTF8.self).contains("ENCRYPTED") {
      throw Problem(
        file: .key, message: "the key is encrypted, and nobody is there to be asked for the password",
        help: "openssl pkey -in KEY -out PLAIN-KEY writes one that is not")
    }
    do {
      return try NIOSSLPrivateKey(bytes: bytes, format: .pem)
    } catch {
      throw Problem(
        file: .key, message: "no private key can be read from it",
        help: "PEM: it begins with -----BEGIN PRIVATE KEY-----")
    }
  }

  private static func warnings(_ chain: [NIOSSLCertificate], _ file: File, now: Int64) -> [Problem] {
    chain.enumerated().compactMap { place, certificate in
      let which = chain.count == 1 ? "the certificate" : "certificate \(place + 1) of \(chain.count)"
      let (from, to) = (Int64(certificate.notValidBefore), Int64(certificate.notValidAfter))
      if now < from { return Problem(file: file, message: "\(which) is not valid before \(date(from))") }
      if now > to { return Problem(file: file, message: "\(which) has expired: \(date(to))", help: "renew it") }
      guard to - now < Limits.tlsExpiryWarningSeconds else { return nil }
      return Problem(file: file, message: "\(which) expires soon: \(date(to))", help: "renew it")
    }
  }

  private static func date(_ seconds: Int64) -> String {
    var time = time_t(seconds)
    var parts = tm()
    guard gmtime_r(&time, &parts) != nil else { return "\(seconds)" }
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
      + "T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
  }
}
