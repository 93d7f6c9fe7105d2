import CSluice

/// Drives one instance through its table the way the daemon does. `error` is what the last call left behind.
package final class DrivenInstance {
  package let kind: UnsafePointer<slu_subscriber>
  package private(set) var error = ""
  private let host: FakeHost
  private var instance: UnsafeMutableRawPointer?

  /// Nothing happens before `create`.
  package init(_ kind: UnsafePointer<slu_subscriber>, host: FakeHost) {
    self.kind = kind
    self.host = host
  }

  package func validate(_ config: String) -> (code: slu_rc, findings: [String]) {
    final class Findings { var texts: [String] = [] }
    guard let validate = kind.pointee.validate else { return (SLU_OK, []) }
    let findings = Findings()
    let code = lending(config) {
      validate(
        kind, $0,
        { context, severity, pointer, text in
          let findings = Unmanaged<Findings>.fromOpaque(context!).takeUnretainedValue()
          findings.texts.append(
            "\(severity == SLU_DIAGNOSE_WARNING ? "warning" : "error") \(pointer.string): \(text.string)")
        }, Unmanaged.passUnretained(findings).toOpaque())
    }
    return withExtendedLifetime(findings) { (code, findings.texts) }
  }

  package func create(_ config: String) -> slu_rc {
    lending(config) { config in
      calling { kind.pointee.create(kind, host.table, config, &instance, $0) }
    }
  }

  package func start() -> slu_rc { calling { kind.pointee.start?(instance, 0, $0) ?? SLU_OK } }
  package func deliver(_ batch: FakeBatch) -> slu_rc {
    withExtendedLifetime(batch) { calling { kind.pointee.deliver(instance, batch.table, $0) } }
  }
  package func gap(_ gap: inout slu_gap) -> slu_rc {
    withUnsafePointer(to: &gap) { gap in calling { kind.pointee.gap?(instance, gap, $0) ?? SLU_OK } }
  }
  package func flush(deadline: Int64 = 0) -> slu_rc {
    calling { kind.pointee.flush?(instance, deadline, $0) ?? SLU_OK }
  }
  package func drain() -> slu_rc { calling { (kind.pointee.drain ?? kind.pointee.flush)?(instance, 0, $0) ?? SLU_OK } }
  package func stop() -> slu_rc { calling { kind.pointee.stop?(instance, $0) ?? SLU_OK } }
  package func interrupt() { kind.pointee.interrupt?(instance) }
  package func reconfigure(_ config: String) -> slu_rc {
    lending(config) { config in
      calling { kind.pointee.reconfigure?(instance, config, $0) ?? SLU_E_UNSUPPORTED }
    }
  }

  package func destroy() {
    kind.pointee.destroy(instance)
    instance = nil
  }

  private func calling(_ body: (UnsafeMutablePointer<slu_error>) -> slu_rc) -> slu_rc {
    var raw = slu_error()
    let code = body(&raw)
    error = withUnsafeBytes(of: raw.message) { String(decoding: $0.prefix(Int(raw.length)), as: UTF8.self) }
    return code
  }

  private func lending(_ text: String, _ body: (slu_bytes) -> slu_rc) -> slu_rc {
    let bytes = ownedBytes(text)
    defer { UnsafeMutableRawPointer(mutating: bytes.ptr)?.deallocate() }
    return body(bytes)
  }
}
