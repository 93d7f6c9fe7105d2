import CSluice
import SluiceCore

/// A kind of subscriber whose code is in the process, checked and ready to make instances.
///
/// `@unchecked Sendable`: everything is set once, in `init`; the tables that it points to are static and immutable as
/// the ABI demands, and are never unmapped.
package final class LoadedPlugin: @unchecked Sendable {
  package let kind: String
  package let summary: String
  package let schemaJSON: String
  package let outputs: [String]
  package let moduleName: String
  package let version: String
  package let vendor: String
  /// The language runtime that it brings or shares.
  package let runtime: String
  package let abi: String
  /// Where it was found, free of symbolic links, and the copy that is loaded.
  package let path: String
  package let loadedPath: String
  fileprivate let file: FileIdentity
  /// Signals whose handlers it changed when it was loaded; they were put back.
  package let changedSignals: [Int32]

  /// What it would like where the topology says nothing; 0 = no wish.
  package struct Wants: Equatable, Sendable {
    package var records: UInt32
    package var bytes: UInt32
    package var lingerMilliseconds: UInt32
    package var maxInflight: UInt32
    package var ackDeadlineMilliseconds: UInt32
  }
  package let wants: Wants
  package let isExclusive: Bool
  /// Two generations of it may not be told apart in one process.
  let mayHaveRetroactive: Bool
  /// Why it must not share a process with the daemon; nil: it may.
  package let reasonForOwnProcess: String?
  package var needsOwnProcess: Bool { reasonForOwnProcess != nil }

  /// What its processes load.
  private let kept: KeptModule?
  let table: slu_subscriber
  let original: UnsafePointer<slu_subscriber>

  /// It runs in processes of its own: its code is not in this one.
  package let isIsolated: Bool

  init(
    _ kind: KindDescription, of module: ModuleDescription, image: ModuleImage, path: String, file: FileIdentity,
    loadedPath: String
  ) {
    isIsolated = false
    kept = nil
    self.kind = kind.kind
    summary = kind.summary
    schemaJSON = kind.schemaJSON
    outputs = kind.outputs
    moduleName = module.name
    version = module.version
    vendor = module.vendor
    runtime = module.runtime
    abi = "\(image.major.number).\(module.abiMinor)"
    self.path = path
    self.file = file
    self.loadedPath = loadedPath
    changedSignals = image.changedSignals
    table = kind.table
    original = kind.original
    wants = Wants(table)
    isExclusive = table.flags & UInt32(SLU_F_EXCLUSIVE) != 0
    mayHaveRetroactive = LoadedPlugin.mayHaveRetroactive(module.runtime, loadedPath)
    reasonForOwnProcess = LoadedPlugin.reasonForOwnProcess(flags: table.flags, runtime: module.runtime)
  }

  /// One that runs in processes of its own.
  init(
    _ kind: RemoteDescription.Kind, of module: RemoteDescription, path: String, file: FileIdentity, kept: KeptModule,
    runner: String
  ) {
    isIsolated = true
    let description = IsolatedModule.description(
      of: kind, path: kept.path, keptBy: kept, name: path, runner: runner)
    self.kind = kind.kind
    summary = kind.summary
    schemaJSON = kind.schemaJSON
    outputs = kind.outputs
    moduleName = module.name
    version = module.version
    vendor = module.vendor
    runtime = module.runtime
    abi = "\(module.major).\(module.abiMinor)"
    self.path = path
    self.file = file
    loadedPath = kept.path
    changedSignals = []
    table = description.table
    original = description.original
    wants = kind.wants
    isExclusive = table.flags & UInt32(SLU_F_EXCLUSIVE) != 0
    mayHaveRetroactive = LoadedPlugin.mayHaveRetroactive(module.runtime, kept.path)
    reasonForOwnProcess = LoadedPlugin.reasonForOwnProcess(flags: table.flags, runtime: module.runtime)
    self.kept = kept
  }
}

extension LoadedPlugin {
  /// Whether both were loaded from one file that was not replaced in between, wherever their code runs.
  package func isOfSameFile(as other: LoadedPlugin) -> Bool { file == other.file }

  /// Looked at while the copy is there. A module that brings its own runtime is by itself.
  static func mayHaveRetroactive(_ runtime: String, _ copy: String) -> Bool {
    runtime.hasPrefix("swift-") && runtime.hasSuffix(" dynamic") && SwiftConformances.mayHaveRetroactive(copy)
  }

  /// What is said when a thread that runs its code in the daemon crashes.
  func lastWords(of subscriber: String) -> String {
    "sluice: a crash in the code of plugin \(path), of subscriber \(subscriber). "
      + "With `isolation: process` it would have ended a process of its own only.\n"
  }

  static func reasonForOwnProcess(flags: UInt32, runtime: String) -> String? {
    flags & UInt32(SLU_F_PROCESS_ONLY) != 0 ? "it says that it must not share one" : ModuleRuntime.conflict(runtime)
  }
}

// MARK: Validation

/// One thing that a plugin says about its config.
package struct PluginFinding: Equatable, Sendable {
  package enum Severity: String, Sendable { case error, warning }
  package var severity: Severity
  /// JSON Pointer into the config; "" is all of it.
  package var pointer: String
  package var text: String

  package init(_ severity: Severity, pointer: String, text: String) {
    self.severity = severity
    self.pointer = pointer
    self.text = text
  }
}

extension LoadedPlugin {
  /// Lets the plugin check what its schema can't say. `configJSON` has passed the schema, with defaults applied. `user`: who is
  /// to run it, if it runs in processes of its own; nil for the daemon's own.
  package func validate(configJSON: String, as user: String? = nil) -> [PluginFinding] {
    guard let validate = table.validate else { return [] }
    let collector = FindingCollector()
    let rc = configJSON.withBytes { config in
      withExtendedLifetime(collector) {
        let context = Unmanaged.passUnretained(collector).toOpaque()
        return isIsolated
          ? IsolatedModule.validate(original, config, as: user, collectFinding, context)
          : validate(original, config, collectFinding, context)
      }
    }
    let told = collector.findings.contains { $0.severity == .error }
    switch ReturnCode(rc) {
    case .ok: return collector.findings
    case .config where told: return collector.findings
    case .config:
      return collector.findings + [
        PluginFinding(.error, pointer: "", text: "plugin \(kind) refuses this config without saying why")
      ]
    case let code:
      return collector.findings + [
        PluginFinding(.error, pointer: "", text: "plugin \(kind) could not check this config (\(code.name))")
      ]
    }
  }
}

private final class FindingCollector {
  var findings: [PluginFinding] = []
}

/// The `slu_diagnose` that every `validate` gets. It runs on the thread that called `validate`, inside that call.
private func collectFinding(_ context: UnsafeMutableRawPointer?, severity: UInt32, pointer: slu_bytes, text: slu_bytes)
{
  guard let context else { return }
  let collector = Unmanaged<FindingCollector>.fromOpaque(context).takeUnretainedValue()
  guard collector.findings.count < Limits.maxPluginFindings else { return }
  collector.findings.append(
    PluginFinding(
      severity == UInt32(SLU_DIAGNOSE_WARNING) ? .warning : .error,
      pointer: pointer.text(limit: Limits.maxPluginTextBytes),
      text: text.text(limit: Limits.maxPluginTextBytes)))
}
