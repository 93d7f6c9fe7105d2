import SluiceCore
import TestSupport
import Testing

@Suite("Compressed bodies")
struct BodyExpanderTests {
  /// What `bytes` expand to, read from an allocation of just their size.
  func expand(
    _ bytes: [UInt8], _ coding: ContentCoding, limit: Int = 1 << 20, _ expander: inout BodyExpander
  ) -> Result<[UInt8], ExpansionFault> {
    let exact = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { exact.deallocate() }
    exact.copyBytes(from: bytes)
    do throws(ExpansionFault) {
      return .success(Array(try expander.expand(UnsafeRawBufferPointer(exact), coding, limit: limit)))
    } catch {
      return .failure(error)
    }
  }

  func expand(_ bytes: [UInt8], _ coding: ContentCoding, limit: Int = 1 << 20) -> Result<[UInt8], ExpansionFault> {
    var expander = BodyExpander()
    return expand(bytes, coding, limit: limit, &expander)
  }

  static func compress(_ bytes: [UInt8], _ coding: ContentCoding) -> [UInt8] {
    switch coding {
    case .identity: bytes
    case .gzip: Compression.gzip(bytes)
    case .zstd: Compression.zstd(bytes)
    }
  }

  static let codings: [ContentCoding] = [.gzip, .zstd]
  static let text = Array(#"{"message":"hello, hello, hello, hello"}"#.utf8)

  @Test func theLibrariesAreHere() {
    for coding in ContentCoding.allCases { #expect(BodyExpander.expands(coding)) }
  }

  @Test(arguments: codings) func whatWasCompressedComesOutAgainFromOneExpander(_ coding: ContentCoding) {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    var expander = BodyExpander()
    for size in [0, 1, 2, 100, 65_535, 65_536, 65_537, 200_000, 7, 1 << 20] {
      // Half of it repeats and half does not.
      let bytes = (0..<size).map { $0 % 3 == 0 ? UInt8.random(in: 0...255, using: &random) : 0x61 }
      let body = Self.compress(bytes, coding)
      #expect(expand(body, coding, &expander) == .success(bytes), "\(size) bytes, seed \(seed)")
      #expect(expand(body, coding, limit: size, &expander) == .success(bytes), "just within the limit")
      if size > 0 { #expect(expand(body, coding, limit: size - 1, &expander) == .failure(.tooLarge)) }
    }
  }

  @Test(arguments: codings) func severalMembersOrFramesAreOneBodyTogetherWithinTheLimit(_ coding: ContentCoding) {
    let one = Self.compress(Self.text, coding)
    let empty = Self.compress([], coding)
    let all = one + empty + one + one
    #expect(expand(all, coding) == .success(Self.text + Self.text + Self.text))
    #expect(expand(all, coding, limit: Self.text.count * 3) == .success(Self.text + Self.text + Self.text))
    #expect(expand(all, coding, limit: Self.text.count * 3 - 1) == .failure(.tooLarge))
  }

  @Test(arguments: codings) func everyPrefixIsCutShortButThoseThatEndAMember(_ coding: ContentCoding) {
    let one = Self.compress(Self.text, coding)
    var expander = BodyExpander()
    for count in 0..<one.count {
      #expect(expand(Array(one[..<count]), coding, &expander) == .failure(.cutShort), "\(count) bytes")
    }
    for count in 4..<one.count {
      #expect(expand(one + one[..<count], coding, &expander) == .failure(.cutShort), "\(count) bytes of the second")
    }
    #expect(expand(one, coding, &expander) == .success(Self.text), "no fault is remembered")
  }

  @Test(arguments: codings) func whatFollowsTheBodyIsRefused(_ coding: ContentCoding) {
    for tail in [[0], [0x0A], [0x1F, 0x8C], Array("{}  ".utf8), [UInt8](repeating: 0, count: 512)] {
      #expect(expand(Self.compress(Self.text, coding) + tail, coding) == .failure(.trailingBytes), "\(tail.count)")
    }
  }

  @Test(arguments: codings) func damageIsFoundOrLeavesTheBodyWithinItsLimit(_ coding: ContentCoding) {
    let one = Self.compress(Self.text, coding)
    var expander = BodyExpander()
    for at in one.indices {
      for bit in 0..<8 {
        var damaged = one
        damaged[at] ^= 1 << UInt8(bit)
        if case .success(let bytes) = expand(damaged, coding, limit: 4096, &expander) { #expect(bytes.count <= 4096) }
      }
    }
    var wrong = Compression.gzip(Self.text)
    wrong[wrong.count - 8] ^= 1
    #expect(expand(wrong, .gzip) == .failure(.notDecodable), "a checksum that does not fit")
    #expect(expand(Self.text, coding) == .failure(.notDecodable))
  }

  /// Bytes of a frame, and what is wrong with it.
  static let frames: [(String, [UInt8], ExpansionFault)] = [
    ("a reserved bit", [0x28, 0xB5, 0x2F, 0xFD, 0x08, 0x00, 0x01, 0, 0], .notDecodable),
    ("an older version's magic", [0x27, 0xB5, 0x2F, 0xFD, 0x00, 0x00, 0x01, 0, 0], .notDecodable),
    ("a dictionary of one byte's ID", [0x28, 0xB5, 0x2F, 0xFD, 0x01, 0x00, 0x07, 1, 0, 0], .dictionary),
    ("a dictionary of four bytes' ID", [0x28, 0xB5, 0x2F, 0xFD, 0x03, 0x00, 0, 0, 0, 1, 1, 0, 0], .dictionary),
    ("a window of 9 MiB", [0x28, 0xB5, 0x2F, 0xFD, 0x00, 13 << 3 | 1, 1, 0, 0], .windowTooLarge),
    ("a window of 3 TiB", [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xFF, 1, 0, 0], .windowTooLarge),
    (
      "a size of 2^63 bytes", [0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0], .tooLarge
    ),
    ("nothing behind the window", [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x00], .cutShort),
    ("a frame to skip that is cut", [0x50, 0x2A, 0x4D, 0x18, 9, 0, 0, 0, 1], .cutShort),
  ]

  @Test(arguments: frames) func aFrameIsRefusedForWhatItsHeaderSays(
    _ what: String, _ bytes: [UInt8], _ fault: ExpansionFault
  ) {
    #expect(expand(bytes, .zstd) == .failure(fault), "\(what)")
  }

  @Test func whatAFrameMayHaveIsTaken() {
    // A raw block of two bytes, the last one.
    let block: [UInt8] = [0x11, 0, 0, 0x68, 0x69]
    let magic: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD]
    #expect(expand(magic + [0x00, 13 << 3] + block, .zstd) == .success([0x68, 0x69]), "a window of 8 MiB")
    #expect(expand(magic + [0x01, 0x00, 0x00] + block, .zstd) == .success([0x68, 0x69]), "an ID that says none")
    #expect(expand(magic + [0x20, 2] + block, .zstd) == .success([0x68, 0x69]), "a single segment")
    let skipped: [UInt8] = [0x5F, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 1, 2]
    #expect(expand(skipped + magic + [0x20, 2] + block + skipped, .zstd) == .success([0x68, 0x69]), "frames to skip")
  }

  @Test(arguments: codings) func aBodyHasSoManyMembersAndNoMore(_ coding: ContentCoding) {
    let empty = Self.compress([], coding)
    var expander = BodyExpander()
    let most = Array(repeatElement(empty, count: Limits.maxBodyMembers).joined())
    #expect(expand(most, coding, &expander) == .success([]))
    let cost = most.count + Limits.maxBodyMembers * Limits.bodyMemberCostBytes
    #expect(expander.costBytes == cost)
    #expect(expand(most + empty, coding, &expander) == .failure(.tooManyMembers))
    #expect(expander.costBytes == cost, "a refusal costs too")
    #expect(expand(Self.compress(Self.text, coding), coding, &expander) == .success(Self.text))
    #expect(expander.costBytes < 2 * Limits.bodyMemberCostBytes, "each body has its own")
  }

  /// Found by fuzzing: a frame that says 15 bytes and goes on. A decoder that has a large buffer from before handed out more
  /// of it than a new one.
  @Test func aFrameOfMoreThanItSaysIsRefusedAlikeByANewDecoderAndAUsedOne() {
    let body: [UInt8] = [
      0x28, 0xB5, 0x2F, 0xFD, 0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0F, 0, 0, 0, 0x28, 0xB5, 0, 0, 0, 0x3B, 0x2F, 0xFF,
      0xFF, 0xFD, 0,
    ]
    var used = BodyExpander()
    _ = expand(Self.compress([UInt8](repeating: 0x61, count: 1 << 20), .zstd), .zstd, limit: 1 << 20, &used)
    for limit in [0, 1, 100, 4096, 65_535, 65_536, 1 << 20] {
      #expect(expand(body, .zstd, limit: limit, &used) == expand(body, .zstd, limit: limit), "\(limit)")
    }
    // Says two bytes, and has a run of 100.
    let run: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x20, 2, 0x23, 0x03, 0, 0x61]
    for limit in [2, 50, 4096] {
      #expect(expand(run, .zstd, limit: limit, &used) == .failure(.notDecodable))
      #expect(expand(run, .zstd, limit: limit) == .failure(.notDecodable))
    }
  }

  @Test func aFrameOfLessThanItSaysIsRefused() {
    // Declares 17 bytes, and its only block is empty and the last.
    #expect(expand([0x28, 0xB5, 0x2F, 0xFD, 0x20, 17, 0x01, 0x00, 0x00], .zstd) == .failure(.notDecodable))
  }

  @Test(arguments: codings) func aBombStopsAtTheLimit(_ coding: ContentCoding) {
    // 64 MiB of zeros, in members of 1 MiB, so that the test's own compression is quick.
    let zeros = Self.compress([UInt8](repeating: 0, count: 1 << 20), coding)
    let bomb = Array(repeatElement(zeros, count: 64).joined())
    #expect(expand(bomb, coding, limit: 100_000) == .failure(.tooLarge))
  }
}
