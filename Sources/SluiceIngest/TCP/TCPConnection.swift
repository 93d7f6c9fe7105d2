// One connection: bytes in, frames to the tables of TCPStates, answers out.
//
//   open ──► closing ──► lingering ──► closed
//     open       frames are read straight from the loop's receive buffer; what is left of one is kept (`rest`).
//     closing    the last frame, an ERROR or BYE, is written; input is dropped.
//     lingering  the output is shut; input is dropped until the peer closes or `lingerSeconds` pass: closing at
//                once would reset the connection under the last frame.
//
// Nothing is parsed and nothing read (`isHeld`) while a producer is being claimed, while records wait for room
// (`when_full: block`), and while the peer takes no answers.

import NIOCore
import SluiceCore
import SluiceIdentity

/// Confined to the loop of its channel.
final class TCPConnection: ChannelDuplexHandler, SecuredConnection {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  enum Life { case open, closing, lingering, closed }

  /// A DATA frame at the beginning of `rest` whose records have not all found room.
  struct BlockedFrame {
    var records: WireRecords
    var channel: TCPChannel
    var length: Int
    var count: Int
  }

  let loop: TCPLoop
  /// Where the loop keeps this connection; −1 once it doesn't.
  var index = -1
  var life = Life.open
  var state = TCPState.start
  /// Set before the first byte of the protocol comes.
  package var security = ConnectionSecurity.plain
  /// From CHALLENGE, or the HELLO that needs none, to WELCOME.
  var handshake: TCPHandshake?
  /// Who speaks, if anybody is known.
  var session: IdentitySession?
  var permission = PublishPermission.all
  /// By number; those that are not open are nil.
  var channels: [TCPChannel?] = []
  /// Channels that the server ended: what the client had under way for them is dropped.
  private(set) var ended: Set<UInt16> = []
  /// The same of all numbers that no channel can have, since one of them was asked for.
  private var wasAskedTooHigh = false
  /// The channel whose producer is being claimed.
  var claiming: TCPChannel?
  var blocked: BlockedFrame?
  /// The loop has it among those to be tried again.
  var isToBeRetried = false
  /// What finds no room is refused, not to wait.
  var givesUp = false
  /// Until the identity's quota has room again.
  var quotaPauseMilliseconds = 0
  /// There is more to be granted once that is so.
  var quotaTimer: Scheduled<Void>?
  /// The record of the frame that is taken now for which the stream had no room.
  var roomRefusal: UInt64?
  /// Answers of its channels in the loop's queue, or to be queued by this tick.
  var pending = 0

  var context: ChannelHandlerContext?
  var receiver: WireReceiver
  var sender = WireSender(.toClient)
  var rest = ByteBuffer()
  /// Bytes that the frame at the beginning of `rest` needs.
  private var wanted = WireLayout.headerBytes
  private var held = HeldInput()
  var out = ByteBuffer()
  var needsFlush = false
  /// What these are owed is to be written; while the peer takes nothing, their NACKs wait.
  var flushing: [TCPChannel] = []
  var readIsHeld = false
  var peerIsDone = false
  /// Counted by the source's load as one that is being turned away.
  var isTurnedAway = false
  /// The sweep at which the last frame came, or what the connection does now began: a handshake has its time from there on,
  /// whatever comes in it.
  var since = 0
  var patience = DrainPatience()

  /// As of WELCOME.
  var promise: TCPPromise
  /// In DATA frames since WELCOME, and how much of it is answered; what the client was told it may send.
  var received = WireCredit(bytes: 0, records: 0)
  var answered = WireCredit(bytes: 0, records: 0)
  var granted = WireCredit(bytes: 0, records: 0)
  /// The stream is full: there is more to be granted once it is not.
  var isWithheld = false

  init(loop: TCPLoop) {
    self.loop = loop
    promise = TCPPromise(maxRecordBytes: loop.settings.stream.maxRecordBytes)
    // Until WELCOME: who is not known yet is not to make the source hold a large frame.
    receiver = WireReceiver(from: .toServer, maxFrame: Limits.maxWireControlFrameBytes)
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
    if loop.isDraining {
      // Accepted just before the listener was closed.
      if awaitsTLS { return cut() }
      fail(WireEnd(.draining, retryAfterMilliseconds: Self.retryMilliseconds, text: "the server goes down"))
    } else if loop.settings.load.isOver(loop.settings.options.maxConnections) {
      turnAway()
    }
    context.fireChannelActive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // The peer reset the connection, or the like: nobody is left to be told.
    context.close(promise: nil)
  }

  private func forget() {
    life = .closed
    context = nil
    endQuotaTimer()
    finishChannels()
    drop()
    loop.remove(self)
    if isTurnedAway { loop.settings.load.endTurningAway() }
    isTurnedAway = false
  }

  func finishChannels() {
    claiming = nil
    abandonBlocked()
    for channel in channels { channel?.finish() }
    channels = []
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    if life == .open {
      loop.counters.add(.bytes, bytes.readableBytes)
      receive(&bytes)
      charge()
    }
    loop.receiveBuffer.giveBack(bytes)
  }

  func read(context: ChannelHandlerContext) {
    if isHeld { readIsHeld = true } else { context.read() }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable {
      if !flushing.isEmpty { needFlush() }
      resume()
    }
    context.fireChannelWritabilityChanged()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed {
      peerIsDone = true
      endIfDone()
    }
    context.fireUserInboundEventTriggered(event)
  }

  // MARK: Receiving

  var isHeld: Bool {
    guard life == .open else { return false }
    return claiming != nil || blocked != nil || out.readableBytes >= Limits.tcpOutputBytes
      || context?.channel.isWritable == false
  }

  private func receive(_ bytes: inout ByteBuffer) {
    // First only what completes the frame that was cut: the others are read where they are.
    while rest.readableBytes > 0, bytes.readableBytes > 0, life == .open, !isHeld {
      let missing = min(max(wanted - rest.readableBytes, 0), bytes.readableBytes)
      if let part = bytes.readSlice(length: missing) { rest.writeImmutableBuffer(part) }
      serveRest()
    }
    if rest.readableBytes == 0, life == .open, !isHeld {
      let used = bytes.withUnsafeReadableBytes { serve($0) }
      bytes.moveReaderIndex(forwardBy: used)
    }
    if life == .open, bytes.readableBytes > 0 { rest.writeImmutableBuffer(bytes) }
  }

  func serveRest() {
    // Taken out meanwhile: what is answered may close the connection, which empties `rest`.
    var bytes = rest
    rest = ByteBuffer()
    let used = bytes.withUnsafeReadableBytes { serve($0) }
    guard life == .open else { return }
    bytes.moveReaderIndex(forwardBy: used)
    if bytes.readableBytes == 0 { bytes.clear() } else { bytes.discardReadBytes() }
    rest = bytes
  }

  /// Serves every whole frame and returns how many bytes they are.
  private func serve(_ bytes: UnsafeRawBufferPointer) -> Int {
    var used = 0
    while life == .open, !isHeld {
      let unread = UnsafeRawBufferPointer(rebasing: bytes[used...])
      switch receiver.next(unread) {
      case .needMore(let total):
        wanted = total
        return used
      case .frame(let frame):
        if !state.isHandshake { since = loop.sweeps }
        loop.counters.add(.frames)
        guard serve(frame) else { return used }
        used += frame.length
      case .fault(let fault):
        fail(WireEnd(code(of: fault, unread), value: fault.value, text: fault.detail))
      }
    }
    return used
  }

  /// What comes instead of a HELLO, and doesn't look like one that was damaged, is another protocol.
  private func code(of fault: WireFault, _ bytes: UnsafeRawBufferPointer) -> WireErrorCode {
    let isHello = bytes.count > WireLayout.type && bytes[WireLayout.type] == WireFrameType.hello.rawValue
    return state == .start && fault.code == .integrity && !isHello ? .magic : fault.code
  }

  /// What is held counts against the source's budgets. Beyond that of unfinished frames, whoever adds more than a little is
  /// sent away; beyond that of waiting ones, its records are refused as without `when_full: block`.
  func charge() {
    let settings = loop.settings
    let isTooMuch = held.isTooMuch(
      &rest, isWaiting: blocked != nil, in: settings.load, limit: settings.options.maxHeldBytes)
    guard isTooMuch, life == .open else { return }
    guard blocked == nil else { return retryBlocked(givesUp: true) }
    fail(WireEnd(.busy, retryAfterMilliseconds: Self.retryMilliseconds, text: "too many frames are unfinished"))
  }

  func drop() { held.drop(&rest, from: loop.settings.load) }

  // MARK: Frames

  /// False if the frame's records have not all found room: it stays where it is.
  private func serve(_ frame: WireFrame) -> Bool {
    guard let type = frame.type else { return true }
    do throws(WireFault) {
      switch TCPAction(on: type, in: state) {
      case .take, .refuseRecords: return try take(frame)
      case .handshake: try shakeHands(WireHello(frame.body), frame)
      case .prove: try prove(WireProof(frame.body), frame)
      case .openChannel: try open(WireOpen(frame.body), frame.channel)
      case .refuseChannel: refuseChannel(frame.channel, WireEnd(.draining, text: "the server goes down"))
      case .closeChannel: try closeChannel(frame.channel)
      case .pong:
        let token = try frame.word()
        write { $0.pong(token, to: &$1) }
      case .nothing: break
      case .finish:
        state = .finishing
        endIfDone()
      case .heedError: heed(try WireEnd(frame.body), frame.channel)
      case .disconnect: context?.close(promise: nil)
      case .violation: throw WireFault(.protocolViolation, "a frame of type \(type.rawValue) at the wrong time")
      }
    } catch {
      fail(WireEnd(error.code, value: error.value, text: error.detail))
    }
    return true
  }

  private func open(_ open: WireOpen, _ number: UInt16) {
    guard session == nil || isSessionCurrent() else { return }
    guard number > 0, number < Limits.tcpMaxChannels, channel(number) == nil else {
      return refuseChannel(
        number, WireEnd(.channel, value: UInt64(Limits.tcpMaxChannels), text: "the channel is in use, or too high"))
    }
    let objection = TCPTerms.objection(toProducer: open.producer, epoch: open.epoch)
    if let end = objection ?? openChannel(number, open.producer, open.epoch) {
      note(end, "")
      refuseChannel(number, end)
    }
  }

  /// Claims the producer; WELCOME or OPENED is written when it is there.
  func openChannel(_ number: UInt16, _ name: String, _ epoch: UInt16) -> WireEnd? {
    var producer: Producer?
    if !name.isEmpty {
      guard loop.settings.options.authentication.permits(producer: name, of: session) else {
        return WireEnd(.forbidden, text: "the producer is not one of the sender's own: see `producers` of identities")
      }
      let allowance = session?.identity.producerAllowance
      guard let known = loop.settings.stream.producer(named: name, within: allowance) else {
        return WireEnd(.busy, retryAfterMilliseconds: Self.retryMilliseconds, text: "too many producers")
      }
      producer = known
    }
    let channel = TCPChannel(self, number: number, epoch: epoch, producer: producer)
    claiming = channel
    if let end = channel.open() {
      claiming = nil
      return end
    }
    while channels.count <= Int(number) { channels.append(nil) }
    channels[Int(number)] = channel
    ended.remove(number)
    return nil
  }

  /// The channel owns its producer, and what was under way before is durable.
  func isOpen(_ channel: TCPChannel) {
    guard life == .open, claiming === channel else { return }
    // Claiming may have taken its time.
    guard session == nil || isSessionCurrent() else { return }
    claiming = nil
    channel.becomeOpen()
    let last = channel.gate.next - 1
    if state.isHandshake {
      welcome(last)
    } else {
      write { $0.opened(WireOpened(epoch: channel.epoch, lastSequence: last), channel: channel.number, to: &$1) }
    }
    if loop.isDraining { goAway() }
    needFlush()
  }

  func hasEnded(_ number: UInt16) -> Bool {
    number < Limits.tcpMaxChannels ? ended.contains(number) : wasAskedTooHigh
  }

  func channel(_ number: UInt16) -> TCPChannel? {
    Int(number) < channels.count ? channels[Int(number)] : nil
  }

  private func closeChannel(_ number: UInt16) throws(WireFault) {
    guard let channel = channel(number) else {
      guard hasEnded(number) else { throw WireFault(.protocolViolation, "CLOSE of a channel that is not open") }
      return
    }
    guard number > 0, channel.life == .open else {
      throw WireFault(.protocolViolation, "CLOSE of channel 0, or a second one")
    }
    channel.beginClosing()
    // Joins the queue, so that it is answered behind everything else.
    channel.received(bytes: 0, records: 0)
  }

  private func heed(_ end: WireEnd, _ number: UInt16) {
    guard end.scope == .channel else {
      context?.close(promise: nil)
      return
    }
    if let channel = channel(number) { forget(channel) }
  }

  private func forget(_ channel: TCPChannel) {
    if claiming === channel { claiming = nil }
    if blocked?.channel === channel { dropBlocked() }
    channel.finish()
    channels[Int(channel.number)] = nil
    ended.insert(channel.number)
    needFlush()
  }

  /// The server takes the channel's producer away. With its last channel the connection ends.
  func end(_ channel: TCPChannel, _ end: WireEnd) {
    guard life == .open else { return }
    guard !state.isHandshake, channels.contains(where: { $0 != nil && $0 !== channel }) else { return fail(end) }
    forget(channel)
    refuseChannel(channel.number, end)
  }

  private func refuseChannel(_ number: UInt16, _ end: WireEnd) {
    var end = end
    end.scope = .channel
    if let code = WireErrorCode(rawValue: end.code) { loop.counters.add(code) }
    if number >= Limits.tcpMaxChannels {
      wasAskedTooHigh = true
    } else if channel(number) == nil {
      ended.insert(number)
    }
    write { $0.end(.error, end, channel: number, to: &$1) }
  }
}
