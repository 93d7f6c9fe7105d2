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
    // What is left goes next, or when the peer takes it.
    if !flushing.isEmpty, context?.channel.isWritable == true { needFlush() }
    resume()
    endIfDone()
  }

  /// One frame of small records may be owed many times its size in NACKs: they are written in parts, as the peer takes them.
  private func writeAnswers() {
    let limit = context?.channel.isWritable == true ? Limits.tcpOutputBytes : 0
    var written = 0
    for channel in flushing {
      if out.storageCapacity == 0 { out = loop.takeOutput() }
      guard channel.writeAnswers(&sender, loop.counters, to: &out, upTo: limit) else { break }
      written += 1
      guard channel.life == .closing, channel.pending == 0 else { continue }
      write { $0.close(channel: channel.number, to: &$1) }
      channel.finish()
      channels[Int(channel.number)] = nil
    }
    flushing.removeFirst(written)
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

  /// One connection too many is told so, where that is cheap: without TLS, whose handshake costs more than a refusal, and
  /// while few others are. Else it is closed.
  func turnAway() {
    loop.counters.add(.refused)
    guard loop.settings.options.tls == nil, loop.settings.load.beginTurningAway() else { return cut() }
    isTurnedAway = true
    fail(WireEnd(.busy, retryAfterMilliseconds: Self.retryMilliseconds, text: "too many connections"))
  }

  /// Once the client sends no more, or the daemon goes down: when everything that was taken is answered, BYE.
  func endIfDone() {
    if peerIsDone, life == .lingering { context?.close(promise: nil) }
    guard life == .open, peerIsDone || state == .draining || state == .finishing else { return }
    // What waits for room counts as not taken once the daemon goes down, and was refused then.
    guard pending == 0, claiming == nil, blocked == nil, !(isHeld && rest.readableBytes > 0) else { return }
    writeAnswers()
    guard flushing.isEmpty else { return }
    // The end of file is a BYE that wants no answer.
    if !peerIsDone || state == .finishing { write { $0.end(.bye, WireEnd(), to: &$1) } }
    writeLast()
  }

  /// Draining: takes no more records.
  func goAway() {
    guard life == .open, claiming == nil else { return }
    // Nothing can be written before the end of the handshake.
    guard !awaitsTLS else { return cut() }
    let text = "the server goes down"
    guard !state.isHandshake else {
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
    guard !peerIsDone, lingerSeconds > 0 else { return context.close(promise: nil) }
    life = .lingering
    since = loop.sweeps
    context.close(mode: .output, promise: nil)
    if readIsHeld { releaseRead() }
  }

  /// Whoever waits for a drain waits no longer than for anything else that is the peer's to do.
  private var lingerSeconds: Int {
    let said = loop.settings.options.lingerSeconds
    return loop.isDraining ? min(said, Limits.drainGraceSeconds) : said
  }

  /// The handshake of its TLS goes on.
  var awaitsTLS: Bool { loop.settings.options.tls != nil && !security.isEncrypted }

  /// Draining, at a sweep: whether the connection was cut because everything is answered, and its peer takes no answers.
  private func endsWaiting(_ now: Int) -> Bool {
    guard let context, life == .open || life == .closing else { return false }
    guard life == .closing || (pending == 0 && claiming == nil && blocked == nil) else {
      patience = DrainPatience()
      return false
    }
    guard patience.isOver(at: now, unsent: context.unsentBytes) else { return false }
    cut()
    return true
  }

  func cut() { context?.close(promise: nil) }

  /// Once a second: whether the connection was closed for being too slow.
  func sweep(_ now: Int) -> Bool {
    let options = loop.settings.options
    let age = now - since - 1
    if life == .open, !isSessionCurrent(at: options.clock.wall()) { return false }
    if loop.isDraining, endsWaiting(now) { return true }
    switch life {
    case .open where pending > 0 || claiming != nil || blocked != nil:
      return false
    case .open:
      guard age >= (state.isHandshake ? options.handshakeSeconds : options.idleSeconds) else { return false }
      fail(WireEnd(.idle, retryAfterMilliseconds: Self.retryMilliseconds, text: "nothing came for too long"))
    case .closing:
      guard age >= options.idleSeconds else { return false }
      cut()
    case .lingering:
      if age >= lingerSeconds { cut() }
      return false
    case .closed:
      return false
    }
    return true
  }
}
