import Logging
import SluiceIdentity

extension Logger {
  /// Somebody was not let in; of many refusals one is told.
  func notice(refusal: RefusalLog.Refusal) {
    var fields: Metadata = [
      "source": "\(refusal.source)", "address": "\(refusal.address)", "reason": "\(refusal.reason)",
    ]
    if !refusal.identity.isEmpty { fields["identity"] = "\(refusal.identity)" }
    if refusal.untold > 0 { fields["more_before"] = "\(refusal.untold)" }
    notice("refused", metadata: fields)
  }
}
