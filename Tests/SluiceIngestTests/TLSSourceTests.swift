import Foundation
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import SluiceCore
import SluiceIdentity
import Synchronization
import TestSupport
import Testing

@testable import SluiceIngest

/// A folder with an authority and what it signed; removed at the end.
final class Certificates {
  let folder: String
  let authority: TestAuthority
  let server: TestAuthority.Pair

  init() throws {
    var template = Array("/tmp/sluice-tls-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TestAuthority.Failure(text: "mkdtemp") }
    folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    authority = try TestAuthority(in: folder)
    server = try authority.issue("server")
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  static func bytes(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }

  func files(clientCA: Bool = false) throws -> TLSMaterial.Files {
    TLSMaterial.Files(
      certificate: try Self.bytes(server.certificate), key: try Self.bytes(server.key),
      clientCA: clientCA ? try Self.bytes(authority.certificate) : nil)
  }
}

/// Notes what is known of the peer when the first byte comes, and answers with what came.
private final class Witness: ChannelInboundHandler, SecuredConnection {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  var security = ConnectionSecurity.plain
  private let seen: EventLoopPromise<ConnectionSecurity>

  init(_ seen: EventLoopPromise<ConnectionSecurity>) { self.seen = seen }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    seen.succeed(security)
    context.writeAndFlush(data, promise: nil)
  }
}

@Suite("TLS of a source") struct TLSSourceTests {
  @Test func overTLSAConnectionTooManyIsCutBeforeItsHandshake() throws {
    let material = try TLSMaterial(Certificates().files(), now: now)
    let harness = TCPHarness {
      $0.maxConnections = 1
      $0.tls = material
    }
    _ = try harness.connect()
    let second = try harness.connect(lingers: true)
    #expect(try second.received() == [] && !second.isOpen)
    #expect(harness.counters.value(.refused) == 1)
  }

  private var now: Int64 { Clock.wall() / 1_000_000_000 }

  /// What a server knows of a client that connects with `client` and sends a byte along with the end of its handshake.
  private func known(of client: TLSConfiguration, by material: TLSMaterial) async throws -> ConnectionSecurity {
    let group = MultiThreadedEventLoopGroup.singleton
    let tls = ServerTLS(material, handshakeNanoseconds: 3600 * 1_000_000_000)
    let seen = group.next().makePromise(of: ConnectionSecurity.self)
    let server = try await ServerBootstrap(group: group)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let witness = Witness(seen)
          try tls.secure(channel, for: witness)
          try channel.pipeline.syncOperations.addHandler(witness)
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    let address = try #require(server.localAddress)
    let context = try NIOSSLContext(configuration: client)
    let channel = try await ClientBootstrap(group: group)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(
            NIOSSLClientHandler(context: context, serverHostname: "localhost"))
        }
      }
      .connect(to: address).get()
    try await channel.writeAndFlush(ByteBuffer(string: "x"))
    let result = try await seen.futureResult.get()
    try await server.close()
    try? await channel.close()
    #expect(tls.counters.value(.ok) == 1)
    return result
  }

  @Test("A connection knows its client's certificate by its SHA-256 before the first byte comes")
  func certificateIsKnown() async throws {
    let certificates = try Certificates()
    let module = try certificates.authority.issue("module")
    var client = TLSConfiguration.makeClientConfiguration()
    client.trustRoots = .file(certificates.authority.certificate)
    let chain = try NIOSSLCertificate.fromPEMFile(module.certificate)
    client.certificateChain = chain.map { .certificate($0) }
    client.privateKey = .privateKey(try NIOSSLPrivateKey(file: module.key, format: .pem))
    let digest = Digest.sha256(try #require(chain.first).toDERBytes())
    for version in [TLSVersion.tlsv12, .tlsv13] {
      client.maximumTLSVersion = version
      let material = try TLSMaterial(certificates.files(clientCA: true), client: .required, now: now)
      #expect(
        try await known(of: client, by: material) == ConnectionSecurity(isEncrypted: true, certificateSHA256: digest))
    }
  }

  @Test("A client that shows no certificate is encrypted and nobody", arguments: [false, true])
  func nobodyIsKnown(isAsked: Bool) async throws {
    let certificates = try Certificates()
    var client = TLSConfiguration.makeClientConfiguration()
    client.trustRoots = .file(certificates.authority.certificate)
    let material = try TLSMaterial(
      certificates.files(clientCA: isAsked), client: isAsked ? .optional : .none, now: now)
    #expect(try await known(of: client, by: material) == ConnectionSecurity(isEncrypted: true))
  }

  @Test("Files differ by their digest, wherever one ends and the next begins")
  func digests() throws {
    let all: [TLSMaterial.Files] = [
      .init(certificate: [1, 2], key: [3]), .init(certificate: [1], key: [2, 3]),
      .init(certificate: [1, 2], key: [3], clientCA: [4]), .init(certificate: [1, 2], key: [3, 4]),
    ]
    #expect(Set(all.map(\.digest)).count == all.count)
    #expect(all[0].digest == TLSMaterial.Files(certificate: [1, 2], key: [3], clientCA: []).digest)
  }

  @Test("A certificate is warned of before it ends, and when its time is not come or over")
  func warnings() throws {
    let files = try Certificates().files()
    func said(after days: Int64) throws -> [String] {
      try TLSMaterial(files, now: now + days * 86_400).warnings.map(\.message)
    }
    #expect(try said(after: 0).isEmpty && said(after: 15).isEmpty)
    #expect(try said(after: 17).first?.hasPrefix("the certificate expires soon: ") == true)
    #expect(try said(after: 31).first?.hasPrefix("the certificate has expired: ") == true)
    #expect(try said(after: -1).first?.hasPrefix("the certificate is not valid before ") == true)
  }
}
