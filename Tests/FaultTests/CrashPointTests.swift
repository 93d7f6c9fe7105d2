import DaemonTestSupport
import DeliveryOracle
import Foundation
import SluiceJournal
import Testing

/// Which workload comes to which point of a log's life. Every point is in one list, so that a new one has to be tested.
enum CrashCases {
  /// Only with a torn or damaged tail in front of it, or any segment.
  static let recovery: [StoragePoint] = [
    .tailSync, .tailTruncate, .quarantineWrite, .quarantineSync, .quarantineRename, .quarantineDirectorySync,
  ]
  /// Only when the disk is full: `VolumeTests` comes to them.
  static let fullDisk: [StoragePoint] = [.nextTruncate, .quarantineUnlink]
  /// What both a life and a recovery come to, so that a recovery dies there too.
  static let both: [StoragePoint] = [
    .lockTruncate, .lockWrite, .nextAllocate, .headerWrite, .headerSync, .segmentRename, .segmentDirectorySync,
  ]
  /// Not of a log's life under load: they need an idle disk, or more retired segments than are kept, or are those of
  /// `sluice stream repair`. The journal's own tests and its simulation crash and fail there.
  static let elsewhere: [StoragePoint] =
    [.nextFill, .nextFillSync, .spareUnlink, .segmentUnlink]
    + StoragePoint.allCases.filter { $0.rawValue.hasPrefix("repair.") }
  static let life = StoragePoint.allCases.filter {
    !recovery.contains($0) && !fullDisk.contains($0) && !elsewhere.contains($0)
  }

  static func places(of point: StoragePoint) -> [CrashPoint.Place] {
    point.isWrite ? [.before, .half, .after] : [.before, .after]
  }
}

@Suite struct CrashPointTests {
  private static let killed: Int32 = 128 + SIGKILL

  /// 4 MiB in segments of 1 MiB of which 2 are kept, with two pauses in which a marker and cursors are written; then an
  /// orderly end. How often the point was come to if the daemon lived, else nil.
  private func live(_ rig: FaultRig, _ crash: CrashPoint) throws -> Int? {
    guard let daemon = rig.start(environment: [CrashPoint.variable: crash.text], isExpected: false) else { return nil }
    if let connection = HTTPConnection(port: daemon.port) {
      load: for part in 0..<2 {
        for _ in 0..<35 where rig.postWhenThereIsRoom(connection) != 202 { break load }
        // The next record comes behind a marker, and its cursor behind another write of the slots.
        if part == 0 { pause(0.11) }
      }
      pause(0.03)
    }
    let status = daemon.stop()
    let count = daemon.process.output.first { $0.contains("crash point was not reached") }
      .flatMap { field("times", of: $0) }.flatMap { Int($0) }
    rig.ended(status == 0 ? .orderly : .killed, of: daemon.process)
    #expect(status == 0 ? count != nil : status == Self.killed, "\(crash.text): \(daemon.process.output)")
    return count
  }

  @Test(
    "A crash at every point of a log's life, the first, second and last time: nothing acknowledged is lost",
    arguments: CrashCases.life)
  func life(point: StoragePoint) throws {
    let survivor = try FaultRig(payloadBytes: 60_000)
    let count = try #require(try live(survivor, CrashPoint(point, nth: .max)))
    survivor.judge("\(point.rawValue), no crash", daemons: 1)
    #expect(count > 0, "the workload does not come to \(point.rawValue)")
    var crashes = 0
    // The last time depends on timing: in a run that comes to it less often there is no crash, and no fault either.
    for nth in Set([1, 2, count].filter { $0 <= count }).sorted() {
      // In CI the later times are crashed at in one place each.
      let places = CrashCases.places(of: point)
      for place in nth == 1 || FaultFixtures.isFull ? places[...] : places.dropFirst().prefix(1) {
        let crash = CrashPoint(point, nth: nth, place)
        let rig = try FaultRig(payloadBytes: 60_000)
        let lived = try live(rig, crash)
        if lived == nil { crashes += 1 }
        #expect(lived == nil || nth > 1, "\(crash.text): the first time was not reached")
        rig.judge(crash.text, daemons: 1)
      }
    }
    #expect(crashes >= CrashCases.places(of: point).count)
  }

  @Test(
    "A crash at every point of a recovery, behind a torn tail: the next recovery finds everything again",
    arguments: CrashCases.recovery + CrashCases.both)
  func recovery(point: StoragePoint) throws {
    for place in CrashCases.places(of: point) {
      let rig = try FaultRig(payloadBytes: 10_000)
      let daemon = try #require(rig.start(environment: [CrashPoint.variable: "group.write:20:half"]))
      rig.load(daemon, producers: 1, enough: 100)
      #expect(daemon.process.exitStatus() == Self.killed)
      rig.ended(.killed, of: daemon.process)
      let crash = CrashPoint(point, place)
      let again = rig.spawn(environment: [CrashPoint.variable: crash.text])
      #expect(again.exitStatus() == Self.killed, "\(crash.text) is not reached: \(again.output)")
      rig.ended(.killed, of: again)
      rig.judge(crash.text, daemons: 1)
    }
  }

  @Test("Every point is crashed at in one of these tests, but for those that only a full disk comes to")
  func noPointIsLeftOut() {
    let tested = Set(CrashCases.life + CrashCases.recovery)
    #expect(tested.isDisjoint(with: CrashCases.fullDisk))
    #expect(tested.union(CrashCases.fullDisk + CrashCases.elsewhere) == Set(StoragePoint.allCases))
  }

  @Test("A crash point that does not exist is refused, and those that do are listed")
  func unknownPoint() throws {
    let rig = try FaultRig()
    let child = rig.spawn(environment: [CrashPoint.variable: "group.fsync:1"])
    #expect(child.exitStatus() == 64)
    let text = child.output.joined(separator: "\n")
    for point in StoragePoint.allCases { #expect(text.contains(point.rawValue)) }
  }

  @Test("Crash points are read as they are written")
  func parsing() throws {
    #expect(try CrashPoint(parsing: "group.sync") == CrashPoint(.groupSync))
    #expect(try CrashPoint(parsing: "group.sync:3") == CrashPoint(.groupSync, nth: 3))
    #expect(try CrashPoint(parsing: "group.write:2:half") == CrashPoint(.groupWrite, nth: 2, .half))
    #expect(try CrashPoint(parsing: "seal.sync:after") == CrashPoint(.sealSync, .after))
    for wrong in ["", "group.sync:0", "group.sync:-1", "group.sync:half", "group.sync:1:2", "group.sync:1:after:"] {
      #expect(throws: CrashPoint.Mistake.self) { try CrashPoint(parsing: wrong) }
    }
  }
}
