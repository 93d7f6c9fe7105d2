// One event loop's part of a source of lines: its lane into the stream, one submit per tick.
//
// Nobody is answered, so nothing waits for durability. A wake is asked for only while connections wait for room, since a
// commit is what makes some.

import NIOCore
import SluiceCore
import Synchronization

/// `@unchecked Sendable`: all variables are touched on `eventLoop` only; the commit thread holds nothing but a closure
/// that it hands to `eventLoop.execute`.
final class LinesLoop: SourceLoop, @unchecked Sendable {
  let eventLoop: any EventLoop
  let settings: LinesSettings
  let counters = LineCounters()
  let waitingRoom: WaitingRoom
  private var lane: (any IngestLane)?
  private let syslog: SyslogFormat?
  private var connections: [LinesConnection] = []
  private var endOfTickIsScheduled = false
  private var endOfTickTask: @Sendable () -> Void = {}
  /// The time of this tick; 0 outside of one.
  private var tickTime: Int64 = 0
  private var sweeper: RepeatedTask?
  /// Seconds, counted by the sweep.
  private(set) var sweeps = 0
  private(set) var isDraining = false
  private var drained: EventLoopPromise<Void>?
  private var drainDeadline: Scheduled<Void>?

  init(eventLoop: any EventLoop, settings: LinesSettings) {
    self.eventLoop = eventLoop
    self.settings = settings
    waitingRoom = WaitingRoom(eventLoop: eventLoop)
    syslog = settings.options.isSyslog ? SyslogFormat(topic: settings.format.topic) : nil
  }

  /// Opens the lane and starts the sweep, on the loop.
  func open() {
    eventLoop.assertInEventLoop()
    endOfTickTask = { [weak self] in self?.endOfTick() }
    let loop = eventLoop
    let wake: @Sendable () -> Void = { [weak self] in self?.waitingRoom.tryAll() }
    lane = settings.stream.openLane(source: settings.options.name) { loop.execute(wake) }
    sweeper = eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { [weak self] _ in
      self?.sweep()
    }
  }

  /// `sender`: the text of the peer's address. False: the stream takes nothing now.
  @inline(__always)
  func append(_ line: UnsafeRawBufferPointer, from sender: [UInt8]) -> Bool {
    guard let lane else {
      counters.add(.closing)
      return true
    }
    if tickTime == 0 { tickTime = Clock.wall() }
    scheduleEndOfTick()
    if let syslog { return append(line, from: sender, by: syslog, to: lane) }
    switch lane.append(RecordFields(eventTime: tickTime, topic: settings.format.topic, payload: line)) {
    case .accepted: counters.add(.accepted)
    case .full: return false
    case .tooLarge: counters.add(.tooLarge)
    }
    return true
  }

  private func append(
    _ message: UnsafeRawBufferPointer, from sender: [UInt8], by syslog: SyslogFormat, to lane: any IngestLane
  ) -> Bool {
    sender.withUnsafeBytes { sender in
      // Nothing between two messages is how some end a counted one.
      guard let record = syslog.record(message, from: sender, now: tickTime) else { return true }
      switch lane.append(record) {
      case .accepted:
        counters.add(.accepted)
        if record.isMalformed { counters.add(.malformed) }
      case .full: return false
      case .tooLarge: counters.add(.tooLarge)
      }
      return true
    }
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
    guard let lane else { return }
    let position = lane.submit()
    // If it is reached already, the room's timer looks again.
    if waitingRoom.count > 0 { _ = lane.requestWake(at: position) }
  }

  // MARK: Connections

  func add(_ connection: LinesConnection) {
    connection.index = connections.count
    connections.append(connection)
    counters.add(.opened)
    settings.openConnections.add(1, ordering: .relaxed)
    settings.load.enter()
  }

  func remove(_ connection: LinesConnection) {
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
    if isDraining, connections.isEmpty { finishDrain() }
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

  /// Reads no further; lines that wait for room may still find it until the deadline. The future succeeds when no
  /// connection is left and the lane is closed.
  func drain(within limit: TimeAmount) -> EventLoopFuture<Void> {
    eventLoop.assertInEventLoop()
    if let drained { return drained.futureResult }
    isDraining = true
    let promise = eventLoop.makePromise(of: Void.self)
    drained = promise
    drainDeadline = eventLoop.scheduleTask(in: limit) { [weak self] in
      guard let self else { return }
      for connection in self.connections { connection.cut() }
      self.finishDrain()
    }
    for connection in connections { connection.closeUnlessPaused() }
    if connections.isEmpty { finishDrain() }
    return promise.futureResult
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
    promise.succeed(())
  }
}
