import Glibc
import SluiceCore

/// A fault of the system, in its words.
struct ControlFault: Error {
  var code: Int32
  var message: String { String(cString: strerror(code)) }
}

/// The local socket's two ends. Both reach it through the directory's descriptor, because a socket's address has room for
/// 107 bytes of path only.
enum ControlSocket {
  static let name = "control.sock"

  /// Listens in `directory`, in the place of what a dead daemon has left there. `code` EADDRINUSE: a living one has it.
  static func listen(in directory: String) throws(ControlFault) -> Int32 {
    let made = try make()
    // Linux gives the file the mode that the socket has, whatever the process's umask allows.
    guard fchmod(made, 0o600) == 0 else { throw failed(made) }
    var (bound, code) = try call(directory, made, Glibc.bind)
    if !bound && code == EADDRINUSE {
      if let other = try? connect(to: directory) {
        close(other)
        throw failed(made, EADDRINUSE)
      }
      // A socket that nobody answers on is what a crash leaves behind; anything else is somebody's.
      guard isSocket("\(directory)/\(name)") else { throw failed(made, EADDRINUSE) }
      unlink("\(directory)/\(name)")
      (bound, code) = try call(directory, made, Glibc.bind)
    }
    guard bound else { throw failed(made, code) }
    guard Glibc.listen(made, Int32(Limits.maxControlConnections)) == 0 else { throw failed(made) }
    return made
  }

  private static func isSocket(_ path: String) -> Bool {
    var info = stat()
    return lstat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFSOCK
  }

  static func connect(to directory: String) throws(ControlFault) -> Int32 {
    let made = try make()
    let (connected, code) = try call(directory, made, Glibc.connect)
    guard connected else { throw failed(made, code) }
    return made
  }

  /// Who is at the other end, in the layout of Linux's `struct ucred`.
  struct Peer {
    var pid: pid_t = 0
    var uid: uid_t = 0
    var gid: gid_t = 0
  }

  static func peer(of descriptor: Int32) -> Peer? {
    var credentials = Peer()
    var length = socklen_t(MemoryLayout<Peer>.size)
    return getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 ? credentials : nil
  }

  static func setTimeout(_ option: Int32, _ seconds: Int, of descriptor: Int32) {
    var limit = timeval(tv_sec: seconds, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  /// Sends all of it. False when the peer has gone or takes nothing in time.
  static func send(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    bytes.withUnsafeBytes { bytes in
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = Glibc.send(descriptor, rest.base, rest.count, Int32(MSG_NOSIGNAL))
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { return false }
        rest = rest.dropFirst(count)
      }
      return true
    }
  }

  private static func make() throws(ControlFault) -> Int32 {
    let made = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard made >= 0 else { throw ControlFault(code: errno) }
    return made
  }

  private static func failed(_ descriptor: Int32, _ code: Int32 = errno) -> ControlFault {
    close(descriptor)
    return ControlFault(code: code)
  }

  /// Binds or connects `descriptor` to the socket in `directory`.
  private static func call(
    _ directory: String, _ descriptor: Int32, _ operation: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) throws(ControlFault) -> (ok: Bool, code: Int32) {
    let folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else { throw failed(descriptor) }
    defer { close(folder) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: "/proc/self/fd/\(folder)/\(name)".utf8) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        operation(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    return (result == 0, errno)
  }
}

extension Slice<UnsafeRawBufferPointer> {
  fileprivate var base: UnsafeRawPointer? { UnsafeRawBufferPointer(rebasing: self).baseAddress }
}

/// Lines from a socket, each at most `limit` bytes.
struct LineReader {
  private let descriptor: Int32
  private let limit: Int
  private var buffer: [UInt8] = []
  private var searched = 0
  private var chunk = [UInt8](repeating: 0, count: 16 << 10)

  init(_ descriptor: Int32, limit: Int) {
    self.descriptor = descriptor
    self.limit = limit
  }

  /// The next line without its break; nil when the peer is done, too slow, or sends a longer one.
  mutating func next() -> [UInt8]? {
    while true {
      if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        let line = Array(buffer[..<end])
        buffer.removeSubrange(...end)
        searched = 0
        return line
      }
      searched = buffer.count
      guard buffer.count <= limit else { return nil }
      let count = recv(descriptor, &chunk, chunk.count, 0)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return nil }
      buffer.append(contentsOf: chunk[..<count])
    }
  }
}
