import Glibc
import SluicePluginKit
import Testing

/// Waits that an interrupt ends.
@Suite struct InterruptionTests {
  @Test("Many interrupts that come before a wait end that one, and no other")
  func endTogether() throws {
    let interruption = try Interruption()
    var ends: [Int32] = [0, 0]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
    defer { for end in ends { close(end) } }
    func wait(_ interest: Interruption.Interest, nanoseconds: Int64) -> Interruption.Outcome {
      interruption.wait(for: interest, on: ends[0], until: Interruption.now + nanoseconds)
    }
    // More than the pair holds, too.
    for count in [1, 2, 100, 100_000] {
      for _ in 0..<count { interruption.interrupt() }
      #expect(wait(.writing, nanoseconds: 60_000_000_000) == .interrupted)
      #expect(wait(.writing, nanoseconds: 60_000_000_000) == .ready, "\(count) interrupts")
    }
    #expect(wait(.reading, nanoseconds: 1) == .late)
  }
}
