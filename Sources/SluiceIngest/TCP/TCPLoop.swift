// One event loop's part of a framed TCP source: its lane into the stream, and what waits for durability.
//
//   all records of a tick ── append ──► lane       a channel that took something is *touched*; the first schedules
//                                                  `endOfTick`
//   endOfTick ── submit ──► batch(position, n)     one submit, whatever the number of connections; n answers, one for
//                                                  each touched channel: up to which sequence, and which credit returns
//   settle: while the oldest batch's position is acknowledged, its answers are noted with their connections; then each
//           connection writes one ACK per channel and at most one CREDIT, and is flushed. If batches remain, one wake
//           is asked for at the oldest position.
//   commit thread ── wake ──► execute(settle)      one per commit
//
// A producer that was taken over joins the same queue, at the position where its last record is durable. Such a
// position may be behind or ahead of its neighbours'; as the queue is first in, first out, that only delays.
//
// A full stream gives no credit: connections that are owed some are marked. With `when_full: block` those whose records
// found no room wait in `blocked`, unread. Both are looked at when something was committed and every
// `Limits.tcpFullProbeMilliseconds`. Nothing here blocks, and nothing is allocated per record or frame.

import NIOCore
import SluiceCore
import Synchronization

/// `@unchecked Sendable`: all variables are touched on `eventLoop` only; the commit thread holds nothing but a closure
/// that it hands to `eventLoop.execute`.
final class TCPLoop: SourceLoop, @unchecked Sendable {
  /// What a channel is owed once a batch is durable.
  struct Answer {
    var channel: TCPChannel
    /// 0: no ACK.
    var sequence: UInt64 = 0
    /// Class 2 NACKs that go before it.
    var nacks = 0
    var bytes = 0
    var records = 0
    /// What the producer's predecessor had under way is settled.
    var isOpening = false
  }

  private struct Batch {
    var position: UInt64
    var answers: Int
  }

  let eventLoop: any EventLoop
  let settings: TCPSettings
  let counters: TCPCounters
  let receiveBuffer = SharedReceiveBuffer()
  private(set) var lane: (any IngestLane)?
  private var answers = CircularBuffer<Answer>(initialCapacity: 256)
  private var batches = CircularBuffer<Batch>(initialCapacity: 256)
  private var touched: [TCPChannel] = []
  private var touchedBytes = 0
  private var endOfTickIsScheduled = false
  private var wakeIsAsked = false
  private var isSettling = false
  private var needFlush: [TCPConnection] = []
  private var endOfTickTask: @Sendable () -> Void = {}
  private var spareOutput = ByteBuffer()

  /// The stream refused records, and has not been seen to take any since.
  private(set) var isFull = false
  private var blocked: [TCPConnection] = []
  private var probeIsScheduled = false

  private var connections: [TCPConnection] = []
  private var sweeper: RepeatedTask?
  /// Seconds, counted by the sweep.
  private(set) var sweeps = 0
  private(set) var isDraining = false
  private var drained: EventLoopPromise<Void>?
  private var drainDeadline: Scheduled<Void>?

  init(eventLoop: any EventLoop, settings: TCPSettings, counters: TCPCounters) {
    self.eventLoop = eventLoop
    self.settings = settings
    self.counters = counters
  }

  /// Opens the lane and starts the sweep, on the loop.
  func open() {
    eventLoop.assertInEventLoop()
    endOfTickTask = { [weak self] in self?.endOfTick() }
    let loop = eventLoop
    let settle: @Sendable () -> Void = { [weak self] in self?.woken() }
    lane = settings.stream.openLane(source: settings.options.name) { loop.execute(settle) }
    sweeper = eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { [weak self] _ in
      self?.sweep()
    }
  }

  // MARK: Ticks

  /// The channel has something to be answered behind what is appended now; `bytes` were received for it.
  func touch(_ channel: TCPChannel, bytes: Int) {
    if !channel.isTouched {
      channel.isTouched = true
      channel.connection.pending += 1
      channel.pending += 1
      touched.append(channel)
      scheduleEndOfTick()
    }
    touchedBytes += bytes
    // A long tick is handed on in parts, so that the commit thread is not kept waiting for its end.
    if touchedBytes >= Limits.tcpSubmitBytes { submit() }
  }

  private func scheduleEndOfTick() {
    guard !endOfTickIsScheduled else { return }
    endOfTickIsScheduled = true
    eventLoop.execute(endOfTickTask)
  }

  private func endOfTick() {
    endOfTickIsScheduled = false
    submit()
    settle()
  }

  /// Numbers what was appended, and queues what its channels are owed.
  func submit() {
    guard let lane, !touched.isEmpty else { return }
    let position = lane.submit()
    batches.append(Batch(position: position, answers: touched.count))
    for channel in touched { answers.append(channel.endTick(at: position)) }
    touched.removeAll(keepingCapacity: true)
    touchedBytes = 0
  }

  /// Answers `channel` once `position`, of another lane, is durable.
  func answerOpening(_ channel: TCPChannel, at position: UInt64) {
    channel.connection.pending += 1
    channel.pending += 1
    batches.append(Batch(position: position, answers: 1))
    answers.append(Answer(channel: channel, isOpening: true))
    scheduleEndOfTick()
  }

  private func woken() {
    wakeIsAsked = false
    settle()
  }

  /// Notes every answer whose batch is acknowledged, writes, then asks to be woken for the next one.
  private func settle() {
    eventLoop.assertInEventLoop()
    guard let lane else { return flushConnections() }
    repeat {
      isSettling = true
      let acknowledged = lane.acknowledged
      while let batch = batches.first, batch.position <= acknowledged {
        batches.removeFirst()
        for _ in 0..<batch.answers {
          let answer = answers.removeFirst()
          answer.channel.connection.settle(answer)
        }
      }
      retryBlocked()
      // Who found no room again has begun a tick that no answer ends.
      if touched.isEmpty { _ = lane.submit() }
      flushConnections()
      isSettling = false
      guard let oldest = batches.first, !wakeIsAsked else { break }
      wakeIsAsked = lane.requestWake(at: oldest.position)
    } while !wakeIsAsked
    finishDrainIfEmpty()
  }

  // MARK: Writing

  /// The connection has something to write, when all of this wake is noted.
  func flushLater(_ connection: TCPConnection) {
    needFlush.append(connection)
    if !isSettling { scheduleEndOfTick() }
  }

  private func flushConnections() {
    // A flush may let a connection read on, which may add others.
    var index = 0
    while index < needFlush.count {
      needFlush[index].flush()
      index += 1
    }
    needFlush.removeAll(keepingCapacity: true)
  }

  /// An empty buffer; who has written it out gives it back.
  func takeOutput() -> ByteBuffer {
    var buffer = spareOutput
    spareOutput = ByteBuffer()
    // If NIO holds it still, this makes another one.
    buffer.clear()
    return buffer
  }

  func giveBack(output: ByteBuffer) {
    if output.storageCapacity <= Limits.maxWireControlFrameBytes { spareOutput = output }
  }

  // MARK: Full

  /// The stream has refused a record.
  func becomeFull() {
    isFull = true
    scheduleProbe()
  }

  /// The connection goes on with its frame when there may be room.
  func block(_ connection: TCPConnection) {
    if !connection.isToBeRetried { blocked.append(connection) }
    connection.isToBeRetried = true
    scheduleProbe()
  }

  private func scheduleProbe() {
    guard !probeIsScheduled, lane != nil else { return }
    probeIsScheduled = true
    eventLoop.scheduleTask(in: .milliseconds(Int64(Limits.tcpFullProbeMilliseconds))) { [weak self] in self?.probe() }
  }

  private func probe() {
    probeIsScheduled = false
    if isFull, let lane {
      submit()
      let maxRecord = settings.stream.maxRecordBytes
      isFull = lane.reserve(bytes: maxRecord, largest: maxRecord) != nil
      // Nothing is appended: this lets go of the room.
      _ = lane.submit()
      if !isFull {
        for connection in connections where connection.isWithheld { connection.creditIsFree() }
      }
    }
    settle()
    if isFull || !blocked.isEmpty { scheduleProbe() }
  }

  /// Those that waited longest come first; after a few in vain the others wait on.
  private func retryBlocked() {
    guard !blocked.isEmpty else { return }
    let waiting = blocked
    blocked.removeAll(keepingCapacity: true)
    var tried = 0
    while tried < waiting.count, blocked.count < Limits.tcpBlockedTriesInVain {
      waiting[tried].isToBeRetried = false
      waiting[tried].retryBlocked()
      tried += 1
    }
    blocked = Array(waiting[tried...]) + blocked
  }

  // MARK: Connections

  func add(_ connection: TCPConnection) {
    connection.index = connections.count
    connections.append(connection)
    counters.add(.opened)
    settings.openConnections.add(1, ordering: .relaxed)
    settings.load.enter()
  }

  func remove(_ connection: TCPConnection) {
    let index = connection.index
    guard index >= 0 else { return }
    connection.index = -1
    let last = connections.removeLast()
    if last !== connection {
      connections[index] = last
      last.index = index
    }
    counters.add(.closed)
    settings.openConnections.subtract(1, ordering: .relaxed)
    settings.load.leave()
    finishDrainIfEmpty()
  }

  private func sweep() {
    sweeps += 1
    // Backwards, because closing a connection puts the last one into its place.
    var index = connections.count - 1
    while index >= 0 {
      if index < connections.count, connections[index].sweep(sweeps) { counters.add(.timedOut) }
      index -= 1
    }
  }

  // MARK: Draining

  /// Says GOAWAY, answers what was taken, says BYE, and soon cuts those that take no answers; the future succeeds when no
  /// connection is left and the lane is closed. At the deadline connections are cut.
  func drain(within limit: TimeAmount) -> EventLoopFuture<Void> {
    eventLoop.assertInEventLoop()
    if let drained { return drained.futureResult }
    isDraining = true
    let promise = eventLoop.makePromise(of: Void.self)
    drained = promise
    // One may close at once, which changes the list.
    for connection in Array(connections) { connection.goAway() }
    drainDeadline = eventLoop.scheduleTask(in: limit) { [weak self] in
      guard let self else { return }
      for connection in Array(self.connections) { connection.cut() }
      self.finishDrain()
    }
    finishDrainIfEmpty()
    return promise.futureResult
  }

  private func finishDrainIfEmpty() {
    if isDraining, connections.isEmpty, answers.isEmpty, touched.isEmpty { finishDrain() }
  }

  private func finishDrain() {
    guard let promise = drained, let deadline = drainDeadline else { return }
    drainDeadline = nil
    deadline.cancel()
    sweeper?.cancel()
    // With the channels that were touched: one whose connection is cut only later lets its producer go at the right place.
    submit()
    lane?.close()
    lane = nil
    answers.removeAll()
    batches.removeAll()
    touched.removeAll()
    blocked.removeAll()
    promise.succeed(())
  }
}
