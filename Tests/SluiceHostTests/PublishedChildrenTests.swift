import Glibc
import SluiceCore
import TestSupport
import Testing

@testable import SluiceHost

/// Which children are known, and where they may begin.
@Suite struct PublishedChildrenTests {
  @Test("Whatever is published and settled in whatever order, open parents' children are known and lie above the floor")
  func model() {
    var random = SeededGenerator(seed: 11)
    for _ in 0..<30 {
      var children = PublishedChildren(cursors: [1, 1])
      var stored: [(target: Int, feed: Int, lsn: UInt64, ordinal: UInt64, at: UInt64)] = []
      var ends: [UInt64] = [1, 1]
      var cursors: [UInt64] = [1, 1]
      for _ in 0..<Int.random(in: 1...800, using: &random) {
        let feed = Int.random(in: 0...1, using: &random)
        if Int.random(in: 0..<6, using: &random) == 0 {
          cursors[feed] += UInt64.random(in: 0...20, using: &random)
          children.settle(below: cursors)
        }
        let target = Int.random(in: 0...1, using: &random)
        let lsn = cursors[feed] + UInt64.random(in: 0...60, using: &random)
        let ordinal = UInt64.random(in: 0...2, using: &random)
        let isKnown = stored.contains { $0.feed == feed && $0.lsn == lsn && $0.ordinal == ordinal }
        #expect(children.insert(feed: feed, lsn: lsn, ordinal: ordinal) == !isKnown)
        guard !isKnown else { continue }
        stored.append((target, feed, lsn, ordinal, ends[target]))
        children.note(target: target, feed: feed, maxParent: lsn, first: ends[target])
        ends[target] += 1
        for target in 0...1 {
          let open = stored.filter { $0.target == target && $0.lsn >= cursors[$0.feed] }.map(\.at).min()
          guard let open else { continue }
          #expect(children.floor(of: target, feeds: 2).map { $0 <= open } == true)
        }
      }
    }
  }

  @Test("What was written as floors is read again, and what is torn or strange counts as nothing")
  func file() throws {
    let directory = TemporaryDirectory()
    let path = PublishedFloors.path(dataDirectory: directory.path, subscriber: "it")
    #expect(PublishedFloors(readingFrom: path) == PublishedFloors())
    var some = PublishedFloors()
    some.cursors = [LogUUID.random(): 3]
    some.lsns = [LogUUID.random(): 7, LogUUID.random(): .max]
    #expect(some.write(to: path) == 0 && PublishedFloors(readingFrom: path) == some)
    let text = Files.lines(path).joined(separator: "\n") + "\n"
    for cut in 0..<text.utf8.count {
      Files.write(String(text.prefix(cut)), to: path)
      // Whole lines are true, each by itself; without its stream's a target's says nothing.
      let found = PublishedFloors(readingFrom: path)
      #expect(found.cursors.allSatisfy { some.cursors[$0.key] == $0.value })
      #expect(
        found.lsns.allSatisfy { some.lsns[$0.key] == $0.value } && (found.lsns.isEmpty || found.cursors == some.cursors)
      )
    }
    for strange in [
      "", "\0\0\0\0", "sluice-published 2\n", "sluice-published 1\nread x 3\n", "sluice-published 1\nx 3\n",
      String(repeating: "a", count: 999_999),
    ] {
      Files.write(strange, to: path)
      #expect(PublishedFloors(readingFrom: path) == PublishedFloors())
    }
    #expect(PublishedFloors().write(to: path) == 0 && PublishedFloors(readingFrom: path) == PublishedFloors())
  }

  @Test("A header that is a lineage is read back, and any other bytes are none")
  func lineage() {
    var random = SeededGenerator(seed: 12)
    var writer = LineageWriter()
    for _ in 0..<20_000 {
      let lineage = PublishedLineage(
        log: LogUUID(high: random.next(), low: random.next()),
        lsn: max(1, random.next() >> UInt64.random(in: 0...63, using: &random)),
        ordinal: random.next() >> UInt64.random(in: 0...63, using: &random))
      let own = [UInt8](repeating: 3, count: Int.random(in: 0...9, using: &random))
      var bytes = own.withUnsafeBytes { own in writer.withHeaders(of: lineage, and: own) { Array($0) } }
      #expect(bytes.count <= PublishedLineage.maxBytes + own.count)
      #expect(bytes.withUnsafeBytes { PublishedLineage(headers: $0) } == lineage)
      let cut = Int.random(in: 0..<(bytes.count - own.count), using: &random)
      #expect(bytes[..<cut].withUnsafeBytes { PublishedLineage(headers: $0) } == nil)
      bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= UInt8.random(in: 1...255, using: &random)
      _ = bytes.withUnsafeBytes { PublishedLineage(headers: $0) }
    }
  }

  @Test("Whoever has ended knows no children any more, and is settled all the same")
  func forgets() {
    var children = PublishedChildren(cursors: [1, 5])
    let isNew = (0..<2).map { _ in children.insert(feed: 0, lsn: 7, ordinal: 0) }
    #expect(isNew == [true, false])
    children.note(target: 0, feed: 0, maxParent: 7, first: 1)
    children.forgetAll()
    #expect(children.floor(of: 0, feeds: 2) == nil && children.cursor(of: 1) == 5)
    children.settle(below: [9, 9])
    let isNewAgain = children.insert(feed: 0, lsn: 7, ordinal: 0)
    #expect(isNewAgain)
  }
}
