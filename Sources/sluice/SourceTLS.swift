import Glibc
import SluiceCore
import SluiceIngest
import SluiceTopology

/// Reads the PEM files that a topology names, for whoever checks it.
enum SourceTLS {
  /// By the source's name; what is wrong with the rest stands in `findings`. Each source's settings are given the digest of
  /// what was read.
  static func load(_ topology: inout Topology, _ findings: inout [Diagnostic]) -> [String: TLSMaterial] {
    var loaded: [String: TLSMaterial] = [:]
    for place in topology.sources.indices {
      let source = topology.sources[place]
      guard let tls = source.tls, let paths = source.tlsFiles else { continue }
      do throws(TLSMaterial.Problem) {
        let files = try read(paths)
        let material = try TLSMaterial(
          files, client: tls.client.asked, requiresTLS13: tls.minimumVersion == .tls13,
          protocols: source.kind == .http ? ["http/1.1"] : [], now: Clock.wall() / 1_000_000_000)
        topology.sources[place].tlsFiles?.contents = files.digest
        loaded[source.name] = material
        findings += material.warnings.map { diagnostic($0, .warning, source, paths, in: topology) }
      } catch {
        findings.append(diagnostic(error, .error, source, paths, in: topology))
      }
    }
    return loaded
  }

  private static func read(_ paths: SourceSettings.TLSFiles) throws(TLSMaterial.Problem) -> TLSMaterial.Files {
    let certificate = try bytes(of: paths.certificate, .certificate)
    let key = try bytes(of: paths.key, .key) { status throws(FileReadError) in
      guard status.st_mode & (S_IRWXO | S_IWGRP) == 0 else {
        throw FileReadError(
          message: "others than its owner and group can read or change the key", help: "chmod 600 \(paths.key)")
      }
    }
    let clientCA = try paths.clientCA.map { path throws(TLSMaterial.Problem) in try bytes(of: path, .clientCA) }
    return TLSMaterial.Files(certificate: certificate, key: key, clientCA: clientCA)
  }

  private static func bytes(
    of path: String, _ file: TLSMaterial.File, inspect: (stat) throws(FileReadError) -> Void = { _ in }
  ) throws(TLSMaterial.Problem) -> [UInt8] {
    do {
      return try FileReading.bytes(of: path, limit: Limits.maxPEMBytes, regularOnly: true, inspect: inspect)
    } catch {
      let message = error.help == nil ? "it can't be read: \(error.message)" : error.message
      throw TLSMaterial.Problem(file: file, message: message, help: error.help)
    }
  }

  private static func diagnostic(
    _ problem: TLSMaterial.Problem, _ severity: Diagnostic.Severity, _ source: SourceSettings,
    _ paths: SourceSettings.TLSFiles, in topology: Topology
  ) -> Diagnostic {
    let (key, path) =
      switch problem.file {
      case .certificate: ("cert", paths.certificate)
      case .key: ("key", paths.key)
      case .clientCA: ("client_ca", paths.clientCA ?? "")
      }
    return topology.diagnostic(
      at: paths.positions.value[key] ?? source.position.value, severity,
      "sources.\(source.name).tls.\(key): \(path): \(problem.message)", help: problem.help)
  }
}

extension SourceSettings.TLS.ClientCertificate {
  fileprivate var asked: TLSMaterial.ClientCertificate {
    switch self {
    case .none: .none
    case .optional: .optional
    case .required: .required
    }
  }
}
