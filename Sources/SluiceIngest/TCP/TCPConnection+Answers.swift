import NIOCore
import SluiceCore

/// What goes out, and the connection's end.
extension TCPConnection {
  static let retryMilliseconds = UInt32(Limits.retryAfterSeconds * 1000)

  // MARK: Writing

  /// Appends frames to what the next flush sends.
  func write(_ body: (inout WireSender, inout ByteBuffer) -> Void) {
    if out.storageCapacity == 0 { out = loop.takeOutput() }
    body(&sender, &out)
    needFlush()
  }

  /// Has `flush` called when all of this tick or wake is done.
  func needFlush() {
    guard !needsFlush else { return }
    needsFlush = true
    loop.flushLater(self)
  }

  /// Sends what is owed, then goes on with what was held back meanwhile.
  func flush() {
    guard needsFlush, life == .open, context != nil else { return }
    writeAnswers()
    needsFlush = false
    sendOutput(promise: nil)
    resume()
    endIfDone()
  }

  private func writeAnswers() {
    for channel in flushing {
      if out.storageCapacity == 0 { out = loop.takeOutput() }
      channel.writeAnswers(&sender, loop.counters, to: &out)
      guard channel.life == .closing, channel.pending == 0 else { continue }
      write { $0.close(channel: channel.number, to: &$1) }
      channel.finish()
      channels[Int(channel.number)] = nil
    }
    flushing.removeAll(keepingCapacity: true)
    writeCredit()
  }

  private func sendOutput(promise: EventLoopPromise<Void>?) {
    guard let context, out.readableBytes > 0 || promise != nil else { return }
    let bytes = out
    out = ByteBuffer()
    context.writeAndFlush(wrapOutboundOut(bytes), promise: promise)
    loop.giveBack(output: bytes)
  }

  func resume() {
    guard life == .open, context != nil else { return }
    if !isHeld, rest.readableBytes > 0 { serveRest() }
    // A frame that waited for room may have been the last of it.
    charge()
    if readIsHeld, !isHeld { releaseRead() }
  }

  private func releaseRead() {
    readIsHeld = false
    context?.read()
  }

  // MARK: The end

  /// ERROR, and nothing after it.
  func fail(_ end: WireEnd) {
    guard life == .open else { return }
    if let code = WireErrorCode(rawValue: end.code) { loop.counters.add(code) }
    var end = end
    end.scope = .connection
    write { $0.end(.error, end, to: &$1) }
    writeLast()
  }

  /// Once the client sends no more, or the daemon goes down: when everything that was taken is answered, BYE.
  func endIfDone() {
    if peerIsDone, life == .lingering { context?.close(promise: nil) }
    guard life == .open, peerIsDone || state == .draining || state == .finishing else { return }
    // What waits for room counts as not taken once the daemon goes down, and was refused then.
    guard pending == 0, claiming == nil, blocked == nil, !(isHeld && rest.readableBytes > 0) else { return }
    writeAnswers()
    // The end of file is a BYE that wants no answer.
    if !peerIsDone || state == .finishing { write { $0.end(.bye, WireEnd(), to: &$1) } }
    writeLast()
  }

  /// Draining: takes no more records.
  func goAway() {
    guard life == .open, claiming == nil else { return }
    let text = "the server goes down"
    guard state != .start else {
      return fail(WireEnd(.draining, retryAfterMilliseconds: Self.retryMilliseconds, text: text))
    }
    guard state == .open else { return }
    state = .draining
    write { $0.end(.goaway, WireEnd(.draining, retryAfterMilliseconds: Self.retryMilliseconds, text: text), to: &$1) }
    // Draining refuses what waited for room.
    retryBlocked()
  }

  /// What was written is the end of the connection.
  private func writeLast() {
    guard let context else { return }
    life = .closing
    since = loop.sweeps
    finishChannels()
    drop()
    let written = context.eventLoop.makePromise(of: Void.self)
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    written.futureResult.whenComplete { _ in bound.value.lastFrameIsWritten() }
    sendOutput(promise: written)
  }

  private func lastFrameIsWritten() {
    guard let context, life == .closing else { return }
    guard !peerIsDone else { return context.close(promise: nil) }
    life = .lingering
    since = loop.sweeps
    context.close(mode: .output, promise: nil)
    if readIsHeld { releaseRead() }
  }

  func cut() { context?.close(promise: nil) }

  /// Once a second: whether the connection was closed for being too slow.
  func sweep(_ now: Int) -> Bool {
    let options = loop.settings.options
    let age = now - since - 1
    switch life {
    case .open where pending > 0 || claiming != nil || blocked != nil:
      return false
    case .open:
      guard age >= (state == .start ? options.handshakeSeconds : options.idleSeconds) else { return false }
      fail(WireEnd(.idle, retryAfterMilliseconds: Self.retryMilliseconds, text: "nothing came for too long"))
    case .closing:
      guard age >= options.idleSeconds else { return false }
      cut()
    case .lingering:
      if age >= Limits.tcpLingerSeconds { cut() }
      return false
    case .closed:
      return false
    }
    return true
  }
}
