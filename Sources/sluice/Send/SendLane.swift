import NIOCore
import NIOPosix
import SluiceCore

/// One connection of a run: it connects, feeds the protocol machine, writes what that has to say, and connects again when
/// the connection breaks. Everything happens on its loop's thread.
final class SendLane {
  private let loop: SendLoop
  private let addresses: [SocketAddress]
  private let tls: SendTLS?
  private var machine: any SendMachine
  private var supply: RecordSupply?
  private var channel: (any Channel)?
  private var failures = 0
  private var wasOpen = false
  private var hasEnded = false
  private var isTurning = false
  private var timer: Scheduled<Void>?
  private var timerAt = Int64.max
  private var backoff = Backoff(Limits.sendReconnectNanoseconds)
  private var lastFault = "no answer"

  init(_ loop: SendLoop, addresses: [SocketAddress], tls: SendTLS?, machine: any SendMachine) {
    self.loop = loop
    self.tls = tls
    self.addresses = addresses
    self.machine = machine
  }

  // MARK: The connection

  func connect() {
    guard !hasEnded else { return }
    let address = addresses[failures % addresses.count]
    let bound = NIOLoopBound(self, eventLoop: loop.eventLoop)
    let tls = tls
    ClientBootstrap(group: loop.eventLoop)
      .connectTimeout(.nanoseconds(Limits.sendConnectNanoseconds))
      .channelOption(ChannelOptions.tcpOption(.tcp_nodelay), value: 1)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let lane = bound.value
          try tls?.secure(channel) { lane.handshakeFailed($0, isFinal: $1) }
          try channel.pipeline.syncOperations.addHandler(SendHandler(lane))
        }
      }
      .connect(to: address)
      .assumeIsolated().whenFailure { error in self.cannotConnect(to: address, error) }
  }

  private func cannotConnect(to address: SocketAddress, _ error: any Error) {
    lastFault = "cannot connect to \(address.described): \(error.described)"
    failures += 1
    if failures % addresses.count != 0 { return connect() }
    // Before it ever worked, one try per address is enough to see that nobody is there.
    if !loop.everConnected { return end(.unavailable(lastFault)) }
    connectLater(after: backoff.next())
  }

  /// There is no connection, though somebody answered.
  private func handshakeFailed(_ failure: SendFailure, isFinal: Bool) {
    guard !isFinal, loop.everConnected else { return end(failure) }
    lastFault = failure.message
    // One that was open is missed when it closes.
    if channel == nil { connectLater(after: backoff.next()) }
  }

  private func connectLater(after nanoseconds: Int64) {
    // With jitter, so that many connections don't come back all at once.
    let wait = nanoseconds + Int64.random(in: 0...nanoseconds / 2)
    loop.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(wait)) { self.connect() }
  }

  fileprivate func opened(_ channel: any Channel) {
    guard !hasEnded else { return channel.close(promise: nil) }
    self.channel = channel
    loop.everConnected = true
    machine.connected(at: Clock.monotonic())
    turn()
  }

  fileprivate func received(_ bytes: ByteBuffer, from channel: any Channel) {
    guard channel === self.channel else { return }
    machine.received(bytes, at: Clock.monotonic(), &loop.tally)
  }

  fileprivate func closed(_ channel: any Channel) {
    guard channel === self.channel else { return }
    self.channel = nil
    disarm()
    var wait = Int64(0)
    if case .broken(let least) = machine.condition { wait = least }
    machine.disconnected(at: Clock.monotonic(), &loop.tally)
    guard !hasEnded else { return }
    switch machine.condition {
    case .done: end(nil)
    case .failed(let failure): end(failure)
    case .connecting, .open, .broken:
      loop.tally.reconnects += 1
      lastFault = "the connection was lost"
      connectLater(after: max(wait, backoff.next()))
    }
  }

  // MARK: Turns

  /// The run begins: these are the lane's records.
  func begin(_ supply: RecordSupply) {
    self.supply = supply
    turn()
  }

  /// No more records are made; what is under way is still answered.
  func stop() {
    supply?.stop()
    turn()
  }

  /// Gives up.
  func abort() {
    end(nil)
  }

  /// Lets the machine do what it can, and writes what it has to say.
  func turn() {
    // A write may close the channel or make it writable, and so come back here.
    guard !isTurning, !hasEnded, let channel else { return }
    isTurning = true
    defer { isTurning = false }
    var goesOn = true
    while goesOn {
      let now = Clock.monotonic()
      machine.turn(at: now)
      if machine.condition == .open { isReady() }
      goesOn = maySend(channel) && machine.send(from: &supply!, at: now, &loop.tally)
      let output = machine.takeOutput()
      for buffer in output { channel.write(buffer, promise: nil) }
      if !output.isEmpty { channel.flush() }
      guard self.channel != nil else { return }
    }
    switch machine.condition {
    case .connecting: arm(at: machine.wakeAt)
    case .open: arm(at: maySend(channel) ? machine.wakeAt : .max)
    case .broken: channel.close(promise: nil)
    case .done: end(nil)
    case .failed(let failure): end(failure)
    }
  }

  /// Whether the run has begun and the socket takes more.
  private func maySend(_ channel: any Channel) -> Bool {
    machine.condition == .open && supply != nil && channel.isWritable
  }

  private func isReady() {
    backoff.reset()
    guard !wasOpen else { return }
    wasOpen = true
    loop.laneIsReady()
  }

  private func end(_ failure: SendFailure?) {
    guard !hasEnded else { return }
    hasEnded = true
    disarm()
    channel?.close(promise: nil)
    loop.laneEnded(failure, wasOpen: wasOpen)
  }

  /// Why nothing goes on, for whoever gives up.
  var obstacle: String? { hasEnded || channel != nil && machine.condition == .open ? nil : lastFault }

  // MARK: Time

  private func arm(at time: Int64) {
    guard time != timerAt else { return }
    disarm()
    guard time < .max else { return }
    timerAt = time
    let wait = max(0, time - Clock.monotonic())
    timer = loop.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(wait)) {
      self.timerAt = .max
      self.turn()
    }
  }

  private func disarm() {
    timer?.cancel()
    timer = nil
    timerAt = .max
  }
}

/// Hands a channel's events to its lane.
private final class SendHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  private let lane: SendLane

  init(_ lane: SendLane) { self.lane = lane }

  func channelActive(context: ChannelHandlerContext) { lane.opened(context.channel) }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    lane.received(unwrapInboundIn(data), from: context.channel)
  }

  func channelReadComplete(context: ChannelHandlerContext) { lane.turn() }

  func channelWritabilityChanged(context: ChannelHandlerContext) { lane.turn() }

  func channelInactive(context: ChannelHandlerContext) { lane.closed(context.channel) }

  /// A reset, say; `channelInactive` follows.
  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

extension SocketAddress {
  /// As a person writes it.
  var described: String { "\(ipAddress ?? "?"):\(port ?? 0)" }
}

extension Error {
  fileprivate var described: String {
    if let error = self as? IOError { return String(cString: strerror(error.errnoCode)) }
    if self is ChannelError { return "no answer within \(Limits.sendConnectNanoseconds / 1_000_000_000) s" }
    return "\(self)"
  }
}
