import NIOCore
import SluiceCore
import Synchronization

/// Some lines, one after the other.
struct LineChunk: Sendable {
  var bytes: [UInt8] = []
  /// Where each line ends in `bytes`.
  var ends: [Int] = []

  mutating func append(_ line: UnsafeRawBufferPointer) {
    bytes.append(contentsOf: line)
    ends.append(bytes.count)
  }

  /// What it is counted as in what is read ahead.
  var size: Int { bytes.count + ends.count * MemoryLayout<Int>.size }
}

/// How much is read ahead, over all connections: the reader rests while it is too much.
final class ReadAhead: Sendable {
  private let held = Atomic<Int>(0)
  private let isStopped = Atomic<Bool>(false)
  private let bell = Doorbell()

  func add(_ bytes: Int) { held.add(bytes, ordering: .sequentiallyConsistent) }

  func remove(_ bytes: Int) {
    let (before, after) = held.subtract(bytes, ordering: .sequentiallyConsistent)
    if before >= Limits.sendReadAheadBytes, after < Limits.sendReadAheadBytes { bell.ring() }
  }

  func stop() {
    isStopped.store(true, ordering: .sequentiallyConsistent)
    bell.ring()
  }

  /// Waits, on the reader's thread, until there is room; false when nobody wants lines any more.
  func waitForRoom() -> Bool {
    while !isStopped.load(ordering: .sequentiallyConsistent) {
      if held.load(ordering: .sequentiallyConsistent) < Limits.sendReadAheadBytes { return true }
      bell.wait(until: .max)
    }
    return false
  }
}

/// The lines of one connection on their way from the reader's thread to the connection's event loop.
final class LineQueue: Sendable {
  private struct State {
    var chunks: CircularBuffer<LineChunk> = []
    var hasEnded = false
    /// The connection found nothing, and wants to be called.
    var isAwaited = false
    var wake: (@Sendable () -> Void)?
  }
  private let state = Mutex(State())
  private let readAhead: ReadAhead

  init(_ readAhead: ReadAhead) { self.readAhead = readAhead }

  /// Says whom to call when lines come after `next` found none.
  func onArrival(_ wake: @escaping @Sendable () -> Void) { state.withLock { $0.wake = wake } }

  func push(_ chunk: LineChunk) {
    readAhead.add(chunk.size)
    changed { $0.chunks.append(chunk) }
  }

  func end() { changed { $0.hasEnded = true } }

  private func changed(_ change: (inout State) -> Void) {
    let wake = state.withLock { state -> (@Sendable () -> Void)? in
      change(&state)
      defer { state.isAwaited = false }
      return state.isAwaited ? state.wake : nil
    }
    wake?()
  }

  enum Next {
    case chunk(LineChunk)
    case waiting
    case ended
  }

  func next() -> Next {
    let next = state.withLock { state -> Next in
      if let chunk = state.chunks.popFirst() { return .chunk(chunk) }
      if state.hasEnded { return .ended }
      state.isAwaited = true
      return .waiting
    }
    if case .chunk(let chunk) = next { readAhead.remove(chunk.size) }
    return next
  }
}
