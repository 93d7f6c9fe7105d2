import Glibc
import SluicePluginKit

/// The calls that a full or broken disk answers badly, so that tests can answer so.
package protocol FileCalls: Sendable {
  /// As writev(2): bytes written, or -1 and errno.
  func writev(_ fd: Int32, _ pieces: UnsafePointer<iovec>, _ count: Int32) -> Int
  /// As fdatasync(2).
  func fdatasync(_ fd: Int32) -> Int32
  /// As ftruncate(2).
  func ftruncate(_ fd: Int32, _ length: Int) -> Int32
  /// As rename(2).
  func rename(_ old: String, _ new: String) -> Int32
}

/// The system's own.
package struct SystemCalls: FileCalls {
  package init() {}

  package func writev(_ fd: Int32, _ pieces: UnsafePointer<iovec>, _ count: Int32) -> Int {
    Glibc.writev(fd, pieces, count)
  }

  package func fdatasync(_ fd: Int32) -> Int32 { Glibc.fdatasync(fd) }
  package func ftruncate(_ fd: Int32, _ length: Int) -> Int32 { Glibc.ftruncate(fd, length) }
  package func rename(_ old: String, _ new: String) -> Int32 { Glibc.rename(old, new) }
}

/// An error that names what failed, on what, why, and what can be done about it.
func diskError(_ action: String, _ path: String, _ code: Int32) -> SubscriberError {
  let (kind, remedy) = verdict(on: code)
  let reason = String(cString: strerror(code))
  return SubscriberError(kind, "cannot \(action) \(path): \(reason). \(remedy)", code: UInt32(bitPattern: code))
}

private func verdict(on code: Int32) -> (SubscriberError.Kind, String) {
  switch code {
  case EACCES, EPERM:
    (.config, "Let the daemon's user write there, or set config.path to another directory.")
  case EROFS:
    (.config, "The file system is mounted read-only: set config.path to another directory, or remount it.")
  case ENOTDIR, EEXIST:
    (.config, "Part of the path is a file: set config.path to a directory.")
  case EISDIR:
    (.config, "A directory has the file's name: move it away.")
  case ENAMETOOLONG, EINVAL, ELOOP:
    (.config, "Set config.path to another directory.")
  case ENOSPC, EDQUOT:
    (.retryable, "Free some space; until then the records wait in the stream.")
  case EFBIG:
    (.retryable, "The file is as large as it may be: set config.rotate_bytes lower, or raise the process's limit.")
  case EMFILE, ENFILE:
    (.retryable, "Raise the limit of open files.")
  case EIO:
    (.retryable, "Look at the kernel's log: the device fails.")
  default:
    (.retryable, "The records wait in the stream.")
  }
}
