import Glibc

/// The standard output, for what has to arrive there.
struct CheckedOutput {
  /// What it means if it does not.
  let failure: String

  init(orElse failure: String) throws {
    self.failure = failure
    let flags = fcntl(STDOUT_FILENO, F_GETFL)
    guard flags >= 0, flags & O_ACCMODE != O_RDONLY, !StandardDescriptors.isOutputClosed else {
      StandardError.print("\(failure): the standard output is closed")
      throw ExitStatus.ioError
    }
  }

  /// Writes it and a newline; of a file also to the disk. Throws the exit status, after it has said why.
  func show(_ text: String) throws {
    var rest = Array("\(text)\n".utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
      if count >= 0 {
        rest = rest.dropFirst(count)
      } else if errno == EAGAIN {
        var writable = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
        _ = poll(&writable, 1, -1)
      } else if errno != EINTR {
        throw status()
      }
    }
    // Pipes and terminals have nothing to sync.
    guard fsync(STDOUT_FILENO) == 0 || [EINVAL, EROFS, ENOTSUP].contains(errno) else { throw status() }
  }

  private func status() -> any Error {
    let why = String(cString: strerror(errno)).lowercased()
    StandardError.print("\(failure): \(why)")
    return ExitStatus.ioError
  }
}
