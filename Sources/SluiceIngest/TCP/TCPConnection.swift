// One connection: bytes in, frames to the tables of TCPStates, answers out.
//
//   open ──► closing ──► lingering ──► closed
//     open       frames are read straight from the loop's receive buffer; what is left of one is kept (`rest`).
//     closing    the last frame, an ERROR or BYE, is written; input is dropped.
//     lingering  the output is shut; input is dropped until the peer closes or `Limits.tcpLingerSeconds` pass: closing at
//                once would reset the connection under the last frame.
//
// Nothing is parsed and nothing read (`isHeld`) while a producer is being claimed, while records wait for room
// (`when_full: block`), and while the peer takes no answers.

import NIOCore
import SluiceCore
import Synchronization

/// Confined to the loop of its channel.
final class TCPConnection: ChannelDuplexHandler {
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
  /// By number; those that are not open are nil.
  var channels: [TCPChannel?] = []
  /// Channels that the server ended: what the client had under way for them is dropped.
  var ended: Set<UInt16> = []
  /// The channel whose producer is being claimed.
  var claiming: TCPChannel?
  var blocked: BlockedFrame?
  /// Answers of its channels in the loop's queue, or to be queued by this tick.
  var pending = 0

  var context: ChannelHandlerContext?
  private var receiver: WireReceiver
  var sender = WireSender(.toClient)
  var rest = ByteBuffer()
  /// Bytes that the frame at the beginning of `rest` needs.
  private var wanted = WireLayout.headerBytes
  /// What of `rest` is counted in the source's `heldBytes`.
  private var charged = 0
  var out = ByteBuffer()
  var needsFlush = false
  var flushing: [TCPChannel] = []
  var readIsHeld = false
  var peerIsDone = false
  /// The sweep at which the last frame came, or what the connection does now began.
  var since = 0

  /// In DATA frames since WELCOME, and how much of it is answered; what the client was told it may send.
  var received = WireCredit(bytes: 0, records: 0)
  var answered = WireCredit(bytes: 0, records: 0)
  var granted = WireCredit(bytes: 0, records: 0)
  /// The stream is full: there is more to be granted once it is not.
  var isWithheld = false

  init(loop: TCPLoop) {
    self.loop = loop
    receiver = WireReceiver(from: .toServer, maxFrame: loop.settings.maxFrame)
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
      fail(WireEnd(.draining, retryAfterMilliseconds: Self.retryMilliseconds, text: "the server goes down"))
    } else if loop.settings.openConnections.load(ordering: .relaxed) > loop.settings.options.maxConnections {
      loop.counters.add(.refused)
      fail(WireEnd(.busy, retryAfterMilliseconds: Self.retryMilliseconds, text: "too many connections"))
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
    finishChannels()
    drop()
    loop.remove(self)
  }

  func finishChannels() {
    claiming = nil
    blocked = nil
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
    if context.channel.isWritable { resume() }
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
    return claiming != nil || blocked != nil || context?.channel.isWritable == false
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
        since = loop.sweeps
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

  /// What is held of unfinished frames counts against the source's budget: beyond it, whoever adds more than a little is
  /// sent away, so that strangers who never finish can't take the daemon's memory.
  func charge() {
    if rest.readableBytes == 0, rest.storageCapacity > Limits.uncontestedHeldBytes { rest = ByteBuffer() }
    let held = rest.readableBytes
    guard held != charged else { return }
    let total = loop.settings.heldBytes.add(held - charged, ordering: .relaxed).newValue
    charged = held
    guard total > loop.settings.options.maxHeldBytes, held > Limits.uncontestedHeldBytes, life == .open else { return }
    fail(WireEnd(.busy, retryAfterMilliseconds: Self.retryMilliseconds, text: "too many frames are unfinished"))
  }

  func drop() {
    rest = ByteBuffer()
    loop.settings.heldBytes.subtract(charged, ordering: .relaxed)
    charged = 0
  }

  // MARK: Frames

  /// False if the frame's records have not all found room: it stays where it is.
  private func serve(_ frame: WireFrame) -> Bool {
    guard let type = frame.type else { return true }
    do throws(WireFault) {
      switch TCPAction(on: type, in: state) {
      case .take, .refuseRecords: return try take(frame)
      case .handshake: try shakeHands(WireHello(frame.body))
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

  private func shakeHands(_ hello: WireHello) {
    if let objection = loop.settings.terms.objection(to: hello) { return fail(objection) }
    if let end = openChannel(0, hello.producer, hello.epoch) { fail(end) }
  }

  private func open(_ open: WireOpen, _ number: UInt16) {
    guard number > 0, number < Limits.tcpMaxChannels, channel(number) == nil else {
      return refuseChannel(
        number, WireEnd(.channel, value: UInt64(Limits.tcpMaxChannels), text: "the channel is in use, or too high"))
    }
    let objection = TCPTerms.objection(toProducer: open.producer, epoch: open.epoch)
    if let end = objection ?? openChannel(number, open.producer, open.epoch) { refuseChannel(number, end) }
  }

  /// Claims the producer; WELCOME or OPENED is written when it is there.
  private func openChannel(_ number: UInt16, _ name: String, _ epoch: UInt16) -> WireEnd? {
    var producer: Producer?
    if !name.isEmpty {
      guard let known = loop.settings.stream.producer(named: name) else {
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
    claiming = nil
    channel.becomeOpen()
    let last = channel.gate.next - 1
    if state == .start {
      welcome(last)
    } else {
      write { $0.opened(WireOpened(epoch: channel.epoch, lastSequence: last), channel: channel.number, to: &$1) }
    }
    if loop.isDraining { goAway() }
    needFlush()
  }

  private func welcome(_ last: UInt64) {
    let settings = loop.settings
    state = .open
    granted = settings.window
    let welcome = WireWelcome(
      durability: settings.stream.durability, maxChannels: UInt16(Limits.tcpMaxChannels),
      maxFrame: UInt32(settings.maxFrame), maxPart: UInt32(settings.maxPart),
      idleTimeoutMilliseconds: UInt32(clamping: settings.options.idleSeconds * 1000), lastSequence: last,
      serverTime: Clock.wall(), credit: granted, logUUID: settings.stream.logUUID,
      stream: settings.stream.streamName, software: settings.options.software)
    write { $0.welcome(welcome, to: &$1) }
  }

  func channel(_ number: UInt16) -> TCPChannel? {
    Int(number) < channels.count ? channels[Int(number)] : nil
  }

  private func closeChannel(_ number: UInt16) throws(WireFault) {
    guard let channel = channel(number) else {
      guard ended.contains(number) else { throw WireFault(.protocolViolation, "CLOSE of a channel that is not open") }
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
    guard state != .start, channels.contains(where: { $0 != nil && $0 !== channel }) else { return fail(end) }
    forget(channel)
    refuseChannel(channel.number, end)
  }

  private func refuseChannel(_ number: UInt16, _ end: WireEnd) {
    var end = end
    end.scope = .channel
    if let code = WireErrorCode(rawValue: end.code) { loop.counters.add(code) }
    if channel(number) == nil { ended.insert(number) }
    write { $0.end(.error, end, channel: number, to: &$1) }
  }
}
