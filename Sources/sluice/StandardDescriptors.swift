import Glibc
import Synchronization

/// Descriptors 0, 1 and 2.
enum StandardDescriptors {
  private static let hadNoOutput = Atomic(false)

  /// Whether what is written to the standard output goes nowhere, since the caller left it closed.
  static var isOutputClosed: Bool { hadNoOutput.load(ordering: .relaxed) }

  /// Opens those that the caller left closed, on /dev/null. Otherwise the next file or socket gets such a number: a line of
  /// the log would be written into it, and reading or closing the standard input would be its end.
  static func reserve() {
    while true {
      // The lowest free number. Where there is no /dev/null nothing can be done.
      let descriptor = open("/dev/null", O_RDWR)
      guard (0...STDERR_FILENO).contains(descriptor) else {
        close(descriptor)
        return
      }
      if descriptor == STDOUT_FILENO { hadNoOutput.store(true, ordering: .relaxed) }
    }
  }
}
