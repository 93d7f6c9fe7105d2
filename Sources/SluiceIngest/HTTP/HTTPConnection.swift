// One connection: bytes in, requests to the routes, answers out in the order of the requests.
//
//   open ──► closing ──► lingering ──► closed
//     open       requests are parsed straight from the receive buffer; what is left of one is kept (`rest`), so an
//                idle connection holds no buffer.
//     closing    the last answer is decided (`Connection: close`, a refusal, a timeout); input is dropped.
//     lingering  the last answer is written and the output is shut; input is dropped until the peer closes or
//                `Limits.httpLingerSeconds` pass. Only after a refusal: closing at once would reset the connection
//                under the answer. Otherwise `closing` goes to `closed`.
//
// Reading stops while `maxPipelinedRequests` wait for answers, the peer takes none, or a request waits for room in the
// stream (`isHeld`); nothing is parsed meanwhile. A request that waits stays in `rest` and is parsed anew when it is its
// turn.

import NIOCore
import SluiceCore
import Synchronization

/// Confined to the loop of its channel. What every request touches is `@exclusivity(unchecked)`: each access is a load,
/// a store, or a call into a value that cannot reach back here, so none can overlap another on the one thread.
final class HTTPConnection: ChannelDuplexHandler, RoomWaiter {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  enum Life { case open, closing, lingering, closed }

  let loop: HTTPLoop
  /// Where the loop keeps this connection; −1 once it doesn't.
  var index = -1
  @exclusivity(unchecked) private var context: ChannelHandlerContext?
  @exclusivity(unchecked) private var parser: HTTPRequestParser
  @exclusivity(unchecked) private var rest = ByteBuffer()
  /// What of `rest` is counted in the source's `heldBytes`.
  @exclusivity(unchecked) private var charged = 0
  @exclusivity(unchecked) private(set) var life = Life.open
  /// Requests whose answers wait in the loop's queue.
  @exclusivity(unchecked) private var waiting = 0
  @exclusivity(unchecked) private var needsFlush = false
  /// Where the waiting room keeps this connection; −1 once it doesn't.
  @exclusivity(unchecked) var place = -1
  /// The next request waits for room, so much of it, or has waited long enough.
  @exclusivity(unchecked) private var isBlocked = false
  private var wantedBytes = 0
  @exclusivity(unchecked) private(set) var givesUp = false
  private var readIsHeld = false
  private var peerIsDone = false
  private var lingers = false
  private var continueIsSent = false
  /// The sweep at which what the connection does now began.
  @exclusivity(unchecked) private var since = 0

  init(loop: HTTPLoop) {
    self.loop = loop
    parser = HTTPRequestParser(limits: loop.settings.limits)
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
    if loop.settings.openConnections.load(ordering: .relaxed) > loop.settings.options.maxConnections {
      loop.counters.connectionRefused()
      context.close(promise: nil)
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

  /// What is held of unfinished requests counts against the source's budget: beyond it, whoever adds more than a little
  /// is refused, so that strangers who never finish can't take the daemon's memory.
  private func charge() {
    let held = rest.readableBytes
    guard held != charged else { return }
    let total = loop.settings.heldBytes.add(held - charged, ordering: .relaxed).newValue
    charged = held
    guard total > loop.settings.options.maxHeldBytes, held > Limits.uncontestedHeldBytes, life == .open else { return }
    loop.counters.rejected(.memory)
    refuse(.unavailable, code: "too_much_unfinished", detail: "too many requests are unfinished; send this one again")
    drop()
  }

  private func drop() {
    rest = ByteBuffer()
    loop.settings.heldBytes.subtract(charged, ordering: .relaxed)
    charged = 0
  }

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
    isBlocked || waiting >= loop.settings.options.maxPipelinedRequests || context?.channel.isWritable == false
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
        let unread = UnsafeRawBufferPointer(rebasing: all[served...])
        let hadBegun = parser.isMidRequest
        let wasInBody = parser.isInBody
        switch parser.parse(unread) {
        case .request(let request):
          guard serve(request, unread) else {
            block()
            break
          }
          served += request.consumed
          continueIsSent = false
          since = loop.sweeps
          loop.waitingRoom.leave(self)
          givesUp = false
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

  // MARK: Waiting for room

  private func block() {
    isBlocked = true
    wantedBytes = loop.wantedBytes
    guard place < 0 else { return }
    loop.counters.requestBlocked()
    loop.waitingRoom.enter(self, for: loop.settings.options.blockNanoseconds ?? 0)
  }

  func tryAgain() {
    guard givesUp || loop.mayHaveRoom(for: wantedBytes) else { return }
    isBlocked = false
    resume()
  }

  func giveUp() {
    givesUp = true
    tryAgain()
  }

  private func sendContinueIfAwaited(_ count: Int) {
    guard parser.isInBody, parser.head.expectsContinue, !continueIsSent, waiting == 0, count == parser.bodyStart else {
      return
    }
    continueIsSent = true
    write(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n"))
  }

  // MARK: Refusing what is no request

  /// The last answer on this connection, to something that is no request.
  private func refuse(_ status: HTTPStatus, code: String, detail: String) {
    _ = loop.now()
    lingers = true
    loop.waitingRoom.leave(self)
    answer(loop.responses.problem(status, code: code, detail: detail, .close), .close)
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
    waiting += 1
    if case .close = persistence { life = .closing }
    loop.answer(self, response, closes: life == .closing)
  }

  /// Any other answer: at once if none waits before it.
  func answer(_ response: HTTPResponse, _ persistence: HTTPPersistence) {
    if case .close = persistence { life = .closing }
    if waiting == 0 {
      finish(response, closes: life == .closing)
    } else {
      waiting += 1
      loop.answer(self, response, closes: life == .closing)
    }
  }

  /// The loop says that it is this answer's turn.
  func complete(_ answer: HTTPLoop.Answer) {
    if let response = answer.response {
      waiting -= 1
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
    needsFlush = false
    since = loop.sweeps
    let written = context.eventLoop.makePromise(of: Void.self)
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    written.futureResult.whenComplete { _ in bound.value.finalAnswerIsWritten() }
    context.writeAndFlush(wrapOutboundOut(bytes), promise: written)
  }

  private func finalAnswerIsWritten() {
    guard let context, life == .closing else { return }
    guard lingers, !peerIsDone else { return context.close(promise: nil) }
    life = .lingering
    since = loop.sweeps
    context.close(mode: .output, promise: nil)
    if readIsHeld { releaseRead() }
  }

  private func write(_ bytes: ByteBuffer) {
    guard let context else { return }
    context.write(wrapOutboundOut(bytes), promise: nil)
    guard !needsFlush else { return }
    needsFlush = true
    // While answers wait, and in the middle of a read, others may follow before the flush.
    loop.flushLater(self)
  }

  /// Sends what was written, then goes on with what was held back meanwhile.
  func flushAnswers() {
    guard needsFlush, let context else { return }
    needsFlush = false
    context.flush()
    resume()
  }

  private func resume() {
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

  /// Draining: nothing was asked, so nothing is owed.
  func closeIfIdle() {
    if life == .open, waiting == 0, !needsFlush, !parser.isMidRequest, rest.readableBytes == 0 {
      closeBehindAnswers()
    }
  }

  func cut() { context?.close(promise: nil) }

  /// Once a second: whether the connection was closed for being too slow.
  func sweep(_ now: Int) -> Bool {
    let options = loop.settings.options
    let age = now - since - 1
    switch life {
    case .open where waiting > 0 || isBlocked:
      return false
    case .open where parser.isMidRequest:
      guard age >= (parser.isInBody ? options.bodySeconds : options.headerSeconds) else { return false }
      refuse(.requestTimeout, code: "timeout", detail: "the request took too long to arrive")
    case .open, .closing:
      guard age >= options.idleSeconds, waiting == 0 else { return false }
      cut()
    case .lingering:
      if age >= Limits.httpLingerSeconds { cut() }
      return false
    case .closed:
      return false
    }
    return true
  }
}
