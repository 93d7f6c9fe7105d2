import DaemonTestSupport
import Foundation
import Testing

/// `sluice identity` on a disk that fails, as Tests/Fixtures/io_faults.c makes it.
@Suite struct IdentityFaultTests {
  /// A command whose nth such call in its folder fails: its status and text, whether the file was changed and a fault there was.
  private func rotate(_ fault: String, _ nth: Int) throws -> (
    status: Int32?, text: String, isChanged: Bool, failed: Bool
  ) {
    let folder = TemporaryFolder()
    let aside = TemporaryFolder()
    let log = aside.path + "/faults"
    let file = folder.path + "/identities.yaml"
    let made = ChildProcess.run(Products.sluice, ["identity", "add", "m1", "--publish", "events", "--file", file])
    #expect(made.status == 0, "\(made.text)")
    let before = try #require(FileManager.default.contents(atPath: file))
    let result = ChildProcess.run(
      Products.sluice, ["identity", "rotate", "m1", "--file", file],
      environment: try FaultRig.environment(fault: "\(fault):\(nth)", on: folder.path, log: log))
    #expect(!FileManager.default.fileExists(atPath: file + ".new"))
    return (
      result.status, result.text, FileManager.default.contents(atPath: file) != before,
      FileManager.default.fileExists(atPath: log)
    )
  }

  @Test(
    "Whichever call fails, the exit status of identity says whether the file was changed",
    arguments: ["open:EMFILE", "fsync:EIO", "rename:EIO"])
  func statusIsTrue(fault: String) throws {
    var faults = 0
    for nth in 1...10 {
      let result = try rotate(fault, nth)
      let about = "\(fault) \(nth): \(String(describing: result.status)) \(result.text)"
      guard result.failed else {
        #expect(result.status == 0 && result.isChanged, "\(about)")
        break
      }
      faults += 1
      let isUnsynced = result.status == 71
      #expect(result.isChanged == isUnsynced && result.status != 0, "\(about)")
      #expect(result.text.contains("the change is made, but may not survive a loss of power") == isUnsynced, "\(about)")
      #expect(result.text.contains("slu1_m1_") == (isUnsynced || fault.hasPrefix("rename")), "\(about)")
    }
    // The lock as a new and as an old file, the file, the new one, the directory; the new one and the directory; the file.
    #expect(faults == ["open:EMFILE": 5, "fsync:EIO": 2, "rename:EIO": 1][fault])
  }
}
