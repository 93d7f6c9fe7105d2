// Lines from standard input, or from any descriptor, on a thread of its own.
//
//   reading ──► ended      end of file, or a fault: what was read is submitted, the last line needs no LF
//      └──────► stopped    `drain`: nothing more is read; whole lines that wait for room may still find it until the
//                          deadline; what of an unfinished line was read is dropped and counted
//
// A full stream makes the thread wait, and so whoever writes into the pipe.

import Glibc
import Logging
import SluiceCore
import Synchronization

/// A source that reads one descriptor to its end.
package final class StdinSource: IngestSource {
  package let name: String
  private let descriptor: Int32
  private let format: LineFormat
  private let stream: any IngestStream
  private let logger: Logger
  private let counters = LineCounters()
  /// Rung by commits and by `drain`; the source's thread waits.
  private let bell = Doorbell()
  private let stopSignal = StopSignal()
  /// When lines that wait for room are given up; `.max` until `drain` is called.
  private let stopAt = Atomic<Int64>(.max)

  private struct State {
    var thread: OSThread?
    /// Whether the input came to its end; nil while it is read.
    var outcome: Bool?
    var waiters: [CheckedContinuation<Bool, Never>] = []
  }
  private let state = Mutex(State())

  /// `descriptor` stays the caller's to close, after `drain`.
  package init(
    name: String, topic: String, stream: any IngestStream, descriptor: Int32 = STDIN_FILENO, logger: Logger
  ) {
    self.name = name
    self.descriptor = descriptor
    self.stream = stream
    self.logger = logger
    format = LineFormat(topic: topic)
  }

  package func start() throws(OSThread.Failure) {
    try state.withLock { state throws(OSThread.Failure) in
      precondition(state.thread == nil, "a source is started once")
      state.thread = try OSThread(starting: "in \(name)") { [self] in run() }
    }
  }

  /// Waits for the end of the source. True if its input came to its end, or to a fault, and all of it is in the stream;
  /// false if it was drained before.
  package var ended: Bool {
    get async {
      await withCheckedContinuation { continuation in
        let outcome = state.withLock { state in
          if state.outcome == nil { state.waiters.append(continuation) }
          return state.outcome
        }
        if let outcome { continuation.resume(returning: outcome) }
      }
    }
  }

  package var openConnections: Int { 0 }

  /// What is read goes on being read.
  package func stopAccepting() async {}

  package func drain(within limit: Duration) async {
    let nanoseconds = limit.components.seconds * 1_000_000_000 + limit.components.attoseconds / 1_000_000_000
    stopAt.store(Clock.monotonic() + nanoseconds, ordering: .sequentiallyConsistent)
    stopSignal.give()
    bell.ring()
    if state.withLock({ $0.thread }) != nil { _ = await ended }
  }

  package func metrics() -> [MetricFamily] {
    LineCounters.families(source: name, [counters], .descriptor)
  }

  // MARK: The source's thread

  private func run() {
    let bell = bell
    let lane = stream.openLane(source: name) { bell.ring() }
    var reader = Reader(maxLineBytes: format.maxLineBytes(maxRecordBytes: stream.maxRecordBytes))
    let hasEnded = read(&reader, into: lane)
    _ = lane.submit()
    lane.close()
    reader.deallocate()
    let waiters = state.withLock { state in
      state.outcome = hasEnded
      defer { state.waiters = [] }
      return state.waiters
    }
    logger.info(
      hasEnded ? "input has ended" : "input is left",
      metadata: ["source": "\(name)", "records": "\(counters.value(.accepted))"])
    for waiter in waiters { waiter.resume(returning: hasEnded) }
  }

  /// True at the input's end.
  private func read(_ reader: inout Reader, into lane: any IngestLane) -> Bool {
    while stopSignal.waitForInput(on: descriptor) {
      switch reader.fill(from: descriptor) {
      case .bytes(let count): counters.add(.bytes, count)
      case .nothing: continue
      case .fault(let code):
        logger.error(
          "cannot read the input", metadata: ["source": "\(name)", "error": "\(String(cString: strerror(code)))"])
        return take(&reader, isLast: true, into: lane)
      case .end: return take(&reader, isLast: true, into: lane)
      }
      guard take(&reader, isLast: false, into: lane) else { return false }
    }
    if reader.hasRest { counters.add(.unfinished) }
    return false
  }

  /// Appends every whole line, and with `isLast` what follows; one submit. False: the source had to stop before.
  private func take(_ reader: inout Reader, isLast: Bool, into lane: any IngestLane) -> Bool {
    let now = Clock.wall()
    while let line = reader.next(isLast: isLast) {
      guard let line else {
        counters.add(.tooLarge)
        continue
      }
      guard append(RecordFields(eventTime: now, topic: format.topic, payload: line), to: lane) else {
        counters.add(.closing)
        while let lost = reader.next(isLast: isLast) { counters.add(lost == nil ? .tooLarge : .closing) }
        if reader.hasRest { counters.add(.unfinished) }
        return false
      }
    }
    _ = lane.submit()
    return true
  }

  /// Waits for room. False: there was none before the source had to stop.
  private func append(_ record: RecordFields, to lane: any IngestLane) -> Bool {
    var hasWaited = false
    while true {
      switch lane.append(record) {
      case .accepted:
        counters.add(.accepted)
        return true
      case .tooLarge:
        counters.add(.tooLarge)
        return true
      case .full:
        if !hasWaited { counters.add(.pauses) }
        hasWaited = true
        let position = lane.submit()
        let now = Clock.monotonic()
        guard now < stopAt.load(ordering: .sequentiallyConsistent) else { return false }
        _ = lane.requestWake(at: position)
        bell.wait(until: min(now + Limits.roomRetryNanoseconds, stopAt.load(ordering: .sequentiallyConsistent)))
      }
    }
  }
}

/// The bytes of one input, from the unfinished line on. Owned by the source's thread.
private struct Reader {
  enum Filled {
    case bytes(Int)
    case nothing, end
    case fault(Int32)
  }

  private let buffer: UnsafeMutableRawBufferPointer
  private var splitter: LineSplitter
  private var start = 0
  private var end = 0

  init(maxLineBytes: Int) {
    // A whole line, its CR, and what one more read brings.
    buffer = .allocate(byteCount: maxLineBytes + 2 + Limits.stdinReadBytes, alignment: 16)
    splitter = LineSplitter(maxBytes: maxLineBytes)
  }

  func deallocate() { buffer.deallocate() }

  var hasRest: Bool { start < end || splitter.isSkipping }

  /// Reads once, behind what is left.
  mutating func fill(from descriptor: Int32) -> Filled {
    guard let base = buffer.baseAddress else { preconditionFailure("the buffer has bytes") }
    if start > 0 {
      memmove(base, base + start, end - start)
      end -= start
      start = 0
    }
    let count = read(descriptor, base + end, min(buffer.count - end, Limits.stdinReadBytes))
    switch count {
    case 1...:
      end += count
      return .bytes(count)
    case 0: return .end
    default: return errno == EINTR || errno == EAGAIN ? .nothing : .fault(errno)
    }
  }

  /// The next line; an inner nil for one that is too long, an outer one when nothing more is whole.
  mutating func next(isLast: Bool) -> UnsafeRawBufferPointer?? {
    let all = UnsafeRawBufferPointer(rebasing: buffer[..<end])
    while true {
      var step = splitter.next(all, from: start)
      if isLast, case .more = step { step = splitter.last(all, from: start) }
      switch step {
      case .line(let range, let next):
        start = next
        return .some(UnsafeRawBufferPointer(rebasing: all[range]))
      case .tooLong(let next):
        start = next
        return .some(nil)
      case .skipped(let next): start = next
      case .more(let keep):
        start = keep
        return nil
      }
    }
  }
}
