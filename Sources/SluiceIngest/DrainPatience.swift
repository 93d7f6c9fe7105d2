import NIOCore
import SluiceCore

/// What a source that is being drained has seen of a peer, once a second, since it owes it nothing more that it could give:
/// it waits on only while the peer takes answers, or sends a good part of what it has begun.
struct DrainPatience {
  /// The sweep at which the peer had done so last; −1: it was not looked at yet.
  private var movedAt = -1
  private var unsent = 0
  private var held = 0

  /// `unsent`: bytes of answers that the peer has left. `held`: those that are there of its unfinished request.
  mutating func isOver(at sweep: Int, unsent: Int, held: Int = 0) -> Bool {
    let moves = unsent < self.unsent || held - self.held >= Limits.drainFlowBytes
    if movedAt < 0 || moves { movedAt = sweep }
    (self.unsent, self.held) = (unsent, held)
    return sweep - movedAt >= Limits.drainGraceSeconds
  }
}

extension ChannelHandlerContext {
  /// Bytes that were written and that the kernel did not take yet.
  var unsentBytes: Int {
    do {
      return try channel.syncOptions?.getOption(.bufferedWritableBytes) ?? 0
    } catch {
      // It is closed.
      return 0
    }
  }
}
