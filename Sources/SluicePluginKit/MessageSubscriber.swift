/// A subscriber that takes one message after the other. What `handle` throws becomes that message's verdict:
///
///     final class Poster: MessageSubscriber {
///       static let kind = "poster"
///       static let summary = "Posts each record."
///       private let client: Client
///
///       init(_ configuration: PosterConfiguration, host: Host) throws { client = Client(configuration.url) }
///
///       func handle(_ message: borrowing Message) throws {
///         switch client.post(message.payload) {
///         case 200: return
///         case 429: throw Verdict.retry(after: .seconds(5), reason: "the server is busy")
///         case let status: throw Verdict.reject(code: UInt32(status), reason: "the server refuses it")
///         }
///       }
///     }
///
/// Any other error is a retry with the error as its reason, and the next message follows. A `SubscriberError` other than
/// `.retryable` is about the instance: verdicts so far stand, the rest of the batch is delivered again.
///
/// What `handle` returned from is acknowledged, so it must be safe by then. A verdict is told to the daemon for a run of
/// messages at a time; nothing is allocated for a message that is done. The other functions are those of `Subscriber`; where
/// `handle` may wait, `interrupt` makes it throw a `SubscriberError` that is `.timeout`.
public protocol MessageSubscriber: Subscriber {
  /// What `handle` throws.
  associatedtype Failure: Error = any Error

  /// Takes one message. Returning acknowledges it.
  func handle(_ message: borrowing Message) throws(Failure)
}

extension MessageSubscriber {
  /// Has each message handled. Inlinable, so that the loop is made for the plugin's own `handle`.
  @inlinable
  public func deliver(_ batch: borrowing Batch) throws -> Delivery {
    var start = 0
    var run = Verdict.ack
    for index in 0..<batch.count {
      var verdict = Verdict.ack
      do throws(Failure) {
        try batch.withMessage(at: index) { message throws(Failure) in try handle(message) }
      } catch {
        guard let said = Verdict(error) else {
          batch.settle(start..<index, run)
          throw error
        }
        verdict = said
      }
      guard verdict != run else { continue }
      batch.settle(start..<index, run)
      (start, run) = (index, verdict)
    }
    // What has no verdict when a batch is done is acknowledged.
    if run != .ack { batch.settle(start..<batch.count, run) }
    return .done
  }
}
