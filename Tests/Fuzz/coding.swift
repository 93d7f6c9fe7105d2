// libFuzzer target: compressed bodies. Built by `scripts/fuzz` from this file, `check.swift` and SluiceCore.
//
// input     one byte: bit 0 the coding, bits 1–3 the limit; then the body
// property  no read outside of the bytes and no write outside of the room (the sanitizer watches); what comes out is within
//           the limit; a used expander answers as a new one does; with a limit of one byte less than what came out the answer is
//           that it is too large; a body and the same body again is the same twice; nothing may follow it

import SluiceCore

/// Lives as long as the process, as a loop's does.
nonisolated(unsafe) private var used = BodyExpander()

/// What libFuzzer calls for each input.
#if FUZZING
  @c(LLVMFuzzerTestOneInput)
#endif
public func fuzzCoding(_ start: UnsafeRawPointer?, _ count: Int) -> CInt {
  guard let start, count > 1 else { return 0 }
  let choice = start.load(as: UInt8.self)
  let coding = choice & 1 == 0 ? ContentCoding.gzip : .zstd
  let limit = [0, 1, 100, 4096, 65_535, 65_536, 65_537, 1 << 20][Int(choice >> 1 & 7)]
  let body = Array(UnsafeRawBufferPointer(start: start + 1, count: count - 1))
  var new = BodyExpander()
  let outcome = expand(body, coding, limit, &new)
  check(outcome == expand(body, coding, limit, &used), "a used expander answers otherwise")
  guard case .success(let bytes) = outcome else { return 0 }
  check(bytes.count <= limit, "more than the limit came out")
  if !bytes.isEmpty {
    check(expand(body, coding, bytes.count - 1, &used) == .failure(.tooLarge), "a lower limit is not kept")
  }
  check(expand(body, coding, bytes.count, &used) == outcome, "the limit itself is too little")
  check(expand(body + body, coding, 2 * bytes.count, &used) == .success(bytes + bytes), "twice is not the same twice")
  check(expand(body + [0x7B], coding, limit, &used) == .failure(.trailingBytes), "something may follow")
  return 0
}

private func expand(
  _ body: [UInt8], _ coding: ContentCoding, _ limit: Int, _ expander: inout BodyExpander
) -> Result<[UInt8], ExpansionFault> {
  // An allocation of exactly these bytes, so that a read behind them is found.
  let exact = UnsafeMutableRawBufferPointer.allocate(byteCount: body.count, alignment: 1)
  defer { exact.deallocate() }
  exact.copyBytes(from: body)
  do throws(ExpansionFault) {
    return .success(Array(try expander.expand(UnsafeRawBufferPointer(exact), coding, limit: limit)))
  } catch {
    return .failure(error)
  }
}
