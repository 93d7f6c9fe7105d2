import Glibc
import SluiceCore

/// Why an output could not be written.
struct OutputFault: Error {
  var message: String
}

/// Where an export goes: the standard output, or a file that appears under its name when it is complete and synced. The
/// first write that fails is the last; `finish` tells of it. One thread's own.
final class RecordOutput {
  private let file: String?
  private let temporary: String
  private var descriptor: Int32 = -1
  private var buffer: [UInt8] = []
  private var fault: OutputFault?

  init(file: String?) {
    self.file = file
    temporary = (file ?? "") + ".\(getpid()).tmp"
  }

  deinit {
    guard file != nil, descriptor >= 0 else { return }
    close(descriptor)
    unlink(temporary)
  }

  var hasFailed: Bool { fault != nil }

  func open() throws(OutputFault) {
    guard file != nil else { return descriptor = STDOUT_FILENO }
    descriptor = Glibc.open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o640)
    guard descriptor >= 0 else { throw failure("make") }
  }

  func write(_ text: String) {
    buffer.append(contentsOf: text.utf8)
    if buffer.count >= Limits.exportBufferBytes { flush() }
  }

  /// A record as a DATA frame has it.
  func write(_ part: UnsafeRawBufferPointer, length: Int, crc: UInt32) {
    for word in [UInt32(length), crc] {
      withUnsafeBytes(of: word.littleEndian) { buffer.append(contentsOf: $0) }
    }
    buffer.append(contentsOf: part)
    if buffer.count >= Limits.exportBufferBytes { flush() }
  }

  private func flush() {
    guard fault == nil else { return buffer.removeAll(keepingCapacity: true) }
    var done = 0
    buffer.withUnsafeBytes { bytes in
      while done < bytes.count, fault == nil {
        let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done)
        if count < 0 {
          if errno != EINTR { fault = failure("write") }
        } else {
          done += count
        }
      }
    }
    buffer.removeAll(keepingCapacity: true)
  }

  /// Everything is written and, of a file, synced under its name.
  func finish() throws(OutputFault) {
    flush()
    if let fault { throw fault }
    guard let file else { return }
    guard fsync(descriptor) == 0 else { throw failure("sync") }
    guard rename(temporary, file) == 0 else { throw failure("rename") }
    // A file system that can't sync a directory keeps its names by other means.
    let folder = file.lastIndex(of: "/").map { $0 == file.startIndex ? "/" : String(file[..<$0]) } ?? "."
    let handle = Glibc.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if handle >= 0 {
      fsync(handle)
      close(handle)
    }
    close(descriptor)
    descriptor = -1
  }

  private func failure(_ what: String) -> OutputFault {
    let reason = String(cString: strerror(errno))
    return OutputFault(message: "cannot \(what) \(file ?? "the standard output"): \(reason)")
  }
}
