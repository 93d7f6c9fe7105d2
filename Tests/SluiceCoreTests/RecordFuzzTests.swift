import SluiceCore
import TestSupport
import Testing

/// The decoder against bytes that nobody meant to be a record.
struct RecordFuzzTests {
  /// Reads everything that an accepted record shows, and checks that it lies within the record.
  private func walk(_ view: RecordView, in bytes: UnsafeRawBufferPointer) -> Bool {
    let start = bytes.baseAddress!
    let end = start + view.length
    guard view.length <= bytes.count, view.producerPart.baseAddress! + view.producerPart.count == end else {
      return false
    }
    var sum: UInt8 = 0
    for part in [view.topic, view.key, view.headers, view.payload] where !part.isEmpty {
      guard part.baseAddress! >= start + 56, part.baseAddress! + part.count <= end else { return false }
      for byte in part { sum &+= byte }
    }
    return view.checksumMatches || sum == sum
  }

  /// Runs the decoder on a buffer of exactly this size, so that a sanitizer sees every step outside. True if accepted.
  private func check(_ bytes: [UInt8], _ context: @autoclosure () -> String) -> Bool {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(bytes.count, 1), alignment: 8)
    defer { buffer.deallocate() }
    buffer.copyBytes(from: bytes)
    let exact = UnsafeRawBufferPointer(rebasing: buffer[..<bytes.count])
    guard let view = try? RecordView(validating: exact, maxRecord: Limits.defaultMaxRecordBytes) else { return false }
    #expect(walk(view, in: exact), "\(context())")
    return true
  }

  @Test func mutatedRecordsNeverLeadOutOfBounds() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    var accepted = 0
    for round in 0..<6_000 {
      var bytes = RecordSample.random(&random, maxPayload: 60).encoded()
      for _ in 0..<Int.random(in: 0...3, using: &random) {
        // Mostly in the fixed parts, where the lengths are.
        let limit = Bool.random(using: &random) ? 56 : bytes.count
        bytes[Int.random(in: 0..<limit, using: &random)] = interesting(&random)
      }
      if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
      if check(bytes, "seed \(seed), round \(round)") { accepted += 1 }
    }
    #expect(accepted > 300, "the fuzzer no longer produces records that are accepted (seed \(seed))")
  }

  @Test func randomBytesNeverLeadOutOfBounds() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    for round in 0..<6_000 {
      var bytes = random.bytes(Int.random(in: 0...160, using: &random))
      // Half of them get past the first checks.
      if round % 2 == 0, bytes.count >= 56 {
        let length = UInt32(bytes.count & ~7)
        withUnsafeBytes(of: length.littleEndian) { bytes.replaceSubrange(0..<4, with: $0) }
        bytes.replaceSubrange(24..<28, with: [32, 1, UInt8.random(in: 0...1, using: &random), 0])
        for at in [29, 30, 31, 49, 51, 53, 54, 55] { bytes[at] = 0 }
      }
      _ = check(bytes, "seed \(seed), round \(round)")
    }
  }

  private func interesting(_ random: inout SeededGenerator) -> UInt8 {
    [0, 1, 7, 8, 31, 32, 33, 40, 127, 128, 248, 255].randomElement(using: &random)!
  }
}
