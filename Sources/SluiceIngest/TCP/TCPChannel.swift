import NIOCore
import SluiceCore

/// One producer of a connection, from HELLO or OPEN on. Confined to the connection's loop, as all its parts are.
final class TCPChannel {
  enum Life {
    /// The producer is claimed; whoever owned it lets go, or what that one had under way becomes durable.
    case claiming
    case open
    /// The client's CLOSE has come.
    case closing
    case ended
  }

  struct PendingNack {
    var code: WireNackCode
    var sequence: UInt64
  }

  let connection: TCPConnection
  let number: UInt16
  let epoch: UInt16
  /// Nil of an anonymous one.
  let producer: Producer?
  /// What its records carry in the log.
  let producerID: UInt32
  private(set) var life = Life.claiming
  var gate = SequenceGate()
  private var claim: ProducerClaim?
  /// Of the last record that this channel submitted.
  private var lastLSN: UInt64 = 0
  private var hasAppended = false

  // Of this tick: what the next submit queues.
  var isTouched = false
  private var bytes = 0
  private var records = 0
  private var isOwedAck = false
  private var newNacks = 0

  /// Answers in the loop's queue, or to be queued by this tick.
  var pending = 0
  /// Class 2 NACKs whose notes in the log are not durable yet; bounded by the credit.
  private var nacks = CircularBuffer<PendingNack>()
  /// What the next flush writes: so many of `nacks`, then an ACK up to here.
  private var settledNacks = 0
  private var settledSequence: UInt64 = 0
  private(set) var isInFlush = false

  init(_ connection: TCPConnection, number: UInt16, epoch: UInt16, producer: Producer?) {
    self.connection = connection
    self.number = number
    self.epoch = epoch
    self.producer = producer
    producerID = producer?.id ?? 0
  }

  // MARK: Owning the producer

  /// Asks for the producer; says why it can't be had.
  func open() -> WireEnd? {
    guard let producer else {
      isReady(ProducerPosition())
      return nil
    }
    let eventLoop = connection.loop.eventLoop
    let bound = NIOLoopBound(self, eventLoop: eventLoop)
    let outcome = producer.claim(
      epoch: epoch,
      ClaimNotices(
        ready: { position in eventLoop.execute { bound.value.isReady(position) } },
        revoked: { end in eventLoop.execute { bound.value.isRevoked(end) } }))
    switch outcome {
    case .granted(let claim):
      self.claim = claim
      return nil
    case .fenced(let highest):
      life = .ended
      return WireEnd(.fenced, value: UInt64(highest), text: "a higher epoch is known")
    }
  }

  private func isReady(_ position: ProducerPosition) {
    guard life == .claiming else { return }
    gate = SequenceGate(after: position.sequence)
    connection.loop.answerOpening(self, at: position.lsn)
  }

  /// What the predecessor had under way is durable.
  func becomeOpen() {
    if life == .claiming { life = .open }
  }

  private func isRevoked(_ end: ClaimEnd) {
    guard life != .ended else { return }
    switch end {
    case .superseded:
      connection.end(self, WireEnd(.superseded, text: "another connection has taken over"))
    case .fenced(let epoch):
      connection.end(self, WireEnd(.fenced, value: UInt64(epoch), text: "a higher epoch has taken over"))
    }
  }

  func beginClosing() { life = .closing }

  /// Lets the producer go. What was appended is submitted first, so that who comes next knows of it.
  func finish() {
    guard life != .ended else { return }
    life = .ended
    if isTouched { connection.loop.submit() }
    guard let producer, let claim else { return }
    self.claim = nil
    producer.release(claim, at: hasAppended ? ProducerPosition(sequence: gate.next - 1, lsn: lastLSN) : nil)
  }

  // MARK: This tick

  /// A frame was received for it, whatever becomes of its records.
  func received(bytes: Int, records: Int) {
    self.bytes += bytes
    self.records += records
    connection.loop.touch(self, bytes: bytes)
  }

  /// Something was taken, or a duplicate has to be acknowledged (again).
  func owesAck() { isOwedAck = true }
  func noteAppended() { hasAppended = true }

  func refuseForGood(_ code: WireNackCode, _ sequence: UInt64) {
    nacks.append(PendingNack(code: code, sequence: sequence))
    newNacks += 1
  }

  /// What is owed when `position` is durable.
  func endTick(at position: UInt64) -> TCPLoop.Answer {
    isTouched = false
    lastLSN = position
    defer {
      bytes = 0
      records = 0
      isOwedAck = false
      newNacks = 0
    }
    return TCPLoop.Answer(
      channel: self, sequence: isOwedAck ? gate.next - 1 : 0, nacks: newNacks, bytes: bytes, records: records)
  }

  // MARK: Answers

  /// Notes what may be written now.
  func settle(_ answer: TCPLoop.Answer) {
    pending -= 1
    settledNacks += answer.nacks
    settledSequence = max(settledSequence, answer.sequence)
  }

  /// True once until `writeAnswers`.
  func joinFlush() -> Bool {
    guard !isInFlush else { return false }
    isInFlush = true
    return true
  }

  /// Stops at a NACK when `buffer` has `limit` bytes, and is to be called again then: false.
  func writeAnswers(
    _ sender: inout WireSender, _ counters: TCPCounters, to buffer: inout ByteBuffer, upTo limit: Int
  ) -> Bool {
    while settledNacks > 0 {
      guard buffer.readableBytes < limit else { return false }
      settledNacks -= 1
      let nack = nacks.removeFirst()
      guard life != .ended else { continue }
      counters.add(nack.code)
      sender.nack(
        WireNack(nack.code, sequence: nack.sequence, expected: nack.sequence + 1, text: nack.code.label),
        channel: number, to: &buffer)
    }
    isInFlush = false
    if settledSequence > 0, life != .ended { sender.ack(settledSequence, channel: number, to: &buffer) }
    settledSequence = 0
    return true
  }
}
