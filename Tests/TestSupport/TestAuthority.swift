import Foundation

/// A certificate authority of a test's own, and what it signs, made with the `openssl` program.
package struct TestAuthority {
  package struct Pair: Sendable {
    /// Paths of PEM files.
    package let certificate: String
    package let key: String
  }

  package struct Failure: Error {
    package let text: String

    package init(text: String) { self.text = text }
  }

  package let folder: String
  private let name: String
  /// Its certificate.
  package var certificate: String { "\(folder)/\(name).pem" }

  /// Files go into `folder`, which is the test's.
  package init(in folder: String, name: String = "ca") throws {
    self.folder = folder
    self.name = name
    try openssl(
      ["req", "-x509", "-days", "30", "-subj", "/CN=\(name)", "-keyout", "\(name).key", "-out", "\(name).pem"]
        + Self.key)
  }

  private init(folder: String, name: String) {
    self.folder = folder
    self.name = name
  }

  /// An authority below this one.
  package func authority(_ name: String) throws -> TestAuthority {
    try openssl(
      [
        "req", "-x509", "-CA", certificate, "-CAkey", "\(folder)/\(self.name).key", "-days", "30", "-subj",
        "/CN=\(name)", "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", "\(name).key", "-out", "\(name).pem",
      ] + Self.key)
    return TestAuthority(folder: folder, name: name)
  }

  /// Puts its own certificate behind one that it signed, as who shows that has to.
  package func append(to pair: Pair) throws {
    let chain = try [pair.certificate, certificate].map { try String(contentsOfFile: $0, encoding: .utf8) }
    try Data(chain.joined().utf8).write(to: URL(fileURLWithPath: pair.certificate))
  }

  /// For `localhost` and 127.0.0.1.
  package func issue(_ name: String, days: Int = 30) throws -> Pair {
    try openssl(
      [
        "req", "-x509", "-CA", certificate, "-CAkey", "\(folder)/\(self.name).key", "-days", "\(days)", "-subj",
        "/CN=\(name)", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext",
        "basicConstraints=critical,CA:FALSE", "-keyout", "\(name).key", "-out", "\(name).pem",
      ] + Self.key)
    return Pair(certificate: "\(folder)/\(name).pem", key: "\(folder)/\(name).key")
  }

  /// One whose time is over.
  package func issueExpired(_ name: String) throws -> Pair {
    let settings = """
      [ca]
      default_ca = authority
      [authority]
      database = index
      serial = serial
      new_certs_dir = .
      default_md = sha256
      policy = names
      [names]
      commonName = supplied
      """
    for (file, text) in [("ca.cnf", settings), ("index", ""), ("serial", "01")] {
      try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/\(file)"))
    }
    try openssl(["req", "-new", "-subj", "/CN=\(name)", "-keyout", "\(name).key", "-out", "\(name).csr"] + Self.key)
    try openssl([
      "ca", "-config", "ca.cnf", "-batch", "-notext", "-cert", certificate, "-keyfile", "\(self.name).key",
      "-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-in", "\(name).csr", "-out", "\(name).pem",
    ])
    return Pair(certificate: "\(folder)/\(name).pem", key: "\(folder)/\(name).key")
  }

  private static let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

  package func openssl(_ arguments: [String]) throws {
    let (status, output) = try Command.run(["openssl"] + arguments, in: folder)
    guard status == 0 else { throw Failure(text: "openssl \(arguments.first ?? ""): \(output)") }
  }
}
