import Glibc
import SluiceCore
import Synchronization

/// Tells a thread that waits in `poll` to stop. Given once, from any thread.
final class StopSignal: Sendable {
  /// Readable once it is given.
  private let ends: (read: Int32, write: Int32)
  private let isGiven = Atomic<Bool>(false)

  init() {
    guard let ends = LinuxCalls.pipe() else { preconditionFailure("pipe failed: \(errno)") }
    self.ends = ends
  }

  deinit {
    close(ends.read)
    close(ends.write)
  }

  func give() {
    guard !isGiven.exchange(true, ordering: .sequentiallyConsistent) else { return }
    var one: UInt8 = 1
    let written = write(ends.write, &one, 1)
    precondition(written == 1, "an empty pipe takes a byte")
  }

  /// Waits until `descriptor` has something to read, or its end. False once the signal is given.
  func waitForInput(on descriptor: Int32) -> Bool {
    while !isGiven.load(ordering: .sequentiallyConsistent) {
      var waited = (
        pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
        pollfd(fd: ends.read, events: Int16(POLLIN), revents: 0)
      )
      let ready = withUnsafeMutablePointer(to: &waited) {
        $0.withMemoryRebound(to: pollfd.self, capacity: 2) { poll($0, 2, -1) }
      }
      if ready > 0, waited.1.revents == 0 { return true }
    }
    return false
  }
}
