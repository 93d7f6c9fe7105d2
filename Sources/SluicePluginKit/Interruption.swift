import Glibc

/// Waits on descriptors that `Subscriber.interrupt` can end.
///
///     func interrupt() { interruption.interrupt() }
///     …
///     guard interruption.wait(for: .reading, on: socket, until: deadline) == .ready else { … }
///
/// An interrupt that comes while nothing waits ends the next wait, so that none is lost. All that
/// have come by then end that wait together, and no other.
public final class Interruption: Sendable {
  /// What a descriptor should be ready for.
  public struct Interest: OptionSet, Sendable {
    /// The bits.
    public let rawValue: Int

    /// From the bits.
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// There is something to read, or the other side is gone.
    public static let reading = Interest(rawValue: 1)
    /// There is room to write, or the other side is gone.
    public static let writing = Interest(rawValue: 2)
  }

  /// How a wait ended.
  public enum Outcome: Sendable {
    /// The descriptor is ready, or broken: the next call on it says which.
    case ready
    /// `interrupt` was called.
    case interrupted
    /// The deadline passed.
    case late
  }

  // A pair of sockets that holds a byte for each interrupt since the last wait that one ended: together they end one.
  private let source: Int32
  private let sink: Int32

  /// An interruption that has not come yet. Throws when the process has no descriptors left.
  public init() throws(SubscriberError) {
    var ends: [Int32] = [-1, -1]
    let flags = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    guard socketpair(AF_UNIX, flags, 0, &ends) == 0 else {
      throw SubscriberError(.retryable, "cannot make a pair of sockets: \(String(cString: strerror(errno)))")
    }
    (source, sink) = (ends[0], ends[1])
  }

  deinit {
    close(source)
    close(sink)
  }

  /// Now, in nanoseconds on the clock that deadlines are on.
  public static var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }

  /// Ends the wait under way, or else the next one. From any thread; takes no lock.
  public func interrupt() {
    var byte: UInt8 = 1
    // A pair that is full of them holds enough interrupts already.
    _ = write(sink, &byte, 1)
  }

  /// Waits until `descriptor` is ready or `deadline` (`now`) has passed.
  public func wait(for interest: Interest, on descriptor: Int32, until deadline: Int64) -> Outcome {
    var events: Int16 = 0
    if interest.contains(.reading) { events |= Int16(POLLIN) }
    if interest.contains(.writing) { events |= Int16(POLLOUT) }
    var polled = [
      pollfd(fd: descriptor, events: events, revents: 0), pollfd(fd: source, events: Int16(POLLIN), revents: 0),
    ]
    while true {
      let left = max(0, deadline.subtractingReportingOverflow(Interruption.now).partialValue)
      // Rounded up, so that a wait never ends before its deadline.
      let milliseconds = Int32(clamping: left / 1_000_000 + (left % 1_000_000 == 0 ? 0 : 1))
      let ready = poll(&polled, 2, milliseconds)
      if ready > 0 {
        if polled[1].revents != 0, takeInterrupts() { return .interrupted }
        if polled[0].revents != 0 { return .ready }
      }
      if ready <= 0, Interruption.now >= deadline { return .late }
    }
  }

  /// All that there are: else each of many that came during one call would end another one later. False if there are none.
  private func takeInterrupts() -> Bool {
    var bytes = [UInt8](repeating: 0, count: 64)
    var isOne = false
    while read(source, &bytes, bytes.count) > 0 { isOne = true }
    return isOne
  }
}
