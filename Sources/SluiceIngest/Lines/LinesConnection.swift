// One connection that sends lines. It is never written to.
//
//   open ──► ended ──► gone      open    bytes come; whole lines are appended straight from the receive buffer, what is
//     │        ▲                         left is kept (`rest`)
//     └────────┴─────► gone      ended   the peer has sent its last byte, or the connection is cut: what is left is taken,
//                                        then the connection is closed
//                                gone    no channel; lines that were received whole still wait for room
//
// A full stream pauses the connection: it is read no further, so that the peer's window closes. A line counts as received
// when its LF has come, or the end of the stream in order; what a reset cuts off is dropped and counted.

import NIOCore
import SluiceCore

/// Confined to the loop of its channel.
final class LinesConnection: ChannelInboundHandler, ChannelOutboundHandler, RoomWaiter {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer

  private enum Life { case open, ended, gone }

  let loop: LinesLoop
  /// Where the loop keeps this connection; −1 once it doesn't.
  var index = -1
  var place = -1
  private var context: ChannelHandlerContext?
  private var splitter: FrameSplitter
  /// The text of the peer's address.
  private var sender: [UInt8] = []
  private(set) var rest = ByteBuffer()
  private var held = HeldInput()
  private var life = Life.open
  private var isPaused = false
  private var readIsHeld = false
  /// The sweep at which bytes came last.
  private var since = 0

  init(loop: LinesLoop) {
    self.loop = loop
    splitter = FrameSplitter(maxBytes: loop.settings.maxBytes, countsOctets: loop.settings.options.isSyslog)
  }

  // MARK: Channel events

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    if loop.settings.options.isSyslog { sender = Array(PeerAddress.plain(context.remoteAddress?.ipAddress ?? "").utf8) }
    since = loop.sweeps
    loop.add(self)
  }

  func handlerRemoved(context: ChannelHandlerContext) { lose() }

  func channelInactive(context: ChannelHandlerContext) {
    lose()
    context.fireChannelInactive()
  }

  func channelActive(context: ChannelHandlerContext) {
    if loop.settings.load.isOver(loop.settings.options.maxConnections) {
      loop.counters.add(.refused)
      context.close(promise: nil)
    } else if loop.isDraining {
      context.close(promise: nil)
    }
    context.fireChannelActive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // The peer reset the connection, or the like: nobody is left to be told.
    context.close(promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    guard life == .open else { return }
    since = loop.sweeps
    loop.counters.add(.bytes, bytes.readableBytes)
    if rest.readableBytes == 0 {
      take(&bytes)
      if bytes.readableBytes > 0 {
        // Copied into a buffer of its size, so that the receive buffer goes back to its pool.
        rest = context.channel.allocator.buffer(capacity: bytes.readableBytes)
        rest.writeImmutableBuffer(bytes)
      }
    } else {
      rest.writeBuffer(&bytes)
      takeRest()
    }
    charge()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed, life == .open {
      life = .ended
      goOn()
    }
    context.fireUserInboundEventTriggered(event)
  }

  func read(context: ChannelHandlerContext) {
    if isPaused { readIsHeld = true } else { context.read() }
  }

  // MARK: Lines

  private func takeRest() {
    take(&rest)
    rest.discardReadBytes()
  }

  /// Appends every whole line and moves the reader index behind the last one.
  private func take(_ bytes: inout ByteBuffer) {
    guard !isPaused else { return }
    splitter.maxBytes = loop.settings.maxBytes
    let taken = bytes.withUnsafeReadableBytes { all in
      var at = 0
      while true {
        switch splitter.next(all, from: at) {
        case .line(let range, let next):
          guard loop.append(UnsafeRawBufferPointer(rebasing: all[range]), from: sender) else {
            pause()
            return at
          }
          at = next
        case .tooLong(let next):
          loop.counters.add(.tooLarge)
          at = next
        case .skipped(let next):
          at = next
        case .more(let keep):
          return keep
        }
      }
    }
    bytes.moveReaderIndex(forwardBy: taken)
  }

  /// What stands behind the last LF.
  private func takeLast() {
    guard !isPaused else { return }
    let isTaken = rest.withUnsafeReadableBytes { all in
      switch splitter.last(all, from: 0) {
      case .line(let range, _): return loop.append(UnsafeRawBufferPointer(rebasing: all[range]), from: sender)
      case .tooLong: loop.counters.add(.tooLarge)
      case .more(let keep): if keep < all.count { loop.counters.add(.unfinished) }
      case .skipped: break
      }
      return true
    }
    if isTaken { rest.clear() } else { pause() }
  }

  private func pause() {
    isPaused = true
    guard place < 0 else { return }
    loop.counters.add(.pauses)
    loop.waitingRoom.enter(self, for: .max)
  }

  /// After a pause, or at the end.
  private func goOn() {
    takeRest()
    if life == .ended { takeLast() }
    charge()
    guard !isPaused else { return }
    loop.waitingRoom.leave(self)
    switch life {
    case .open:
      if loop.isDraining { return close() }
      guard readIsHeld else { return }
      readIsHeld = false
      context?.read()
    case .ended: close()
    case .gone: forget()
    }
  }

  func tryAgain() {
    isPaused = false
    goOn()
  }

  func giveUp() { tryAgain() }

  /// What is held counts against the source's budgets: beyond one of them, whoever holds more than a little is cut.
  private func charge() {
    let settings = loop.settings
    guard
      held.isTooMuch(
        &rest, isWaiting: isPaused, in: settings.load, limit: settings.options.maxHeldBytes,
        uncontested: Limits.uncontestedLineBytes)
    else { return }
    dropRest(as: .memory)
    end()
  }

  /// Counts the lines that are still held, and forgets them.
  private func dropRest(as reason: LineCounters.Cell) {
    var at = 0
    rest.withUnsafeReadableBytes { all in
      counting: while true {
        switch splitter.next(all, from: at) {
        case .line(_, let next):
          loop.counters.add(reason)
          at = next
        case .tooLong(let next):
          loop.counters.add(.tooLarge)
          at = next
        case .skipped(let next): at = next
        case .more(let keep):
          at = keep
          break counting
        }
      }
    }
    if at < rest.readableBytes { loop.counters.add(reason == .memory ? .memory : .unfinished) }
    held.drop(&rest, from: loop.settings.load)
    isPaused = false
    loop.waitingRoom.leave(self)
  }

  // MARK: Closing

  private func close() { context?.close(promise: nil) }

  /// Takes nothing more: over TLS bytes come until the channel is gone, which is later.
  private func end() {
    if life == .open { life = .ended }
    close()
  }

  /// The channel is gone; lines that wait for room stay until they are stored.
  private func lose() {
    guard context != nil else { return }
    context = nil
    life = .gone
    if !isPaused { forget() }
  }

  private func forget() {
    dropRest(as: .unfinished)
    loop.remove(self)
  }

  /// Draining: nothing more is read, what waits for room may still find it.
  func closeUnlessPaused() {
    if !isPaused { close() }
  }

  /// The end of draining.
  func cut() {
    dropRest(as: .closing)
    if life == .gone { loop.remove(self) } else { end() }
  }

  /// Once a second: whether the connection was closed for being silent.
  func sweep(_ now: Int) -> Bool {
    guard life == .open, !isPaused, now - since - 1 >= loop.settings.options.idleSeconds else { return false }
    close()
    return true
  }
}
