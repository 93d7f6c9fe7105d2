// libFuzzer target: JSON bodies. Built by `scripts/fuzz` from this file, `check.swift`, the reference that the tests use, and SluiceCore.
//
// input     one byte that picks the depth bound, then the text
// property  no read outside of the bytes (the sanitizer watches); offsets within the text; the same verdict and the
//           same `message` as a slow scanner written from the grammar (`JSONReference`); white space around the text moves the
//           result and changes nothing; a text cut before its last brace is not valid

import SluiceCore

#if !FUZZING
  import TestSupport
#endif

/// What libFuzzer calls for each input.
#if FUZZING
  @c(LLVMFuzzerTestOneInput)
#endif
public func fuzzJSON(_ start: UnsafeRawPointer?, _ count: Int) -> CInt {
  guard let start, count > 1 else { return 0 }
  let maxDepth = start.load(as: UInt8.self) & 1 == 0 ? 5 : 128
  let text = UnsafeRawBufferPointer(start: start + 1, count: count - 1)
  let verdict = scan(text, maxDepth)
  let reference = JSONReference(Array(text), maxDepth: maxDepth).verdict()
  switch (verdict, reference) {
  case (.success(let range), .message(let expected)):
    check(range == expected, "another message than the reference's")
    var padded: [UInt8] = [0x20, 0x0A]
    padded += text
    padded += [0x09, 0x0D]
    let moved = padded.withUnsafeBytes { scan($0, maxDepth) }
    check(moved == .success(range.lowerBound + 2..<range.upperBound + 2), "white space changes the result")
    let brace = text.lastIndex(of: UInt8(ascii: "}")) ?? 0
    let cut = scan(UnsafeRawBufferPointer(rebasing: text[..<brace]), maxDepth)
    check(cut == .failure(JSONFault(.unexpectedEnd, brace)), "a text without its last brace is not cut short")
  case (.failure(let fault), .content):
    check([.notAnObject, .messageMissing, .messageNotString].contains(fault.code), "valid text called invalid")
    check(fault.offset < text.count, "an offset outside of the text")
  case (.failure(let fault), .invalid):
    check(![.notAnObject, .messageMissing, .messageNotString].contains(fault.code), "invalid text called valid")
    check(fault.offset >= 0 && fault.offset <= text.count, "an offset outside of the text")
  default:
    check(false, "another verdict than the reference's")
  }
  return 0
}

private func scan(_ text: UnsafeRawBufferPointer, _ maxDepth: Int) -> Result<Range<Int>, JSONFault> {
  do throws(JSONFault) {
    return .success(try JSONScanner.message(of: text, maxDepth: maxDepth))
  } catch {
    return .failure(error)
  }
}
