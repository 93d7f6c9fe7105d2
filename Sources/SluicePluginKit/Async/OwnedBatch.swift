import CSluice
import Glibc
import Synchronization

/// A batch that outlives the daemon's call, for an `AsyncSubscriber`: messages of one stream, in the order of the log. The
/// bytes stay where they are under a lease, or are copied when the instance's budget of leases is used up. It is over when
/// the `deliver` that it was given to has ended: looking at messages after that is a mistake that ends the process.
///
/// `@unchecked Sendable`: the memory that `raw` leads to is written in `init` only, read with `lock` held for reading, and
/// let go of with `lock` held for writing; `open` has a lock of its own.
public final class OwnedBatch: @unchecked Sendable {
  /// Messages in it; at least one.
  public let count: Int
  /// Name of the stream.
  public let stream: String
  /// The log's name; with a message's LSN it identifies a record.
  public let logUUID: LogUUID
  /// The range of LSNs that was scanned for this batch, whatever of it matched.
  public let lsns: ClosedRange<UInt64>
  /// Asked for by an operator: these messages were delivered before.
  public let isReplay: Bool
  /// At least one message was delivered before, since this instance was started.
  public let isRedelivery: Bool
  /// When tokens that are not settled die.
  public let ackDeadline: Deadline
  /// Whether the bytes are copies, since no lease was to be had.
  public let isCopied: Bool

  private let host: Host
  private let lock = UnsafeMutablePointer<pthread_rwlock_t>.allocate(capacity: 1)
  private var memory: BatchMemory?
  /// Places of messages without a verdict.
  private let open: Mutex<[Range<Int>]>
  private let firstToken: UInt64

  init(_ batch: borrowing Batch, host: Host) {
    count = batch.count
    stream = batch.stream
    logUUID = batch.logUUID
    lsns = batch.firstLSN...max(batch.firstLSN, batch.lastLSN)
    isReplay = batch.isReplay
    isRedelivery = batch.isRedelivery
    ackDeadline = batch.ackDeadline
    firstToken = batch.withMessage(at: 0) { $0.token }
    let lease = host.retain(batch)
    isCopied = lease == nil
    memory = BatchMemory(batch, lease: lease)
    self.host = host
    open = Mutex([0..<count])
    pthread_rwlock_init(lock, nil)
  }

  deinit {
    pthread_rwlock_destroy(lock)
    lock.deallocate()
  }

  /// Shows `body` each message in order. Its buffers must not outlive the call.
  public func forEach<Failure: Error>(_ body: (borrowing Message) throws(Failure) -> Void) throws(Failure) {
    for index in 0..<count { try withMessage(at: index, body) }
  }

  /// Shows `body` the message at `index`, which is below `count`.
  public func withMessage<Result, Failure: Error>(
    at index: Int, _ body: (borrowing Message) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    precondition(index >= 0 && index < count, "no such message")
    pthread_rwlock_rdlock(lock)
    defer { pthread_rwlock_unlock(lock) }
    guard let memory else { preconditionFailure("the batch was over when deliver ended: copy what is needed longer") }
    return try body(Message(memory.messages + index))
  }

  /// Gives one verdict on the messages at these places, as far as they have none. What has none when `deliver` ends gets
  /// the one that its end means.
  public func settle(_ places: Range<Int>, _ verdict: Verdict) {
    let taken = open.withLock { open in
      let taken = open.map { $0.clamped(to: places) }.filter { !$0.isEmpty }
      open = open.flatMap { range in
        [
          range.lowerBound..<max(range.lowerBound, min(range.upperBound, places.lowerBound)),
          min(range.upperBound, max(range.lowerBound, places.upperBound))..<range.upperBound,
        ]
      }.filter { !$0.isEmpty }
      return taken
    }
    for range in taken { host.settle(first: firstToken + UInt64(range.lowerBound), count: range.count, verdict) }
  }

  /// Ends it: what is open gets this verdict, and the bytes are let go of once nobody looks at them.
  func finish(_ verdict: Verdict) {
    settle(0..<count, verdict)
    pthread_rwlock_wrlock(lock)
    memory = nil
    pthread_rwlock_unlock(lock)
  }
}

/// The messages of a batch in memory of our own, and the lease or the copies that their bytes lie in.
private final class BatchMemory {
  let messages: UnsafeMutablePointer<slu_message>
  private let copies: UnsafeMutableRawPointer?
  private let lease: Lease?

  init(_ batch: borrowing Batch, lease: consuming Lease?) {
    let isCopied = lease == nil
    self.lease = lease
    let messages = UnsafeMutablePointer<slu_message>.allocate(capacity: batch.count)
    self.messages = messages
    let stride = batch.stride
    for index in 0..<batch.count { batch.withMessage(at: index) { copy($0.raw, stride, to: messages + index) } }
    guard isCopied else {
      copies = nil
      return
    }
    var arena = Arena()
    for index in 0..<batch.count { _ = arena.take(messages[index]) }
    let copies = UnsafeMutableRawPointer.allocate(byteCount: max(1, arena.used), alignment: Arena.alignment)
    self.copies = copies
    arena = Arena(base: copies)
    for index in 0..<batch.count { messages[index] = arena.take(messages[index]) }
  }

  deinit {
    copies?.deallocate()
    messages.deallocate()
  }
}

/// Copies a message whose host may have a shorter or a longer one; what it lacks is zero.
private func copy(_ message: UnsafePointer<slu_message>, _ stride: Int, to target: UnsafeMutablePointer<slu_message>) {
  target.initialize(to: slu_message())
  UnsafeMutableRawPointer(target).copyMemory(from: message, byteCount: min(stride, MemoryLayout<slu_message>.size))
}

/// Puts bytes one after the other, or, without memory, only counts them.
private struct Arena {
  /// As the log's own buffers have it.
  static let alignment = 8

  var base: UnsafeMutableRawPointer?
  var used = 0

  /// The message with its bytes here. Most of them lie in its producer part, which is copied as one piece.
  mutating func take(_ message: slu_message) -> slu_message {
    var copy = message
    let covered = put(message.covered)
    copy.covered = covered
    for part in [\slu_message.topic, \.key, \.headers, \.payload, \.source, \.producer] {
      copy[keyPath: part] = moved(message[keyPath: part], from: message.covered, to: covered)
    }
    return copy
  }

  private mutating func moved(_ bytes: slu_bytes, from old: slu_bytes, to new: slu_bytes) -> slu_bytes {
    guard let start = bytes.ptr, let first = old.ptr, let target = new.ptr, start >= first,
      start + Int(bytes.len) <= first + Int(old.len)
    else { return put(bytes) }
    return slu_bytes(ptr: target + (start - first), len: bytes.len)
  }

  private mutating func put(_ bytes: slu_bytes) -> slu_bytes {
    guard let source = bytes.ptr, bytes.len > 0 else { return slu_bytes() }
    used = (used + Arena.alignment - 1) / Arena.alignment * Arena.alignment
    defer { used += Int(bytes.len) }
    guard let base else { return bytes }
    (base + used).copyMemory(from: source, byteCount: Int(bytes.len))
    return slu_bytes(ptr: UnsafeRawPointer(base + used), len: bytes.len)
  }
}
