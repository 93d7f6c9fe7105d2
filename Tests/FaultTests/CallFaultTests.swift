import DaemonTestSupport
import DeliveryOracle
import Foundation
import Testing

/// Calls that fail as Tests/Fixtures/io_faults.c makes them, preloaded into the daemon.
@Suite struct CallFaultTests {
  /// Posts one record after another until there is no answer.
  private func postUntilTheEnd(_ rig: FaultRig, _ daemon: Daemon) throws {
    let connection = try #require(HTTPConnection(port: daemon.port))
    for _ in 0..<200 where rig.postWhenThereIsRoom(connection) == nil { return }
  }

  @Test(
    "A sync or write that fails once is final: no answer says otherwise, though the next would have worked",
    arguments: [("fdatasync:EIO:1", 1), ("fdatasync:EIO:2", 2), ("fdatasync:EIO:9", 9), ("pwritev:EIO:5", 5)])
  func aFailedGroup(fault: String, nth: Int) throws {
    let rig = try FaultRig()
    let daemon = try #require(try rig.start(fault: fault, on: "events/0"))
    try postUntilTheEnd(rig, daemon)
    #expect(daemon.process.exitStatus() == 74)
    let text = daemon.process.output.joined(separator: "\n")
    #expect(text.contains("Input/output error"), "\(text)")
    #expect(text.contains("the daemon ends now"), "\(text)")
    #expect(rig.faults.count == 1, "\(rig.faults)")
    // Each answer took one of the calls before that.
    #expect(rig.acknowledged < nth)
    rig.ended(.killed, of: daemon.process)
    rig.judge(fault)
  }

  @Test(
    "A device that fails at a rotation, at the cursors or in a directory ends the process, and nothing is lost",
    arguments: [
      ("fdatasync:EIO:2", "events/next.tmp"), ("pwritev:EIO:2", "events/next.tmp"), ("rename:EIO:2", "events/0"),
      ("fsync:EIO:3", "streams/events"), ("fdatasync:EIO:5", "events/cursors.slot"),
      ("pwritev:EIO:5", "events/cursors.slot"),
    ])
  func aFailedRotation(fault: String, path: String) throws {
    let rig = try FaultRig(payloadBytes: 60_000)
    let daemon = try #require(try rig.start(fault: fault, on: path, countsZeros: false))
    try postUntilTheEnd(rig, daemon)
    #expect(daemon.process.exitStatus() == 74)
    let text = daemon.process.output.joined(separator: "\n")
    #expect(text.contains("Input/output error") && text.contains("the daemon ends now"), "\(text)")
    #expect(rig.faults.count == 1)
    rig.ended(.killed, of: daemon.process)
    rig.judge(fault)
  }

  @Test(
    "A device that fails in the start refuses the start, and says what and where", arguments: ["fdatasync", "pwritev"])
  func aFailedStart(call: String) throws {
    let rig = try FaultRig()
    let child = rig.spawn(
      environment: try FaultRig.environment(
        fault: "\(call):EIO:1", on: "events/next.tmp", log: rig.folder.path + "/faults"))
    #expect(child.exitStatus() == 74)
    #expect(child.output.contains { $0.contains("next.tmp: Input/output error") }, "\(child.output)")
    rig.judge()
  }

  @Test(
    "Writes that are cut short, calls that are interrupted and a slow device cost nothing but time",
    arguments: [
      ("pwritev:half:1:100000", "streams/events"), ("pwritev:EINTR:2:50", "streams/events"),
      ("posix_fallocate:EINTR:1:3", "streams/events"), ("ftruncate:EINTR:1:3", "streams/events"),
      ("open:EINTR:3:3", "streams/events"), ("fdatasync:15:1:100000", "events/0"),
    ])
  func harmless(fault: String, path: String) throws {
    let rig = try FaultRig(payloadBytes: 40_000)
    let daemon = try #require(try rig.start(fault: fault, on: path))
    rig.load(daemon, producers: 2, enough: 60)
    #expect(rig.acknowledged >= 60)
    #expect(daemon.stop() == 0, "\(daemon.process.output)")
    #expect(!rig.faults.isEmpty)
    rig.ended(.orderly, of: daemon.process)
    rig.judge(fault)
  }

  @Test(
    "Room that is missing for a while, on the disk or among the descriptors, refuses producers and is waited for",
    arguments: [
      ("pwritev:ENOSPC:20:4", "events/0"), ("posix_fallocate:ENOSPC:2:6", "events/next.tmp"),
      ("open:EMFILE:2:8", "events/next.tmp"),
    ])
  func temporary(fault: String, path: String) throws {
    let rig = try FaultRig(payloadBytes: 60_000)
    let daemon = try #require(try rig.start(fault: fault, on: path))
    rig.load(daemon, producers: 2, enough: 60)
    #expect(rig.acknowledged >= 60)
    #expect(daemon.stop() == 0)
    let text = daemon.process.output.joined(separator: "\n")
    #expect(text.contains("it will be tried again"), "\(text)")
    #expect(!text.contains("damaged"), "\(text)")
    #expect(!rig.faults.isEmpty)
    rig.ended(.orderly, of: daemon.process)
    rig.judge(fault)
  }
}
