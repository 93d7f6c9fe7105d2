// libFuzzer target: frames of the wire protocol. Built by `scripts/fuzz` from this file, `check.swift`, the codec's own, and SluiceCore.
//
// input     one byte: bit 0 the direction, bit 1 a small `max_frame`, bit 2 whether the checksums stay as they are; two that
//           pick a split point; then the bytes of a connection. Checksums are made right otherwise, which no mutation would.
// property  no read outside of the bytes (the sanitizer watches exact allocations); the same frames and the same fault
//           whether the bytes come at once, in two parts, or one by one; what is decoded lies within its frame; records
//           lie behind each other up to the frame's end; their validation reads nothing outside of them

import SluiceCore

#if !FUZZING
  @testable import SluiceIngest
#endif

/// What libFuzzer calls for each input.
#if FUZZING
  @c(LLVMFuzzerTestOneInput)
#endif
public func fuzzFrame(_ start: UnsafeRawPointer?, _ count: Int) -> CInt {
  guard let start, count > 3 else { return 0 }
  let input = UnsafeRawBufferPointer(start: start, count: count)
  let direction = input[0] & 1 == 0 ? WireDirection.toServer : .toClient
  let maxFrame = input[0] & 2 == 0 ? 1 << 20 : 256
  var bytes = Array(input[3...])
  if input[0] & 4 == 0 { bytes.withUnsafeMutableBytes { repair($0, direction) } }
  let split = (Int(input[1]) << 8 | Int(input[2])) % (bytes.count + 1)
  bytes.withUnsafeBytes { bytes in
    let whole = outcome(bytes, direction, maxFrame, cuts: [])
    check(whole == outcome(bytes, direction, maxFrame, cuts: [split]), "a split changes the outcome")
    if bytes.count <= 256 {
      check(
        whole == outcome(bytes, direction, maxFrame, cuts: Array(0..<bytes.count)), "single bytes change the outcome")
    }
  }
  return 0
}

/// Gives every frame the checksums that belong to it.
private func repair(_ bytes: UnsafeMutableRawBufferPointer, _ direction: WireDirection) {
  var at = 0
  var counter: UInt64 = 0
  while let base = bytes.baseAddress.map({ $0 + at }), bytes.count - at >= WireLayout.headerBytes {
    let length = Int(UnsafeRawPointer(base).loadLE(WireLayout.length) as UInt32)
    if length >= WireLayout.headerBytes, length <= bytes.count - at {
      let body = UnsafeRawBufferPointer(start: base + WireLayout.headerBytes, count: length - WireLayout.headerBytes)
      let isData = UnsafeRawPointer(base).loadLE(WireLayout.type) as UInt8 == WireFrameType.data.rawValue
      let count = Int(UnsafeRawPointer(base).loadLE(WireLayout.count) as UInt32)
      let checksum = isData ? WireChecksum.ofRecords(body, count: min(count, body.count)) : CRC32C.of(body)
      if let checksum { base.storeLE(checksum, WireLayout.bodyCRC) }
    }
    let header = UnsafeRawBufferPointer(start: base, count: WireLayout.headCRC)
    base.storeLE(CRC32C.of(header, seed: WireChecksum.seed(direction, counter)), WireLayout.headCRC)
    guard length >= WireLayout.headerBytes, length <= bytes.count - at else { return }
    at += length
    counter += 1
  }
}

/// One frame, or the fault that ends the connection.
private struct Seen: Equatable {
  var type: WireFrameType?
  var channel: UInt16 = 0
  var count = 0
  var length = 0
  var content: [UInt64] = []
  var fault: WireFault?
}

/// What a connection makes of `bytes` when they come in parts that end at `cuts`.
private func outcome(_ bytes: UnsafeRawBufferPointer, _ direction: WireDirection, _ maxFrame: Int, cuts: [Int])
  -> [Seen]
{
  var receiver = WireReceiver(from: direction, maxFrame: maxFrame)
  var all: [Seen] = []
  var consumed = 0
  var needed = 0
  for cut in cuts + [bytes.count] where cut - consumed >= needed {
    while true {
      // An allocation of exactly these bytes, so that a read behind them is found.
      let part = UnsafeMutableRawBufferPointer.allocate(byteCount: cut - consumed, alignment: 8)
      defer { part.deallocate() }
      part.copyBytes(from: bytes[consumed..<cut])
      switch receiver.next(UnsafeRawBufferPointer(part)) {
      case .frame(let frame):
        check(frame.length <= part.count && frame.length <= maxFrame, "a frame is longer than what there is")
        all.append(seen(frame))
        consumed += frame.length
        needed = 0
        continue
      case .fault(let fault):
        all.append(Seen(fault: fault))
        return all
      case .needMore(let total):
        check(total > part.count && total <= max(maxFrame, WireLayout.headerBytes), "what is waited for makes no sense")
        needed = total
      }
      break
    }
  }
  return all
}

private func seen(_ frame: WireFrame) -> Seen {
  var seen = Seen(type: frame.type, channel: frame.channel, count: frame.count, length: frame.length)
  do throws(WireFault) {
    seen.content = try content(frame)
  } catch {
    seen.fault = error
  }
  return seen
}

/// A few numbers that say what was decoded.
private func content(_ frame: WireFrame) throws(WireFault) -> [UInt64] {
  switch frame.type {
  case .hello: return [UInt64(try WireHello(frame.body).software.utf8.count)]
  case .welcome: return [try WireWelcome(frame.body).lastSequence]
  case .open: return [UInt64(try WireOpen(frame.body).epoch)]
  case .opened: return [try WireOpened(frame.body).lastSequence]
  case .nack: return [try WireNack(frame.body).sequence]
  case .credit: return [try WireCredit(frame.body).bytes]
  case .goaway, .bye, .error: return [try WireEnd(frame.body).value]
  case .ack, .ping, .pong: return [try frame.word()]
  case .data: return try records(frame)
  case .challenge, .proof, .close, nil: return []
  }
}

private func records(_ frame: WireFrame) throws(WireFault) -> [UInt64] {
  var records = try frame.records()
  var end = WireLayout.headerBytes + WireLayout.dataFixedBytes
  var numbers: [UInt64] = []
  while let (part, crc) = records.peek(in: frame.body) {
    end += WireLayout.recordPrefixBytes + part.count
    check(end <= frame.length, "a record lies outside of its frame")
    numbers.append(UInt64(crc) << 32 | UInt64(part.count))
    if (try? RecordView.validateProducerPart(part)) != nil { numbers.append(records.sequence) }
    records.advance(past: part)
  }
  check(records.left == 0 && numbers.count >= frame.count, "records are missing")
  return numbers
}
