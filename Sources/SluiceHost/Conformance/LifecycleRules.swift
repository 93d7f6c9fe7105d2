import CSluice
import Glibc
import SluiceCore

extension ConformanceRule {
  /// Without these nothing can be said of an instance, of a running one, and of one that is given batches.
  static let creatable = readable + ["schema-valid", "create-destroy"]
  static let runnable = creatable + ["start-stop"]
  static let deliverable = runnable + ["takes-batches"]

  static let lifecycle: [ConformanceRule] = [
    ConformanceRule(
      "create-destroy", .lifecycle, needs: readable + ["schema-valid"],
      demand: "An instance can be created and destroyed without having been started.",
      remedy: "Let destroy free what create made, whether start was called or not."
    ) { bench throws(RuleVerdict) in
      for _ in 0..<2 { try bench.created().destroy() }
    }
  ]
}
