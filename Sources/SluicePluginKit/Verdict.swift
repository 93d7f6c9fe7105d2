/// What becomes of a message. It can be thrown: by a `MessageSubscriber` for the message at hand, by an `AsyncSubscriber`
/// for what is left of the batch.
public enum Verdict: Error, Sendable, Equatable {
  /// It is done.
  case ack
  /// Deliver it again, after this time or the topology's own backoff, whichever is later.
  case retry(after: Duration = .zero, reason: String = "")
  /// It will never work: to the dead letter stream.
  case reject(code: UInt32 = 0, reason: String)

  /// What an error means for a message; nil where it is about the instance.
  @usableFromInline
  init?(_ error: any Error) {
    switch error {
    case let verdict as Verdict: self = verdict
    case let error as SubscriberError where error.kind != .retryable: return nil
    default: self = .retry(reason: "\(error)")
    }
  }

  var reason: String {
    switch self {
    case .ack: ""
    case .retry(_, let reason), .reject(_, let reason): reason
    }
  }
}

extension Duration {
  /// Milliseconds, of which none is lost.
  var roundedUpMilliseconds: Int64 {
    let (seconds, attoseconds) = components
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1000)
    guard !overflow else { return seconds < 0 ? Int64.min : Int64.max }
    return whole.addingReportingOverflow((attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000).partialValue
  }
}
