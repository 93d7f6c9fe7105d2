import SluiceCore
import TestSupport
import Testing

@testable import sluice

@Suite struct LineTests {
  /// The lines of `input`, fed in pieces that end at `cuts`.
  private func split(_ input: [UInt8], cuts: [Int] = [], limit: Int = 1000) -> [[UInt8]] {
    var splitter = LineSplitter(limit: limit)
    var lines: [[UInt8]] = []
    var start = 0
    for cut in cuts.sorted() + [input.count] {
      Array(input[start..<cut]).withUnsafeBytes { splitter.feed($0) { lines.append(Array($0)) } }
      start = cut
    }
    splitter.end { lines.append(Array($0)) }
    return lines
  }

  @Test(
    "lines end with LF, CR LF or the end of the input",
    arguments: [
      ("", []), ("a", ["a"]), ("a\n", ["a"]), ("a\r\nb", ["a", "b"]), ("\n\n", ["", ""]), ("a\rb\n", ["a\rb"]),
      ("a\n\nb\n", ["a", "", "b"]), ("a\r\r\n", ["a\r"]), ("a\r", ["a\r"]), ("b\na\r", ["b", "a\r"]), ("\r", ["\r"]),
    ])
  func lineEnds(input: String, lines: [String]) {
    #expect(split(Array(input.utf8)).map { String(decoding: $0, as: UTF8.self) } == lines)
  }

  @Test("a line of the limit is whole, a longer one comes out one byte too long, and the next is whole again")
  func longLines() {
    for ending in ["\n", "\r\n"] {
      let input = Array(("12345" + ending + "123456789" + ending + "ab" + ending).utf8)
      for cut in 0...input.count {
        let lines = split(input, cuts: [cut], limit: 5)
        #expect(lines.map(\.count) == [5, 6, 2], "\(ending.utf8.count) \(cut)")
      }
    }
  }

  @Test("wherever the input is cut, the same lines come out")
  func anyCuts() {
    var random = SeededGenerator(seed: .random(in: 0...(.max)))
    for _ in 0..<500 {
      let alphabet: [UInt8] = [0x0A, 0x0D, 0x61, 0x62, 0xFF]
      let input = (0..<Int.random(in: 0...60, using: &random)).map { _ in
        alphabet.randomElement(using: &random) ?? 0
      }
      let cuts = (0..<Int.random(in: 0...6, using: &random)).map { _ in Int.random(in: 0...input.count, using: &random)
      }
      #expect(split(input, cuts: cuts, limit: 8) == split(input, limit: 8), "seed \(random.seed)")
    }
  }

  @Test("the reader deals line n to connection n modulo their number, and each queue ends with the input")
  func dealing() throws {
    let pipe = try #require(Pipe(holding: (1...1000).map { "line \($0)\n" }.joined()))
    let readAhead = ReadAhead()
    let queues = (0..<3).map { _ in LineQueue(readAhead) }
    InputReader(pipe.reading, path: "pipe", queues: queues, readAhead: readAhead).start()
    for (index, queue) in queues.enumerated() {
      let arrived = Arrival()
      queue.onArrival { arrived.ring() }
      var supply = RecordSupply(
        .lines(LineFeed(queue)), SendSchedule(start: 0), connection: index, of: queues.count)
      var expected = UInt64(index + 1)
      reading: while true {
        switch supply.next(at: 0) {
        case .ready:
          #expect(supply.place == expected)
          let text = supply.withRecord { String(decoding: $0, as: UTF8.self) }
          #expect(text == "line \(expected)")
          supply.take()
          expected += 3
        case .waiting: arrived.wait()
        case .later, .over: break reading
        }
      }
      #expect(supply.isExhausted && expected > 1000)
    }
  }

  @Test("the reader rests while much is read ahead, and ends when nobody wants lines any more")
  func readAhead() {
    let readAhead = ReadAhead()
    let queue = LineQueue(readAhead)
    var chunk = LineChunk()
    [UInt8](repeating: 0x61, count: Limits.sendReadAheadBytes).withUnsafeBytes { chunk.append($0) }
    #expect(readAhead.waitForRoom())
    queue.push(chunk)
    let waited = Arrival()
    let result = Answer<Bool>()
    _ = OSThread(name: "waits") {
      result.set(readAhead.waitForRoom())
      waited.ring()
    }
    guard case .chunk = queue.next() else {
      Issue.record("the chunk is gone")
      return
    }
    waited.wait()
    #expect(result.value == true)
    readAhead.stop()
    #expect(!readAhead.waitForRoom())
  }

  @Test("generated records have their size and number, and are JSON with a message")
  func generated() throws {
    for size in [Limits.minSendSize, 128, 4096] {
      var records = GeneratedRecords(run: "89abcdef", size: size, count: nil)
      let text = records.withRecord(1_234_567) { Array($0) }
      #expect(text.count == size)
      _ = try text.withUnsafeBytes { try JSONScanner.message(of: $0, maxDepth: 8) }
      #expect(String(decoding: text, as: UTF8.self).hasPrefix(#"{"message":"89abcdef 000001234567 x"#))
    }
  }

  @Test("connection k of C makes the generated records k + 1, k + 1 + C … up to the count")
  func generatedSupply() {
    var numbers: Set<UInt64> = []
    for connection in 0..<3 {
      var supply = RecordSupply(
        .generated(GeneratedRecords(run: "89abcdef", size: 128, count: 10)), SendSchedule(start: 0),
        connection: connection, of: 3)
      while case .ready = supply.next(at: 0) {
        #expect(numbers.insert(supply.place).inserted)
        supply.take()
      }
      #expect(supply.isExhausted)
    }
    #expect(numbers == Set(1...10))
  }

  @Test("in an open loop what was passed over takes no time of the schedule")
  func passedRecords() {
    var supply = RecordSupply(
      .generated(GeneratedRecords(run: "89abcdef", size: 128, count: 10)), SendSchedule(rate: 1, start: 0),
      connection: 1, of: 2)
    supply.pass()
    #expect(supply.next(at: 0) == .later(1_000_000_000))
    #expect(supply.origin(at: 0) == ParcelOrigin(place: 4, stride: 2, time: 1_000_000_000, interval: 2e9))
    supply.take()
    #expect(supply.next(at: 1_000_000_000) == .later(3_000_000_000))
    supply.stop()
    #expect(supply.next(at: 9_000_000_000) == .over && !supply.isExhausted)
  }
}
