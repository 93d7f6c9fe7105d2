// Datagrams, each a record, on a thread of its own.
//
//   reading ──► stopping ──► gone      stopping    what the kernel holds is still taken, as far as it was there
//
// Nobody can be answered and nobody waits: a datagram that finds the stream full is dropped and counted, as is what the
// kernel had no room for. One `recvmmsg` brings up to `Limits.datagramBatch`, one submit hands them on.

import Glibc
import Logging
import SluiceCore
import Synchronization

/// What a source of datagrams is told by the topology.
package struct DatagramSourceOptions: Sendable {
  package var name: String
  /// Of every record; with syslog of those that say none.
  package var topic: String
  /// Each datagram is a syslog message; else it is a record as it is.
  package var isSyslog = true

  package init(name: String, topic: String) {
    self.name = name
    self.topic = topic
  }
}

/// A source that receives on one UDP socket.
package final class DatagramSource: IngestSource {
  package var name: String { options.name }
  private let options: DatagramSourceOptions
  private let stream: any IngestStream
  private let format: LineFormat
  private let logger: Logger
  private let counters = LineCounters()
  private let stopSignal = StopSignal()

  private struct State {
    var thread: OSThread?
    var hasEnded = false
    var waiters: [CheckedContinuation<Void, Never>] = []
  }
  private let state = Mutex(State())

  package init(_ options: DatagramSourceOptions, stream: any IngestStream, logger: Logger) {
    self.options = options
    self.stream = stream
    self.logger = logger
    format = LineFormat(topic: options.topic)
  }

  /// Receives on `socket` from now on.
  package func start(on socket: ListeningSocket) throws(ListenError) {
    precondition(socket.transport == .udp, "datagrams come over UDP")
    guard let descriptor = socket.duplicate() else {
      throw ListenError("no descriptor is left; raise the limit of open files (ulimit -n)")
    }
    do throws(OSThread.Failure) {
      try state.withLock { state throws(OSThread.Failure) in
        precondition(state.thread == nil, "a source is started once")
        state.thread = try OSThread(starting: "udp \(name)") { [self] in run(descriptor, socket) }
      }
    } catch {
      close(descriptor)
      throw ListenError(error.description)
    }
    logger.info(
      "listening",
      metadata: socket.logMetadata.merging([
        "source": "\(name)", "framing": options.isSyslog ? "syslog" : "messages",
      ]) { $1 })
  }

  package var openConnections: Int { 0 }

  package func stopAccepting() async { stopSignal.give() }

  package func drain(within limit: Duration) async {
    stopSignal.give()
    // The thread ends by itself: nothing in it waits but `poll`, which the signal ends.
    await withCheckedContinuation { continuation in
      let isOver = state.withLock { state in
        if state.thread == nil || state.hasEnded { return true }
        state.waiters.append(continuation)
        return false
      }
      if isOver { continuation.resume() }
    }
  }

  package func metrics() -> [MetricFamily] {
    LineCounters.families(source: name, [counters], .datagrams, isSyslog: options.isSyslog)
  }

  // MARK: The source's thread

  private func run(_ descriptor: Int32, _ socket: ListeningSocket) {
    let lane = stream.openLane(source: name) {}
    let syslog = options.isSyslog ? SyslogFormat(topic: format.topic) : nil
    let batch = DatagramBatch(overflow: socket.drops)
    while stopSignal.waitForInput(on: descriptor) { receive(from: descriptor, socket, into: lane, batch, syslog) }
    // As much as the kernel may hold, so that senders who go on can't keep the source.
    var left = socket.receiveBufferBytes / Limits.datagramBatch
    while left > 0, receive(from: descriptor, socket, into: lane, batch, syslog) { left -= batch.count }
    lane.close()
    close(descriptor)
    let waiters = state.withLock { state in
      state.hasEnded = true
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume() }
  }

  /// One system call's worth. False: nothing was there.
  @discardableResult
  private func receive(
    from descriptor: Int32, _ socket: ListeningSocket, into lane: any IngestLane, _ batch: DatagramBatch,
    _ syslog: SyslogFormat?
  ) -> Bool {
    // An error is one that an earlier datagram of ours would have caused, and reading it clears it.
    guard batch.receive(from: descriptor) == 0 else { return false }
    let now = Clock.wall()
    for index in 0..<batch.count {
      batch.withDatagram(index) { bytes, sender, isTruncated in
        counters.add(.bytes, bytes.count)
        guard !isTruncated else { return counters.add(.tooLarge) }
        take(bytes, from: sender, now, into: lane, syslog)
      }
    }
    counters.add(.kernelDropped, socket.takeDrops(total: batch.overflow))
    _ = lane.submit()
    return batch.count > 0
  }

  private func take(
    _ bytes: UnsafeRawBufferPointer, from sender: UnsafeRawBufferPointer, _ now: Int64, into lane: any IngestLane,
    _ syslog: SyslogFormat?
  ) {
    let result: AppendResult
    var isMalformed = false
    if let syslog {
      guard let record = syslog.record(bytes, from: sender, now: now) else { return counters.add(.empty) }
      isMalformed = record.isMalformed
      result = lane.append(record)
    } else {
      result = lane.append(RecordFields(eventTime: now, topic: format.topic, payload: bytes))
    }
    switch result {
    case .accepted:
      counters.add(.accepted)
      if isMalformed { counters.add(.malformed) }
    case .full: counters.add(.full)
    case .tooLarge: counters.add(.tooLarge)
    }
  }
}
