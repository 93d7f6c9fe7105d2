import Glibc
import SluiceCore
import Synchronization

/// Reads a file or a pipe on a thread of its own, and deals its lines out: line n goes to connection n modulo their
/// number, always, so that a producer that resumes finds its lines where they were.
final class InputReader: Sendable {
  private let descriptor: Int32
  private let path: String
  private let queues: [LineQueue]
  private let readAhead: ReadAhead
  private let fault = Mutex<SendFailure?>(nil)

  /// Takes over `descriptor`.
  init(_ descriptor: Int32, path: String, queues: [LineQueue], readAhead: ReadAhead) {
    self.descriptor = descriptor
    self.path = path
    self.queues = queues
    self.readAhead = readAhead
  }

  /// What ended the reading before the end of the input.
  var failure: SendFailure? { fault.withLock { $0 } }

  /// The thread ends with the input. One that waits in `read` when the run is over ends with the process.
  func start() {
    _ = OSThread(name: "lines") { [self] in
      read()
      close(descriptor)
      for queue in queues { queue.end() }
    }
  }

  private func read() {
    var splitter = LineSplitter(limit: Limits.maxMaxRecordBytes)
    var hand = Hand(queues)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.sendReadBytes, alignment: 8)
    defer { buffer.deallocate() }
    while readAhead.waitForRoom() {
      let n = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
      if n < 0 && errno == EINTR { continue }
      if n < 0 {
        let why = String(cString: strerror(errno))
        fault.withLock { $0 = SendFailure(status: ExitStatus.ioError, message: "cannot read \(path): \(why)") }
        return
      }
      if n == 0 {
        splitter.end { hand.deal($0) }
        hand.pass()
        return
      }
      splitter.feed(UnsafeRawBufferPointer(rebasing: buffer[..<n])) { hand.deal($0) }
      hand.pass()
    }
  }

  /// The lines of one read, sorted by connection.
  private struct Hand {
    let queues: [LineQueue]
    var chunks: [LineChunk]
    var touched: [Int] = []
    var next = 0

    init(_ queues: [LineQueue]) {
      self.queues = queues
      chunks = [LineChunk](repeating: LineChunk(), count: queues.count)
    }

    mutating func deal(_ line: UnsafeRawBufferPointer) {
      if chunks[next].ends.isEmpty { touched.append(next) }
      chunks[next].append(line)
      next = next + 1 == chunks.count ? 0 : next + 1
    }

    mutating func pass() {
      for index in touched {
        queues[index].push(chunks[index])
        chunks[index] = LineChunk()
      }
      touched.removeAll(keepingCapacity: true)
    }
  }
}
