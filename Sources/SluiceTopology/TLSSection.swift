/// `tls:` of a source: how it is encrypted, and with which files.
extension SourceSettings {
  /// What is asked of connections.
  package struct TLS: Sendable, Equatable {
    /// Whether clients show a certificate that `client_ca` signed.
    package enum ClientCertificate: String, Sendable, CaseIterable { case none, optional, required }
    package enum Version: String, Sendable, CaseIterable {
      case tls12 = "1.2"
      case tls13 = "1.3"
    }

    package var client = ClientCertificate.none
    package var minimumVersion = Version.tls12
  }

  /// PEM files, and what was in them when they were read.
  package struct TLSFiles: Sendable, Equatable {
    /// The chain, the server's own certificate first.
    package var certificate: String
    package var key: String
    package var clientCA: String?
    /// A digest of the three files; empty until they are read. Files that are replaced make other settings.
    package var contents: [UInt8] = []
    /// Where the paths stand: `cert`, `key`, `client_ca`.
    package var positions = Unequated<[String: SourcePosition]>([:])

    package init(certificate: String, key: String, clientCA: String? = nil) {
      self.certificate = certificate
      self.key = key
      self.clientCA = clientCA
    }
  }
}

extension TopologyReader {
  func readTLS(_ node: YAMLNode, into settings: inout SourceSettings, _ path: String) {
    let keys = ["cert", "key", "client_ca", "client", "min_version"]
    guard let section = Section(node, path: path, known: keys, sink: sink) else { return }
    let certificate = section.required("cert", "a PEM file").flatMap { section.path($0, "\(path).cert") }
    let key = section.required("key", "a PEM file").flatMap { section.path($0, "\(path).key") }
    let clientCA = section["client_ca"].flatMap { section.path($0, "\(path).client_ca") }
    var tls = SourceSettings.TLS()
    tls.client = section.choice("client") ?? (section["client_ca"] == nil ? .none : .required)
    tls.minimumVersion = section.choice("min_version") ?? .tls12
    if tls.client != .none, section["client_ca"] == nil, let client = section["client"] {
      sink.error(
        at: client.position,
        "\(path).client is \(tls.client.rawValue), and nobody is named who signs such certificates",
        expected: "client_ca: a PEM file")
    }
    guard let certificate, let key else { return }
    var files = SourceSettings.TLSFiles(certificate: certificate, key: key, clientCA: clientCA)
    for key in ["cert", "key", "client_ca"] { files.positions.value[key] = section[key]?.position }
    settings.tls = tls
    settings.tlsFiles = files
  }
}
