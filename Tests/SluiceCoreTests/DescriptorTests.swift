import Glibc
import SluiceCore
import TestSupport
import Testing

@Suite("Descriptors and the children of a process")
struct DescriptorTests {
  @Test("both ends of a pipe are closed on exec, and so is a connection that is accepted")
  func closedOnExec() throws {
    let ends = try #require(LinuxCalls.pipe())
    for end in [ends.read, ends.write] {
      #expect(fcntl(end, F_GETFD) & FD_CLOEXEC != 0)
      close(end)
    }
    let port = try HeldPort()
    let listener = try listen(on: port.number)
    defer { close(listener) }
    let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    defer { close(client) }
    #expect(withAddress(port.number) { connect(client, $0, $1) } == 0)
    let accepted = LinuxCalls.accept(listener)
    defer { close(accepted) }
    #expect(accepted >= 0 && fcntl(accepted, F_GETFD) & FD_CLOEXEC != 0)
  }

  @Test("a child that a test starts has none of its descriptors but the standard ones")
  func children() throws {
    let null = open("/dev/null", O_RDONLY)
    defer { close(null) }
    try #require(null > STDERR_FILENO && fcntl(null, F_GETFD) & FD_CLOEXEC == 0)
    #expect(ChildDescriptors.run(["test", "!", "-e", "/proc/self/fd/\(null)"]) == 0)
  }

  @Test("a held port is there for one server after another, and nobody who asks for any port is given it")
  func held() throws {
    let port = try HeldPort()
    for _ in 0..<2 { close(try listen(on: port.number)) }
    #expect(try HeldPort().number != port.number)
    let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    defer { close(client) }
    #expect(withAddress(port.number) { connect(client, $0, $1) } != 0 && errno == ECONNREFUSED)
  }

  private func listen(on port: Int) throws -> Int32 {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var one: Int32 = 1
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    try #require(withAddress(port) { bind(listener, $0, $1) } == 0 && Glibc.listen(listener, 1) == 0)
    return listener
  }

  private func withAddress<Result>(
    _ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
  ) -> Result {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
  }
}
