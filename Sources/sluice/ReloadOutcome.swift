import SluiceCore
import SluiceTopology

/// What a reload came to.
struct ReloadOutcome: Sendable {
  enum Kind: String, Sendable, CaseIterable {
    /// The new generation runs.
    case applied
    /// Nothing was touched: the file is wrong, or asks for what only a restart brings.
    case refused
    /// Something of it did not start; what had been done was taken back.
    case failed
    /// It was only asked what would happen.
    case planned
  }

  var kind: Kind
  /// The one that runs now.
  var generation: UInt64
  var plan: ReloadPlan?
  /// Errors and warnings, as `sluice check` prints them.
  var diagnostics: [Diagnostic] = []
  /// Why it failed.
  var failure: String?
  var time = Clock.wall()

  /// The reasons, a line each.
  var reasons: [String] {
    diagnostics.filter { $0.severity == .error }.map { "\($0.position): \($0.message)" }
      + [failure].compactMap(\.self)
  }

  var json: JSONValue {
    [
      "outcome": .string(kind.rawValue), "generation": .count(generation), "time": .string(Timestamp.text(time)),
      "plan": plan?.json ?? .null, "lines": .array((plan?.lines ?? []).map(JSONValue.string)),
      "diagnostics": .array(diagnostics.map { .string($0.rendered()) }),
      "failure": failure.map(JSONValue.string) ?? .null,
    ]
  }
}
