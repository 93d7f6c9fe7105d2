import DaemonTestSupport
import DeliveryOracle
import Foundation
import TestSupport
import Testing

/// System calls that strace tampers with, counted per thread: a call that fails so is never made.
@Suite struct SyscallSweepTests {
  private static let calls = ["fdatasync", "pwritev", "fsync", "rename", "unlink", "ftruncate", "fallocate"]
  /// Which call of a thread: a sample, or all that the workload makes.
  private static let numbers = FaultFixtures.isFull ? Array(1...60) : [1, 3, 17]

  private func run(_ rig: FaultRig, inject: String, of call: String) throws -> ChildProcess {
    let child = rig.spawn(
      wrapper: [
        "/usr/bin/strace", "-D", "-f", "--seccomp-bpf", "-qqq", "-o", rig.folder.path + "/trace", "-e", "trace=\(call)",
        "-e", "inject=\(call):\(inject)",
      ])
    guard let daemon = Daemon(awaiting: child, isExpected: false) else { return child }
    // Enough for two rotations.
    if let connection = HTTPConnection(port: daemon.port) {
      for _ in 0..<40 where rig.postWhenThereIsRoom(connection) == nil { break }
    }
    child.send(SIGTERM)
    return child
  }

  @Test(
    "A kill at any call that changes the disk loses nothing acknowledged", arguments: calls)
  func killed(call: String) throws {
    var kills = 0
    for number in Self.numbers {
      let rig = try FaultRig(payloadBytes: 60_000)
      let child = try run(rig, inject: "signal=KILL:when=\(number)", of: call)
      let status = try #require(child.exitStatus())
      #expect([0, 128 + SIGKILL].contains(status), "\(call) \(number): \(child.output)")
      if status != 0 { kills += 1 }
      rig.ended(status == 0 ? .orderly : .killed, of: child)
      rig.judge("kill at \(call) \(number)", daemons: 1)
    }
    #expect(kills > 0)
  }

  @Test(
    "EIO at any call that changes the disk never acknowledges what is lost, nor ENOSPC; the end has a reason",
    arguments: calls, ["EIO", "ENOSPC"])
  func failed(call: String, error: String) throws {
    for number in Self.numbers {
      let rig = try FaultRig(payloadBytes: 60_000)
      let child = try run(rig, inject: "error=\(error):when=\(number)", of: call)
      let status = try #require(child.exitStatus())
      // 78: a plugin can't be put where it is loaded from, and so the start is refused.
      #expect([0, 74, 78].contains(status), "\(call) \(number): \(child.output)")
      if status != 0 {
        let reason = error == "EIO" ? "Input/output error" : "No space left on device"
        #expect(child.output.contains { $0.contains(reason) }, "\(call) \(number): \(child.output)")
      }
      rig.ended(status == 0 ? .orderly : .killed, of: child)
      rig.judge("\(error) at \(call) \(number)", daemons: 1)
    }
  }

  @Test("A device that takes its time delays and loses nothing")
  func slow() throws {
    let rig = try FaultRig(payloadBytes: 60_000)
    let child = try run(rig, inject: "delay_enter=20000", of: "fdatasync")
    #expect(child.exitStatus() == 0)
    #expect(rig.acknowledged == 40)
    rig.ended(.orderly, of: child)
    rig.judge()
  }
}
