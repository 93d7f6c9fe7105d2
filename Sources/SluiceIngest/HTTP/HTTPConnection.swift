// One connection: bytes in, requests to the routes, answers out in the order of the requests.
//
//   open ──► closing ──► lingering ──► closed
//     open       requests are parsed straight from the receive buffer; what is left of one is kept (`rest`), so an
//                idle connection holds no buffer.
//     closing    the last answer is decided (`Connection: close`, a refusal, a timeout); input is dropped.
//     lingering  the last answer is written and the output is shut; input is dropped until the peer closes or
//                `lingerSeconds` pass. Only after a refusal: closing at once would reset the connection
//                under the answer. Otherwise `closing` goes to `closed`.
//
// Reading stops while `maxPipelinedRequests` wait for answers, those that are made are many bytes, the peer takes none, a request
// waits for room in the stream, or a compressed one for the loop's next turn (`isHeld`); nothing is parsed meanwhile. A request
// that waits stays in `rest` and is parsed anew when it is its turn.

import NIOCore
import SluiceCore

/// Confined to the loop of its channel. What every request touches is `@exclusivity(unchecked)`: each access is a load,
/// a store, or a call into a value that cannot reach back here, so none can overlap another on the one thread.
final class HTTPConnection: ChannelDuplexHandler, RoomWaiter, SecuredConnection {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  enum Life { case open, closing, lingering, closed }

  let loop: HTTPLoop
  /// Where the loop keeps this connection; −1 once it doesn't.
  var index = -1
  @exclusivity(unchecked) private(set) var context: ChannelHandlerContext?
  @exclusivity(unchecked) var parser: HTTPRequestParser
  @exclusivity(unchecked) private(set) var rest = ByteBuffer()
  @exclusivity(unchecked) private var held = HeldInput()
  @exclusivity(unchecked) var life = Life.open
  /// Requests whose answers wait in the loop's queue.
  @exclusivity(unchecked) private(set) var waiting = 0
  @exclusivity(unchecked) private var needsFlush = false
  /// Bytes of answers that wait in the loop's queue, but for the short plain ones, and of those that are not flushed.
  @exclusivity(unchecked) private var queuedBytes = 0
  @exclusivity(unchecked) private var unflushedBytes = 0
  /// Where the waiting room keeps this connection; −1 once it doesn't.
  @exclusivity(unchecked) var place = -1
  /// The next request waits for room, so much of it, or has waited long enough.
  @exclusivity(unchecked) var isBlocked = false
  var wantedRoom = WantedRoom()
  /// The next request is compressed, and this turn of the loop has expanded enough.
  @exclusivity(unchecked) var isYielding = false
  @exclusivity(unchecked) var givesUp = false
  private var readIsHeld = false
  private var peerIsDone = false
  var lingers = false
  /// Counted by the source's load as one that is being turned away.
  var isTurnedAway = false
  var continueIsSent = false
  /// Bytes still to come of a body that nobody wants.
  @exclusivity(unchecked) var unwantedBytes = 0
  /// The sweep at which what the connection does now began.
  @exclusivity(unchecked) var since = 0
  var patience = DrainPatience()

  /// Set before the first request's bytes come.
  package var security = ConnectionSecurity.plain
  @exclusivity(unchecked) var authorization = HTTPAuthorization()

  init(loop: HTTPLoop) {
    self.loop = loop
    parser = HTTPRequestParser(limits: loop.settings.limits, stopsBeforeBodies: true)
  }

  // MARK: Channel events

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    since = loop.sweeps
    loop.add(self)
  }

  func handlerRemoved(context: ChannelHandlerContext) { forget() }

  func channelInactive(context: ChannelHandlerContext) {
    forget()
    context.fireChannelInactive()
  }

  func channelActive(context: ChannelHandlerContext) {
    if loop.settings.load.isOver(loop.settings.options.maxConnections) {
      turnAway()
    } else if loop.isDraining {
      // Accepted just before the listener was closed.
      context.close(promise: nil)
    }
    context.fireChannelActive()
  }

  private func forget() {
    life = .closed
    context = nil
    loop.waitingRoom.leave(self)
    drop()
    loop.remove(self)
    if isTurnedAway { loop.settings.load.endTurningAway() }
    isTurnedAway = false
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // The peer reset the connection, or the like: nobody is left to be told.
    context.close(promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    guard life == .open else { return }
    loop.counters.received(bytes: bytes.readableBytes)
    if rest.readableBytes == 0 {
      serve(&bytes)
      if life == .open, bytes.readableBytes > 0 {
        // Copied into a buffer of its size, so that the receive buffer goes back to its pool.
        rest = context.channel.allocator.buffer(capacity: bytes.readableBytes)
        rest.writeImmutableBuffer(bytes)
      }
    } else {
      rest.writeBuffer(&bytes)
      serveRest()
    }
    charge()
  }

  /// What is held counts against the source's budgets. Beyond that of unfinished requests, whoever adds more than a little is
  /// refused; beyond that of waiting ones, it waits no longer.
  private func charge() {
    let settings = loop.settings
    while held.isTooMuch(&rest, isWaiting: isBlocked, in: settings.load, limit: settings.options.maxHeldBytes),
      life == .open
    {
      guard isBlocked else {
        loop.counters.rejected(.memory)
        refuse(
          .unavailable, code: "too_much_unfinished", detail: "too many requests are unfinished; send this one again")
        return drop()
      }
      givesUp = true
      isBlocked = false
      serveRest()
    }
  }

  private func drop() { held.drop(&rest, from: loop.settings.load) }

  func channelReadComplete(context: ChannelHandlerContext) {
    if waiting == 0 { flushAnswers() }
  }

  func read(context: ChannelHandlerContext) {
    if isHeld { readIsHeld = true } else { context.read() }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable { resume() }
    context.fireChannelWritabilityChanged()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed {
      peerIsDone = true
      closeIfDone()
    }
    context.fireUserInboundEventTriggered(event)
  }

  // MARK: Requests

  private var isHeld: Bool {
    isBlocked || isYielding || waiting >= loop.settings.options.maxPipelinedRequests
      || queuedBytes + unflushedBytes >= Limits.maxUnsentAnswerBytes || context?.channel.isWritable == false
  }

  private func serveRest() {
    // Taken out meanwhile: an answer that fails may close the connection, which empties `rest`.
    var bytes = rest
    rest = ByteBuffer()
    serve(&bytes)
    guard life == .open, bytes.readableBytes > 0 else { return }
    bytes.discardReadBytes()
    rest = bytes
  }

  /// Serves every whole request in `bytes` and moves the reader index behind the last one.
  private func serve(_ bytes: inout ByteBuffer) {
    var served = 0
    bytes.withUnsafeReadableBytes { all in
      while life == .open, !isHeld {
        served += passOver(all.count - served)
        let unread = UnsafeRawBufferPointer(rebasing: all[served...])
        let hadBegun = parser.isMidRequest
        let wasInBody = parser.isInBody
        switch parser.parse(unread) {
        case .request(let request):
          guard request.head.coding == .identity || loop.turns.mayExpand else {
            yield()
            break
          }
          guard serve(request, unread) else {
            block()
            break
          }
          served += request.consumed
          continueIsSent = false
          since = loop.sweeps
          loop.waitingRoom.leave(self)
          givesUp = false
        case .head:
          guard let refusal = admit(parser.head, unread) else { continue }
          served += refuseBody(refusal)
        case .needMore:
          if hadBegun != parser.isMidRequest || wasInBody != parser.isInBody { since = loop.sweeps }
          sendContinueIfAwaited(unread.count)
          return
        case .refused(let refusal):
          loop.counters.rejected(.malformed)
          refuse(HTTPStatus(refusal), code: "\(refusal.code)", detail: "\(refusal.reason)")
          return
        }
      }
    }
    bytes.moveReaderIndex(forwardBy: served)
  }

  // MARK: Answers

  /// What the head says about the connection, unless the daemon is going down.
  func persistence(_ head: HTTPRequestHead) -> HTTPPersistence {
    guard head.keepAlive, !loop.isDraining else { return .close }
    return head.minorVersion == 1 ? .implied : .announced
  }

  /// `202` once the record that was appended last is durable.
  func answerAccepted(_ persistence: HTTPPersistence) {
    guard case .implied = persistence else {
      let response = HTTPResponse(status: .accepted, bytes: loop.responses.accepted(persistence))
      return answerWhenDurable(response, persistence)
    }
    waiting += 1
    loop.answerAccepted(self)
  }

  /// Any other answer that says what the log has: once that is durable.
  func answerWhenDurable(_ response: HTTPResponse, _ persistence: HTTPPersistence) {
    if case .close = persistence { life = .closing }
    enqueue(response)
  }

  /// Any other answer: at once if none waits before it.
  func answer(_ response: HTTPResponse, _ persistence: HTTPPersistence) {
    if case .close = persistence { life = .closing }
    if waiting == 0 {
      finish(response, closes: life == .closing)
    } else {
      enqueue(response)
    }
  }

  private func enqueue(_ response: HTTPResponse) {
    waiting += 1
    queuedBytes += response.bytes.readableBytes
    loop.answer(self, response, closes: life == .closing)
  }

  /// The loop says that it is this answer's turn.
  func complete(_ answer: HTTPLoop.Answer) {
    if let response = answer.response {
      waiting -= 1
      queuedBytes -= response.bytes.readableBytes
      finish(response, closes: answer.closes)
    } else {
      waiting -= answer.accepted
      loop.counters.answered(.accepted, answer.accepted)
      write(loop.responses.accepted(answer.accepted))
    }
  }

  private func finish(_ response: HTTPResponse, closes: Bool) {
    loop.counters.answered(response.status)
    guard closes else { return write(response.bytes) }
    writeLast(response.bytes)
  }

  /// What comes after these bytes, and after all that were written before, is the end of the connection.
  private func writeLast(_ bytes: ByteBuffer) {
    guard let context else { return }
    noteFlush()
    since = loop.sweeps
    let written = context.eventLoop.makePromise(of: Void.self)
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    written.futureResult.whenComplete { _ in bound.value.finalAnswerIsWritten() }
    context.writeAndFlush(wrapOutboundOut(bytes), promise: written)
  }

  private func finalAnswerIsWritten() {
    guard let context, life == .closing else { return }
    guard lingers, !peerIsDone, lingerSeconds > 0 else { return context.close(promise: nil) }
    life = .lingering
    since = loop.sweeps
    context.close(mode: .output, promise: nil)
    if readIsHeld { releaseRead() }
  }

  func write(_ bytes: ByteBuffer) {
    guard let context else { return }
    context.write(wrapOutboundOut(bytes), promise: nil)
    unflushedBytes += bytes.readableBytes
    guard !needsFlush else { return }
    needsFlush = true
    // While answers wait, and in the middle of a read, others may follow before the flush.
    loop.flushLater(self)
  }

  /// Sends what was written, then goes on with what was held back meanwhile.
  func flushAnswers() {
    guard needsFlush, let context else { return }
    noteFlush()
    context.flush()
    resume()
  }

  private func noteFlush() {
    needsFlush = false
    unflushedBytes = 0
  }

  func resume() {
    guard context != nil else { return }
    if life == .open, !isHeld, rest.readableBytes > 0 {
      serveRest()
      charge()
    }
    if readIsHeld, !isHeld { releaseRead() }
    closeIfDone()
    if loop.isDraining { closeIfIdle() }
  }

  private func releaseRead() {
    readIsHeld = false
    context?.read()
  }

  // MARK: Closing

  /// After the peer's last byte: nothing is left but to answer what it sent.
  private func closeIfDone() {
    guard peerIsDone, waiting == 0, !needsFlush else { return }
    switch life {
    case .open where isHeld && rest.readableBytes > 0: break
    case .open: closeBehindAnswers()
    case .lingering: context?.close(promise: nil)
    case .closing, .closed: break
    }
  }

  /// Closing at once would drop the answers that the peer has not taken yet.
  private func closeBehindAnswers() {
    life = .closing
    writeLast(ByteBuffer())
  }

  /// Draining: nothing was asked, or all of it is answered, so nothing is owed. A body that nobody wants is not waited for.
  func closeIfIdle() {
    guard life == .open, waiting == 0, !needsFlush, !parser.isMidRequest, rest.readableBytes == 0 else { return }
    // Nothing can be written before the end of the handshake.
    guard !awaitsTLS else { return cut() }
    if unwantedBytes > 0 { lingers = true }
    closeBehindAnswers()
  }

  func cut() { context?.close(promise: nil) }
}
