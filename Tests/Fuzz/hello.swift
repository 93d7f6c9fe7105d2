// libFuzzer target: the handshake of the wire protocol. Built by `scripts/fuzz` from this file, `check.swift`, the codec's and the states'
// own, and SluiceCore.
//
// input     one byte: bits 0–3 how many bytes of frame types follow it, bits 4 and 5 whether the source asks who sends (2 and 3:
//           it does), bit 6 whether anybody has an identity there, bit 7 a connection that others can read; the types; then the
//           body of a HELLO
// property  no read outside of the bytes (the sanitizer watches exact allocations); a HELLO that is decoded has texts of
//           UTF-8 within their bounds; one without an objection is what this server speaks and wants no more, and shows who it is
//           as the source asks, with no token where others read, and with tags under a session's key where others write; after
//           HELLO no second one is taken, and after BYE no records

import SluiceCore

#if !FUZZING
  @testable import SluiceIngest
#endif

/// What libFuzzer calls for each input.
#if FUZZING
  @c(LLVMFuzzerTestOneInput)
#endif
public func fuzzHello(_ start: UnsafeRawPointer?, _ count: Int) -> CInt {
  guard let start, count > 1 else { return 0 }
  let input = UnsafeRawBufferPointer(start: start, count: count)
  let types = input[1..<min(count, 1 + Int(input[0] & 15))]
  drive(types.map { $0 })
  let source = input[types.endIndex...]
  let body = UnsafeMutableRawBufferPointer.allocate(byteCount: source.count, alignment: 8)
  defer { body.deallocate() }
  body.copyBytes(from: source)
  guard let hello = try? WireHello(UnsafeRawBufferPointer(body)) else { return 0 }
  check(source.count >= 72, "a HELLO that is too short was decoded")
  for text in [hello.stream, hello.producer, hello.identity, hello.fingerprint, hello.software] {
    check(text.utf8.count <= source.count, "a text is longer than its frame")
    check(!text.utf8.contains(0) || source.contains(0), "a text has a byte that was not sent")
  }
  check(hello.credential.count <= Limits.maxWireCredentialBytes, "a credential exceeds its limit")
  let demand = [AuthenticationDemand.none, .optional, .required, .required][Int(input[0] >> 4 & 3)]
  let terms = TCPTerms(stream: "events", demand: demand, knowsIdentities: input[0] & 0x40 != 0)
  let isPrivate = input[0] & 0x80 == 0
  guard terms.objection(to: hello, isPrivate: isPrivate) == nil else { return 0 }
  checkIdentity(hello, terms, isPrivate)
  check(hello.versionMin <= 1 && hello.versionMax >= 1, "a version that is not spoken was taken")
  check(hello.featuresRequired == 0, "a feature that is not known was taken")
  check(hello.producer.isEmpty == (hello.epoch == 0), "a producer without an epoch was taken")
  return 0
}

/// How a client that is taken shows who it is.
private func checkIdentity(_ hello: WireHello, _ terms: TCPTerms, _ isPrivate: Bool) {
  let integrity = WireIntegrity(rawValue: hello.integrity)
  switch WireAuthentication(rawValue: hello.authentication) {
  case .some(.none):
    check(terms.demand != .required, "nobody was taken where somebody is asked for")
    check(hello.identity.isEmpty && hello.credential.isEmpty, "who is nobody named somebody")
    check(integrity != .hmacSHA256, "a session's key was taken from who has none")
  case .bearer:
    check(terms.knowsIdentities && isPrivate, "a token was taken where others read it, or nobody knows it")
    check(integrity != .hmacSHA256, "a session's key was taken from who has none")
  case .challenge:
    check(terms.knowsIdentities, "a proof was asked for that nobody can check")
    check(!hello.identity.isEmpty && hello.credential.isEmpty, "a proof was asked for of nobody, or a secret came too")
    check(isPrivate || integrity == .hmacSHA256, "frames were taken that others can change")
  case nil: check(false, "an authentication that is not known was taken")
  }
  check(integrity != nil, "an integrity that is not known was taken")
}

/// Frames as a client may send them, through the table of states.
private func drive(_ raw: [UInt8]) {
  var state = TCPState.start
  var gate = SequenceGate()
  for byte in raw {
    guard let type = WireFrameType(rawValue: byte & 0x1F) else { continue }
    let action = TCPAction(on: type, in: state)
    check(state == .start || action != .handshake, "a second HELLO is taken")
    check(state == .open || action != .take, "records are taken out of turn")
    switch action {
    case .handshake: state = byte & 0x20 == 0 ? .open : .challenged
    case .prove:
      check(state == .challenged, "a proof is taken that nobody asked for")
      state = .open
    case .finish: state = .finishing
    case .take: judge(UInt64(byte >> 5), &gate)
    case .disconnect, .violation, .heedError: return
    case .refuseRecords, .openChannel, .refuseChannel, .closeChannel, .pong, .nothing: break
    }
  }
}

/// One record's number through rows R1 to R7.
private func judge(_ sequence: UInt64, _ gate: inout SequenceGate) {
  let before = gate
  switch gate.judge(sequence) {
  case .due:
    check(sequence == before.next, "a record is taken out of turn")
    gate.took()
    check(gate.next == sequence + 1 && !gate.isDiscarding, "a record that was taken is waited for")
  case .duplicate: check(sequence < before.next && gate == before, "what is no duplicate is called one")
  case .gap: check(sequence > before.next && gate.isDiscarding, "what is no gap is called one")
  case .discarded: check(sequence > before.next && before.isDiscarding, "what is to be taken is discarded")
  }
}
