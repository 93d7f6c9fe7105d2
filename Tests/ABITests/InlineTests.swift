import CSluice
import TestSupport
import Testing

/// The names and values that the iterator finds, and what ended it.
private func iterate(_ raw: UnsafeRawBufferPointer) -> (headers: [[UInt8]], end: Int32) {
  var iterator = slu_headers_begin(slu_bytes(ptr: raw.baseAddress, len: UInt64(raw.count)))
  var header = slu_pair()
  var found: [[UInt8]] = []
  while true {
    let result = slu_headers_next(&iterator, &header)
    guard result == 1 else { return (found, result) }
    for part in [header.name, header.value] {
      found.append([UInt8](UnsafeRawBufferPointer(start: part.ptr, count: Int(part.len))))
    }
  }
}

@Suite struct InlineTests {
  @Test func headersComeBackAsTheyWereWritten() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    for _ in 0..<500 {
      var raw = [UInt8](repeating: 0, count: 4096)
      var length: UInt64 = 0
      var expected: [[UInt8]] = []
      for _ in 0..<Int.random(in: 0...8, using: &random) {
        let name = random.bytes(upTo: 255)
        let value = random.bytes(upTo: 700)
        let fits = name.withUnsafeBytes { name in
          value.withUnsafeBytes { value in
            slu_headers_append(
              &raw, UInt64(raw.count), &length, slu_bytes(ptr: name.baseAddress, len: UInt64(name.count)),
              slu_bytes(ptr: value.baseAddress, len: UInt64(value.count)))
          }
        }
        if fits == 1 { expected += [name, value] }
      }
      raw[0..<Int(length)].withUnsafeBytes { raw in
        let (found, end) = iterate(raw)
        #expect(found == expected && end == 0, "seed \(seed)")
      }
    }
  }

  @Test func noBytesMakeTheIteratorReadPastTheirEnd() {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededGenerator(seed: seed)
    for _ in 0..<5000 {
      var raw = random.bytes(upTo: 64)
      // Small length bytes make headers that are almost right.
      for index in raw.indices where Bool.random(using: &random) { raw[index] &= 7 }
      // A copy of the exact size on the heap: a sanitizer sees what reads past it.
      let exact = UnsafeMutableRawBufferPointer.allocate(byteCount: raw.count, alignment: 1)
      defer { exact.deallocate() }
      exact.copyBytes(from: raw)
      let (found, end) = iterate(UnsafeRawBufferPointer(exact))
      let used = found.reduce(0) { $0 + $1.count } + found.count / 2 * 3
      #expect(end == 0 ? used == raw.count : used < raw.count, "seed \(seed)")
    }
  }

  @Test func aHeaderThatDoesNotFitIsNotWritten() {
    var raw = [UInt8](repeating: 0, count: 8)
    var length: UInt64 = 0
    #expect(slu_headers_append(&raw, 8, &length, slu_text("ab"), slu_text("cdef")) == 0)
    #expect(slu_headers_append(&raw, 8, &length, slu_text("ab"), slu_text("cde")) == 1)
    #expect(length == 8)
    #expect(slu_headers_append(&raw, 8, &length, slu_text(""), slu_text("")) == 0)
  }

  @Test func aLongErrorIsCutBetweenCharacters() {
    var error = slu_error()
    #expect(slu_fail(&error, SLU_E_FATAL, "disk full") == SLU_E_FATAL)
    #expect(error.length == 9)
    // 488 bytes hold 487 and one half of a two-byte character.
    #expect(slu_fail(&error, SLU_E_CONFIG, "x" + String(repeating: "é", count: 400)) == SLU_E_CONFIG)
    #expect(error.length == 487)
    #expect(slu_fail(&error, SLU_E_CONFIG, String(repeating: "é", count: 244)) == SLU_E_CONFIG)
    #expect(error.length == 488)
  }
}
