import Glibc
import SluiceCore
import Testing

@testable import SluiceJournal

@Suite struct ColdFaultTests {
  /// Three groups of two records each in an older segment, the one in the middle damaged.
  private func damaged() throws -> MemoryStorage {
    let storage = MemoryStorage()
    let log = try MemoryLog.open(storage)
    let lane = TestLane(log)
    for group in 0..<3 { lane.commit(["\(group) a", "\(group) b"]) }
    log.close()
    let path = try #require(MemoryLog.segments(storage).first)
    var bytes = try #require(storage.get(path))
    let place = try #require(bytes.indices.first { bytes[$0...].starts(with: "1 a".utf8) })
    // In the head of its group, which starts on a multiple of 4,096.
    bytes[place / 4096 * 4096 + 8] ^= 1
    storage.put(path, bytes)
    return storage
  }

  @Test(
    "A reader that has no descriptor, or whose device fails, while it looks behind damage tells no more to be lost",
    arguments: [(IOFault.Operation.open, EMFILE), (.open, ENFILE), (.read, EIO), (.size, EIO)])
  func faultsWhileResuming(operation: IOFault.Operation, code: Int32) throws {
    // From each of the calls on that reading takes.
    for after in 0..<8 {
      let storage = try damaged()
      let log = try MemoryLog.open(storage)
      let reader = try log.openReader(subscriber: "s", start: .oldest)
      var gaps: [ClosedRange<UInt64>] = []
      storage.fail(operation, code: code, after: after, onPathsWith: ".slog")
      // What comes before the call that fails may come; the rest comes when calls work again.
      do { _ = try reader.drain(gaps: &gaps) } catch is StreamReadError {}
      storage.fail(operation, code: nil)
      let position = reader.position
      let seen = try reader.drain(gaps: &gaps)
      #expect(gaps == [3...4], "\(operation) fails from call \(after) on: told \(gaps)")
      #expect(seen.map(\.lsn) == Array([1, 2, 5, 6].filter { $0 >= position }))
      reader.close()
      log.close()
    }
  }
}
