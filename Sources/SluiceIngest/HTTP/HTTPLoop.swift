// One event loop's part of an HTTP source: its lane into the stream, and the answers that wait for durability.
//
//   all requests of a tick ── append ──► lane      first one schedules `endOfTick`
//   endOfTick ── submit ──► batch(position, n)     one submit, whatever the number of connections
//   settle: while the oldest batch's position is acknowledged, its answers are written; each connection is flushed
//           once. If batches remain, one wake is asked for at the oldest position.
//   commit thread ── wake ──► execute(settle)      one per commit
//
// A numbered record is submitted at once, under its producer's lock; its answer waits like the others for the tick's end.
// A request that finds the stream full is refused, or waits in the `WaitingRoom`.
//
// `answers` is first in, first out over all connections, and a batch is a number of them. So the answers of one
// connection keep the order of its requests, also when an answer that needs no durability (a 400) follows a 202 that
// waits: it joins the queue. Without the journal's help nothing here blocks, and nothing is allocated per request.

import NIOCore
import SluiceCore
import Synchronization

/// `@unchecked Sendable`: all variables are touched on `eventLoop` only; the commit thread holds nothing but a closure
/// that it hands to `eventLoop.execute`. What every request touches is `@exclusivity(unchecked)`, for the reason that
/// `HTTPConnection` gives.
final class HTTPLoop: SourceLoop, @unchecked Sendable {
  /// An answer in the queue. A run of plain `202`s to one connection is one answer with a count.
  struct Answer {
    var connection: HTTPConnection
    var accepted: Int
    /// Set for every answer but plain `202`s.
    var response: HTTPResponse?
    var closes: Bool
  }

  private struct Batch {
    var position: UInt64
    var answers: Int
  }

  let eventLoop: any EventLoop
  let settings: HTTPSettings
  let counters: HTTPCounters
  @exclusivity(unchecked) private(set) var responses: HTTPResponses
  @exclusivity(unchecked) private(set) var lane: (any IngestLane)?
  @exclusivity(unchecked) private var answers: CircularBuffer<Answer>
  @exclusivity(unchecked) private var batches: CircularBuffer<Batch>
  /// The records of the body at hand.
  @exclusivity(unchecked) var records = RecordList()
  /// Expands the compressed body at hand.
  @exclusivity(unchecked) var expander = BodyExpander()
  /// Requests that wait for room in the stream.
  let waitingRoom: WaitingRoom
  /// Compressed requests that wait for the next turn.
  let turns: ExpansionTurns
  /// How much room the request wanted that found none last.
  @exclusivity(unchecked) var wantedRoom = WantedRoom()
  /// What the answers queued since the last submit wait for beside it.
  @exclusivity(unchecked) private var openPosition: UInt64 = 0
  /// Answers queued since the last submit.
  @exclusivity(unchecked) private var openAnswers = 0
  @exclusivity(unchecked) private var endOfTickIsScheduled = false
  @exclusivity(unchecked) private var wakeIsAsked = false
  @exclusivity(unchecked) private var needFlush: [HTTPConnection] = []
  @exclusivity(unchecked) private var isSettling = false
  /// The time of this tick, for requests that bring none; 0 outside of one.
  @exclusivity(unchecked) private var tickTime: Int64 = 0
  private var isSweeping = false
  private var endOfTickTask: @Sendable () -> Void = {}

  private var connections: [HTTPConnection] = []
  private var sweeper: RepeatedTask?
  /// Seconds, counted by the sweep.
  @exclusivity(unchecked) private(set) var sweeps = 0
  @exclusivity(unchecked) private(set) var isDraining = false
  private var drained: EventLoopPromise<Void>?
  private var drainDeadline: Scheduled<Void>?
  /// Where a body in chunks is joined; as large as the largest so far.
  private var scratch = UnsafeMutableRawBufferPointer(start: nil, count: 0)

  init(eventLoop: any EventLoop, settings: HTTPSettings, counters: HTTPCounters) {
    self.eventLoop = eventLoop
    self.settings = settings
    self.counters = counters
    responses = HTTPResponses(now: settings.options.clock.wall())
    waitingRoom = WaitingRoom(eventLoop: eventLoop)
    turns = ExpansionTurns(eventLoop: eventLoop)
    answers = CircularBuffer(initialCapacity: settings.stream == nil ? 16 : Limits.preparedWaiters)
    batches = CircularBuffer(initialCapacity: 256)
  }

  deinit { scratch.deallocate() }

  /// Opens the lane and starts the sweep, on the loop.
  func open() {
    eventLoop.assertInEventLoop()
    endOfTickTask = { [weak self] in self?.endOfTick() }
    if let stream = settings.stream {
      let loop = eventLoop
      let settle: @Sendable () -> Void = { [weak self] in self?.woken() }
      lane = stream.openLane(source: settings.name) { loop.execute(settle) }
    }
    sweeper = eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { [weak self] _ in
      self?.sweep()
    }
  }

  // MARK: Records

  /// The stream's `max_record` holds more than the body; whoever has no lane takes nothing.
  @inline(__always)
  func append(_ record: RecordFields) -> AppendResult {
    lane?.append(record) ?? .full(.closing)
  }

  /// Whether a request that waits may be served now, so that its body, which may be large, is not parsed again and again
  /// in vain. One whose stream closes is served too: to be refused.
  func mayHaveRoom(for wanted: WantedRoom) -> Bool {
    guard let lane else { return true }
    // Behind a submit the lane looks at the stream anew; the other one lets go of the room.
    _ = lane.submit()
    let reason = lane.reserve(bytes: wanted.bytes, largest: wanted.largest)
    _ = lane.submit()
    return reason == nil || reason == .closing
  }

  /// What is answered from now on in this tick says that the record at `position` is durable.
  func answersWait(for position: UInt64) { openPosition = max(openPosition, position) }

  /// The time of this tick.
  @inline(__always)
  func now() -> Int64 {
    if tickTime == 0 {
      tickTime = settings.options.clock.wall()
      responses.refresh(now: tickTime)
      scheduleEndOfTick()
    }
    return tickTime
  }

  /// Queues a plain `202` for the record appended last.
  @inline(__always)
  func answerAccepted(_ connection: HTTPConnection) {
    if openAnswers > 0 {
      let last = answers.index(before: answers.endIndex)
      if answers[last].connection === connection, answers[last].response == nil,
        answers[last].accepted < Limits.preparedAnswers
      {
        answers[last].accepted += 1
        return
      }
    }
    enqueue(Answer(connection: connection, accepted: 1, response: nil, closes: false))
  }

  /// Queues any other answer behind those that wait.
  func answer(_ connection: HTTPConnection, _ response: HTTPResponse, closes: Bool) {
    enqueue(Answer(connection: connection, accepted: 0, response: response, closes: closes))
  }

  private func enqueue(_ answer: Answer) {
    answers.append(answer)
    openAnswers += 1
    scheduleEndOfTick()
  }

  @inline(__always)
  private func scheduleEndOfTick() {
    guard !endOfTickIsScheduled else { return }
    endOfTickIsScheduled = true
    eventLoop.execute(endOfTickTask)
  }

  private func endOfTick() {
    endOfTickIsScheduled = false
    tickTime = 0
    if let lane, openAnswers > 0 {
      batches.append(Batch(position: max(lane.submit(), openPosition), answers: openAnswers))
      openAnswers = 0
      openPosition = 0
    } else {
      // What was refused is answered already; its lane is not to keep the time of this tick, nor a part of the ring.
      _ = lane?.submit()
    }
    settle()
    turns.endOfTick()
  }

  private func woken() {
    wakeIsAsked = false
    settle()
    waitingRoom.tryAll()
  }

  /// Writes every answer whose batch is acknowledged, then asks to be woken for the next one.
  private func settle() {
    eventLoop.assertInEventLoop()
    isSettling = true
    defer { isSettling = false }
    guard let lane else { return flushConnections() }
    repeat {
      let acknowledged = lane.acknowledged
      while let batch = batches.first, batch.position <= acknowledged {
        batches.removeFirst()
        for _ in 0..<batch.answers {
          let answer = answers.removeFirst()
          answer.connection.complete(answer)
        }
      }
      flushConnections()
      guard let oldest = batches.first, !wakeIsAsked else { break }
      wakeIsAsked = lane.requestWake(at: oldest.position)
    } while !wakeIsAsked
    finishDrainIfEmpty()
  }

  // MARK: Writing

  /// The connection has written and is flushed when all answers of this wake are.
  func flushLater(_ connection: HTTPConnection) {
    needFlush.append(connection)
    if !isSettling { scheduleEndOfTick() }
  }

  private func flushConnections() {
    // A flush may let a connection read on, which may add others.
    var index = 0
    while index < needFlush.count {
      needFlush[index].flushAnswers()
      index += 1
    }
    needFlush.removeAll(keepingCapacity: true)
  }

  /// Room for a body of `count` bytes, until the next call.
  func room(for count: Int) -> UnsafeMutableRawBufferPointer {
    if scratch.count < count {
      scratch.deallocate()
      scratch = .allocate(byteCount: max(count, 4096), alignment: 16)
    }
    return UnsafeMutableRawBufferPointer(rebasing: scratch[..<count])
  }

  // MARK: Connections

  func add(_ connection: HTTPConnection) {
    connection.index = connections.count
    connections.append(connection)
    counters.connectionOpened()
    settings.openConnections.add(1, ordering: .relaxed)
    settings.load.enter()
  }

  func remove(_ connection: HTTPConnection) {
    let index = connection.index
    guard index >= 0 else { return }
    connection.index = -1
    let last = connections.removeLast()
    if last !== connection {
      connections[index] = last
      last.index = index
    }
    counters.connectionClosed()
    settings.openConnections.subtract(1, ordering: .relaxed)
    settings.load.leave()
    finishDrainIfEmpty()
  }

  private func sweep() {
    sweeps += 1
    // Who waits for a drain sees all that was closed for it counted.
    isSweeping = true
    defer {
      isSweeping = false
      finishDrainIfEmpty()
    }
    // Backwards, because closing a connection puts the last one into its place.
    var index = connections.count - 1
    while index >= 0 {
      if index < connections.count, connections[index].sweep(sweeps) { counters.connectionTimedOut() }
      index -= 1
    }
  }

  // MARK: Draining

  /// Answers what is pending, says `Connection: close` from now on, closes idle connections, and soon those whose peers do
  /// nothing; the future succeeds when no connection is left and the lane is closed. At the deadline connections are cut.
  func drain(within limit: TimeAmount) -> EventLoopFuture<Void> {
    eventLoop.assertInEventLoop()
    if let drained { return drained.futureResult }
    isDraining = true
    let promise = eventLoop.makePromise(of: Void.self)
    drained = promise
    waitingRoom.dismissAll()
    for connection in connections { connection.closeIfIdle() }
    drainDeadline = eventLoop.scheduleTask(in: limit) { [weak self] in
      guard let self else { return }
      for connection in self.connections { connection.cut() }
      self.finishDrain()
    }
    finishDrainIfEmpty()
    return promise.futureResult
  }

  private func finishDrainIfEmpty() {
    if isDraining, !isSweeping, connections.isEmpty, answers.isEmpty { finishDrain() }
  }

  private func finishDrain() {
    guard let promise = drained, let deadline = drainDeadline else { return }
    drainDeadline = nil
    deadline.cancel()
    sweeper?.cancel()
    if let lane {
      _ = lane.submit()
      lane.close()
    }
    lane = nil
    answers.removeAll()
    batches.removeAll()
    openAnswers = 0
    promise.succeed(())
  }
}
