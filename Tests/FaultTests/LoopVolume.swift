import DaemonTestSupport
import Foundation

/// A file system of the test's own, in a file, on a loop device: root only.
final class LoopVolume: Sendable {
  enum Kind: String, Sendable, CaseIterable { case ext4, xfs }

  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  let path: String
  private let kind: Kind
  private let image: String
  private let folder: TemporaryFolder

  /// Whether this process may mount one here: tried once.
  static let isAvailable: Bool = geteuid() == 0 && (try? LoopVolume(.ext4, megabytes: 8)) != nil

  init(_ kind: Kind, megabytes: Int) throws {
    self.kind = kind
    folder = TemporaryFolder()
    path = folder.path + "/volume"
    image = folder.path + "/image"
    mkdir(path, 0o755)
    try Self.run(["truncate", "-s", "\(megabytes)M", image])
    let make = kind == .ext4 ? ["mkfs.ext4", "-q", "-F", "-m", "0"] : ["mkfs.xfs", "-q", "-f"]
    try Self.run(make + [image])
    try mount()
  }

  deinit { try? unmount() }

  /// `losetup -f`, which mount uses, may be overtaken by another who looks for a free device.
  func mount(readOnly: Bool = false) throws {
    var options = readOnly ? "loop,ro" : "loop"
    if kind == .ext4 { options += ",errors=remount-ro" }
    try Self.retry(["mount", "-t", kind.rawValue, "-o", options, image, path])
  }

  /// It may be busy for a moment longer than the process that was killed.
  func unmount() throws { try Self.retry(["umount", path]) }

  private static func retry(_ command: [String]) throws {
    var last: (any Error)?
    for _ in 0..<20 {
      do {
        try run(command)
        return
      } catch { last = error }
      pause(0.05)
    }
    if let last { throw last }
  }

  /// Cuts the power: nothing that is not on the device yet will get there, and every call fails from now on.
  func shutDown() throws {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    defer { close(descriptor) }
    // FS_IOC_SHUTDOWN, which ext4 and xfs share, with "don't flush the log".
    var flags: UInt32 = 2
    guard ioctl(descriptor, 0x8004_587d, &flags) == 0 else { throw Failure(description: "shutdown: errno \(errno)") }
  }

  /// What the kernel does when it finds ext4 inconsistent: every write fails with EROFS from now on.
  func becomeReadOnly() throws {
    let device = try Self.run(["findmnt", "-n", "-o", "SOURCE", path]).split(separator: "/").last ?? ""
    let trigger = "/sys/fs/ext4/\(device.filter { !$0.isWhitespace })/trigger_fs_error"
    guard let file = fopen(trigger, "we") else { throw Failure(description: "\(trigger): errno \(errno)") }
    fputs("test\n", file)
    fclose(file)
  }

  func repair() throws {
    // Status 1: errors were corrected.
    let checked = ChildProcess.run("/usr/bin/env", ["e2fsck", "-fy", image])
    guard let status = checked.status, status <= 1 else { throw Failure(description: checked.text) }
  }

  /// Takes all the space there is.
  func fill() {
    let descriptor = open(path + "/filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    defer { close(descriptor) }
    var size = 16 << 20
    var end = lseek(descriptor, 0, SEEK_END)
    while size >= 4096 {
      if posix_fallocate(descriptor, end, size) == 0 { end += size } else { size /= 2 }
    }
  }

  func empty() { unlink(path + "/filler") }

  var freeBytes: Int {
    var info = statvfs()
    return statvfs(path, &info) == 0 ? Int(info.f_bavail) * Int(info.f_frsize) : -1
  }

  @discardableResult
  private static func run(_ command: [String]) throws -> String {
    let result = ChildProcess.run("/usr/bin/env", command)
    guard result.status == 0 else { throw Failure(description: "\(command.joined(separator: " ")): \(result.text)") }
    return result.text
  }
}
