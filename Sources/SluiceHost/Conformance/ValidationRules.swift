import CSluice
import Glibc
import SluiceCore
import Synchronization

extension ConformanceRule {
  private static let validated = configurable + ["validate-takes-config"]
  private static let fuzzed = validated + ["validate-good-configs"]

  static let validation: [ConformanceRule] = [
    ConformanceRule(
      "validate-takes-config", .validate, needs: configurable,
      demand: "validate finds no error in the config that is given, or in the schema's defaults.",
      remedy: "Give a good config with --config, or correct what validate refuses."
    ) { bench throws(RuleVerdict) in
      guard let answer = try bench.validate(try bench.config()) else { return }
      guard answer.rc == SLU_OK else { throw .fail(answer.sentence) }
    },
    ConformanceRule(
      "validate-good-configs", .validate, needs: validated,
      demand: "validate comes back from every config that the schema takes, with SLU_OK or SLU_E_CONFIG.",
      remedy: "Read no further than the config's length, and refuse by diagnose and SLU_E_CONFIG."
    ) { bench throws(RuleVerdict) in
      for config in try bench.fuzz().good {
        guard let answer = try bench.validate(config) else { return }
        guard answer.rc == SLU_OK || answer.rc == SLU_E_CONFIG else { throw .fail(answer.sentence) }
      }
    },
    ConformanceRule(
      "validate-broken-configs", .validate, needs: fuzzed,
      demand:
        "validate comes back from configs with wrong types, missing or extra keys, huge strings, or no JSON at all.",
      remedy: "Check every type before using a value, and bound how deep a parser goes."
    ) { bench throws(RuleVerdict) in
      for config in try bench.fuzz().broken + ConfigFuzz.nonsense { _ = try bench.validate(config) }
    },
    ConformanceRule(
      "validate-consistent", .validate, needs: fuzzed + ["validate-broken-configs"],
      demand: "validate answers SLU_E_CONFIG when it told an error, and only then.",
      remedy: "Return SLU_E_CONFIG exactly if diagnose was called with SLU_DIAGNOSE_ERROR."
    ) { bench throws(RuleVerdict) in
      let fuzz = try bench.fuzz()
      for config in fuzz.good + fuzz.broken {
        let answer = try bench.validating(config)
        let isTold = answer.findings.contains { $0.severity != SLU_DIAGNOSE_WARNING }
        guard isTold == (answer.rc == SLU_E_CONFIG) || answer.rc < SLU_E_CONFIG else {
          throw .fail("\(answer.sentence), having told \(isTold ? "an error" : "no error")")
        }
      }
    },
    ConformanceRule(
      "validate-deterministic", .validate, needs: fuzzed,
      demand: "validate says the same of the same config every time.",
      remedy: "Keep no state between calls, and look at nothing but the config."
    ) { bench throws(RuleVerdict) in
      let configs = try bench.fuzz().good
      let first = try configs.map { config throws(RuleVerdict) in try bench.validating(config) }
      for (before, config) in zip(first, configs) {
        let again = try bench.validating(config)
        guard again.rc == before.rc, again.findings == before.findings else {
          throw .fail("\(before.sentence), and the second time: \(again.sentence)")
        }
      }
    },
    ConformanceRule(
      "validate-pure", .validate, needs: fuzzed,
      demand: "validate starts no thread, opens nothing, and changes nothing of the process.",
      remedy: "Leave what touches the world to start."
    ) { bench throws(RuleVerdict) in
      let configs = try bench.fuzz().good
      // What a language's runtime sets up at its first use is not the plugin's doing.
      for config in configs.prefix(2) { _ = try bench.validating(config) }
      let before = ProcessSnapshot()
      for config in configs { _ = try bench.validating(config) }
      if let difference = ProcessSnapshot().differences(since: before).first { throw .fail(difference) }
    },
    ConformanceRule(
      "validate-in-call", .validate, needs: fuzzed,
      demand: "validate tells its findings on the thread that called it and before it returns.",
      remedy: "Call diagnose inside of validate only, and keep neither it nor its context."
    ) { bench throws(RuleVerdict) in
      for config in try bench.fuzz().good {
        let answer = try bench.validating(config)
        if answer.isToldElsewhere { throw .fail("diagnose was called on another thread") }
      }
      bench.pause(Limits.conformanceQuietNanoseconds)
      if FindingLog.late.load(ordering: .acquiring) > 0 {
        throw .fail("diagnose was called after validate had returned")
      }
    },
    ConformanceRule(
      "findings-readable", .validate, needs: fuzzed,
      demand: "Findings have a known severity, a JSON Pointer into the config, and a text in UTF-8.",
      remedy: "Point to the value with \"/name/0\", or with \"\" to all of the config."
    ) { bench throws(RuleVerdict) in
      for config in try bench.fuzz().good {
        for finding in try bench.validating(config).findings {
          if let fault = finding.fault { throw .fail("\(fault), for \(config.shownAsConfig)") }
        }
      }
    },
  ]
}

/// What one call of `validate` did.
struct ValidateAnswer {
  var config: String
  var rc: slu_rc
  var findings: [FindingLog.Finding]
  var isToldElsewhere: Bool

  var sentence: String {
    let said = findings.first.map { ": \($0.shown)" } ?? ""
    return "validate answered \(Answer(call: "", rc: rc, text: "").name) for \(config.shownAsConfig)\(said)"
  }
}

/// Takes what `diagnose` is told. One for each call, kept for ever: a plugin may call late.
///
/// `@unchecked Sendable`: `thread` is set in `init`; the rest is locked.
final class FindingLog: @unchecked Sendable {
  struct Finding: Equatable, Sendable {
    var severity: UInt32
    var pointer: [UInt8]
    var text: [UInt8]

    var shown: String { String(decoding: text, as: UTF8.self) }

    var fault: String? {
      guard let pointer = String(validating: pointer, as: UTF8.self), let text = String(validating: text, as: UTF8.self)
      else { return "a finding is not UTF-8: \(shown)" }
      if text.isEmpty { return "a finding has no text" }
      if !(1...2).contains(severity) { return "a finding has the severity \(severity)" }
      guard pointer.isEmpty || pointer.hasPrefix("/") else {
        return "a finding points to \"\(pointer)\", no JSON Pointer"
      }
      return nil
    }
  }

  static let late = Atomic<Int>(0)
  private struct State {
    var isOpen = true
    var findings: [Finding] = []
    var isElsewhere = false
  }
  private let state = Mutex(State())
  private let thread = pthread_self()

  func tell(_ severity: UInt32, _ pointer: slu_bytes, _ text: slu_bytes) {
    let isOwn = pthread_equal(pthread_self(), thread) != 0
    let finding = Finding(
      severity: severity, pointer: Array(pointer.raw(limit: Limits.maxPluginTextBytes)),
      text: Array(text.raw(limit: Limits.maxPluginTextBytes)))
    state.withLock { state in
      if !isOwn { state.isElsewhere = true }
      guard state.isOpen else {
        FindingLog.late.wrappingAdd(1, ordering: .acquiringAndReleasing)
        return
      }
      if state.findings.count < Limits.maxPluginFindings { state.findings.append(finding) }
    }
  }

  func close() -> (findings: [Finding], isElsewhere: Bool) {
    state.withLock { state in
      state.isOpen = false
      return (state.findings, state.isElsewhere)
    }
  }
}

extension RuleBench {
  /// Nil when the kind has no `validate`.
  func validate(_ config: String) throws(RuleVerdict) -> ValidateAnswer? {
    let kind = try kind()
    guard let validate = kind.table.validate else { return nil }
    phase("validate of \(config.shownAsConfig)")
    let log = FindingLog()
    let context = Unmanaged.passRetained(log).toOpaque()
    let rc = config.withBytes { config in
      validate(
        kind.original, config,
        { context, severity, pointer, text in
          guard let context else { return }
          Unmanaged<FindingLog>.fromOpaque(context).takeUnretainedValue().tell(severity, pointer, text)
        }, context)
    }
    let told = log.close()
    return ValidateAnswer(config: config, rc: rc, findings: told.findings, isToldElsewhere: told.isElsewhere)
  }

  /// The same, for rules that are about it.
  func validating(_ config: String) throws(RuleVerdict) -> ValidateAnswer {
    guard let answer = try validate(config) else { throw .skip("it has no validate: what passes the schema is good") }
    return answer
  }
}
