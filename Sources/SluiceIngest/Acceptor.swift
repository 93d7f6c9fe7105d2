import Logging
import NIOCore
import SluiceCore
import Synchronization

/// One event loop's part of a source.
protocol SourceLoop: AnyObject, Sendable {
  var eventLoop: any EventLoop { get }
  /// On the loop: answers what is pending and lets go of its connections and its lane; what is left at the limit is cut.
  func drain(within limit: TimeAmount) -> EventLoopFuture<Void>
}

/// The channel that accepts for a source, from its start until it is told to stop, and the order in which a source ends.
final class Acceptor: Sendable {
  private let listener = Mutex<(any Channel)?>(nil)

  func accept(on channel: any Channel) { listener.withLock { $0 = channel } }

  func stop() async {
    let channel = listener.withLock { listener in
      defer { listener = nil }
      return listener
    }
    // A listener that is gone already is what was wanted.
    try? await channel?.close().get()
  }

  func drain(_ loops: [some SourceLoop], within limit: Duration, source: String, logger: Logger) async {
    await stop()
    let nanoseconds = limit.components.seconds * 1_000_000_000 + limit.components.attoseconds / 1_000_000_000
    let limit = TimeAmount.nanoseconds(nanoseconds)
    let drains = loops.map { loop in loop.eventLoop.flatSubmit { loop.drain(within: limit) } }
    for drain in drains {
      do {
        try await drain.get()
      } catch {
        logger.error("draining failed", metadata: ["source": "\(source)", "error": "\(error)"])
      }
    }
  }
}
