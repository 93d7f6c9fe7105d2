/// Whether a source asks who sends.
package enum AuthenticationDemand: Sendable {
  /// Nobody is asked, and what is shown unasked is not looked at.
  case none
  /// Whoever shows something has to show the right thing.
  case optional
  case required
}
