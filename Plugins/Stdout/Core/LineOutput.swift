import Glibc
import RecordLines
import SluicePluginKit

/// Gathers lines and writes them to a descriptor. Allocates only when a line is longer than all before it.
package final class LineOutput {
  /// What is gathered before it is written. A batch of the default size fits.
  package static let stageBytes = 1 << 20

  private let descriptor: Int32
  private let interruption: Interruption
  private let pieceBytes: Int
  private var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: stageBytes, alignment: 8)
  private var used = 0
  /// Bytes of this batch that were written before the last flush.
  private var written = 0
  /// The last byte written was no newline: a line was cut off.
  private var isTorn = false

  package init(descriptor: Int32, interruption: Interruption) {
    self.descriptor = descriptor
    self.interruption = interruption
    var info = stat()
    let isFile = fstat(descriptor, &info) == 0 && info.st_mode & S_IFMT == S_IFREG
    pieceBytes = isFile ? Int.max : Int(PIPE_BUF)
  }

  deinit { buffer.deallocate() }

  /// Whether there is a standard output at all.
  package func check() throws(SubscriberError) {
    let flags = fcntl(descriptor, F_GETFL)
    guard flags >= 0, flags & O_ACCMODE != O_RDONLY else {
      throw SubscriberError(
        .retryable, "standard output is closed: start the daemon with one, or remove this subscriber")
    }
  }

  /// Adds the message's line.
  package func append(_ message: borrowing Message, as format: LineFormat) throws(SubscriberError) {
    let payload = message.payload
    if format == .ndjson, let object = JSONLine.object(in: payload) {
      let line = try add(object)
      if JSONLine.hasBreaks(UnsafeRawBufferPointer(line)) { JSONLine.blankBreaks(line) }
    } else if format == .ndjson {
      used += JSONLine.wrap(message, into: try reserve(JSONLine.wrappedBound(message)))
    } else {
      _ = try add(payload)
    }
  }

  /// Writes what was gathered.
  /// - Returns: bytes written since the last call.
  package func flush() throws(SubscriberError) -> Int {
    try write(UnsafeRawBufferPointer(rebasing: buffer[0..<used]))
    used = 0
    defer { written = 0 }
    return written
  }

  /// Forgets what was gathered and not written.
  package func discard() {
    used = 0
    written = 0
  }

  /// Adds bytes and a newline.
  /// - Returns: where the bytes lie, without the newline.
  private func add(_ line: UnsafeRawBufferPointer) throws(SubscriberError) -> UnsafeMutableRawBufferPointer {
    let target = try reserve(line.count + 1)
    target.copyMemory(from: line)
    target[line.count] = UInt8(ascii: "\n")
    used += line.count + 1
    return UnsafeMutableRawBufferPointer(rebasing: target[0..<line.count])
  }

  private func reserve(_ bytes: Int) throws(SubscriberError) -> UnsafeMutableRawBufferPointer {
    if bytes > buffer.count - used {
      try write(UnsafeRawBufferPointer(rebasing: buffer[0..<used]))
      used = 0
    }
    if bytes > buffer.count {
      buffer.deallocate()
      buffer = .allocate(byteCount: bytes, alignment: 8)
    }
    return UnsafeMutableRawBufferPointer(rebasing: buffer[used..<(used + bytes)])
  }

  private func write(_ lines: UnsafeRawBufferPointer) throws(SubscriberError) {
    if isTorn {
      try withUnsafeBytes(of: UInt8(ascii: "\n")) { newline throws(SubscriberError) in try writeAll(newline) }
    }
    try writeAll(lines)
    written += lines.count
  }

  private func writeAll(_ bytes: UnsafeRawBufferPointer) throws(SubscriberError) {
    guard let base = bytes.baseAddress else { return }
    var at = 0
    while at < bytes.count {
      switch interruption.wait(for: .writing, on: descriptor, until: Int64.max) {
      case .interrupted: throw SubscriberError(.timeout, "interrupted while the reader of standard output was slow")
      case .ready, .late: break
      }
      let count = Glibc.write(descriptor, base + at, min(pieceBytes, bytes.count - at))
      if count < 0, errno == EINTR || errno == EAGAIN { continue }
      guard count >= 0 else { throw LineOutput.error(errno) }
      at += count
      isTorn = base.load(fromByteOffset: at - 1, as: UInt8.self) != UInt8(ascii: "\n")
    }
  }

  private static func error(_ code: Int32) -> SubscriberError {
    let remedy =
      switch code {
      case EPIPE: "Whoever read it is gone: start the daemon again with a reader, or remove this subscriber."
      case ENOSPC, EDQUOT: "Free some space; until then the records wait in the stream."
      default: "The records wait in the stream."
      }
    let reason = String(cString: strerror(code))
    return SubscriberError(
      .retryable, "cannot write to standard output: \(reason). \(remedy)", code: UInt32(bitPattern: code))
  }
}
