import Glibc
import SluiceCore
import Synchronization

/// Something that another thread says has happened.
final class Arrival: Sendable {
  private let bell = Doorbell()

  func ring() { bell.ring() }

  /// Waits for it, but not for ever.
  func wait() { bell.wait(until: Clock.monotonic() + 120_000_000_000) }
}

/// A value that another thread finds.
final class Answer<Value: Sendable>: Sendable {
  private let state = Mutex<Value?>(nil)

  func set(_ value: Value) { state.withLock { $0 = value } }

  var value: Value? { state.withLock { $0 } }
}

/// A pipe that holds some bytes and then ends.
struct Pipe {
  let reading: Int32

  init?(holding text: String) {
    guard let ends = LinuxCalls.pipe() else { return nil }
    reading = ends.read
    let bytes = Array(text.utf8)
    let isWritten = write(ends.write, bytes, bytes.count) == bytes.count
    close(ends.write)
    if !isWritten { return nil }
  }
}
