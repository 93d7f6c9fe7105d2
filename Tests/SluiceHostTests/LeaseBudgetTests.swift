import SluiceCore
import SluiceTopology
import Testing

@testable import SluiceHost

/// hoarding.c: it retains every batch, and after so many refusals lets go of all.
@Suite struct LeaseBudgetTests {
  private static let held = 0
  private static let busy = 2

  /// The answers of `retain`, and what each lease was charged with; nil where it let go.
  private func answers(_ rig: SubscriberRig) -> [(rc: Int, bytes: Int)?] {
    rig.seen.compactMap { line in
      if line == "let go" { return .some(nil) }
      let words = line.split(separator: " ")
      guard words.count == 3, words[0] == "retain", let rc = Int(words[1]), let bytes = Int(words[2]) else {
        return nil
      }
      return (rc, bytes)
    }
  }

  /// `records` of so many bytes, each a batch.
  private func hoard(isIsolated: Bool, records: Int, of size: Int) throws -> [(rc: Int, bytes: Int)?] {
    let rig = try SubscriberRig("hoarding", n: 3, isIsolated: isIsolated) { $0.batch.records = 1 }
    rig.reader.append((0..<records).map { "\($0) " + String(repeating: "x", count: size) })
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: UInt64(records) + 1, seconds: 60))
    #expect(rig.stop() == .stopped)
    #expect(rig.reader.pinCount == 0, "all come back")
    #expect(rig.subscriber.status.counts.acked == UInt64(records), "a refusal costs nothing")
    return answers(rig)
  }

  private func expect(_ answers: [(rc: Int, bytes: Int)?], takes count: Int) {
    let round = Array(repeating: Self.held, count: count) + Array(repeating: Self.busy, count: 3)
    let rcs = answers.map { $0?.rc ?? -1 }
    #expect(rcs == round + [-1] + round + [-1], "\(rcs)")
  }

  @Test("In the daemon's process a plugin gets SLU_BUSY for a lease over its budget, and leases again when it let go")
  func inProcess() throws {
    let answers = try hoard(isIsolated: false, records: 2 * 11, of: 10)
    let bytes = try #require(answers.first??.bytes)
    #expect(bytes == 2 << 20, "a whole buffer")
    expect(answers, takes: Limits.pluginLeaseBytes / bytes)
  }

  @Test("In a process of its own it gets SLU_BUSY for one more lease than there are slots to spare")
  func slots() throws {
    let count = Limits.isolationSlots - 1
    expect(try hoard(isIsolated: true, records: 2 * (count + 3), of: 10), takes: count)
  }

  @Test("In a process of its own it gets SLU_BUSY for a lease over its budget, charged with what the batch takes")
  func budget() throws {
    let answers = try hoard(isIsolated: true, records: 2 * 8, of: 3 << 20)
    let bytes = try #require(answers.first??.bytes)
    #expect((3 << 20...4 << 20).contains(bytes))
    expect(answers, takes: Limits.pluginLeaseBytes / bytes)
  }
}
