import SluiceCore
import SluiceIdentity
import Testing

@testable import SluiceIngest

/// The tables of the protocol, row by row.
@Suite("Framed protocol tables")
struct TCPStateTests {
  static let clientFrames: [WireFrameType] = [.hello, .proof, .data, .open, .close, .ping, .pong, .bye, .error]

  /// In the order of `clientFrames`.
  static let table: [(TCPState, [TCPAction])] = [
    (
      .start,
      [
        .handshake, .violation, .violation, .violation, .violation, .violation, .violation, .disconnect, .disconnect,
      ]
    ),
    (
      .challenged,
      [
        .violation, .prove, .violation, .violation, .violation, .violation, .violation, .disconnect, .disconnect,
      ]
    ),
    (
      .open, [.violation, .violation, .take, .openChannel, .closeChannel, .pong, .nothing, .finish, .heedError]
    ),
    (
      .draining,
      [.violation, .violation, .refuseRecords, .refuseChannel, .closeChannel, .pong, .nothing, .finish, .heedError]
    ),
    (
      .finishing,
      [.violation, .violation, .violation, .violation, .violation, .pong, .nothing, .violation, .heedError]
    ),
  ]

  @Test(arguments: table)
  func eachFrameIsAnsweredAsTheTableSays(_ state: TCPState, _ actions: [TCPAction]) {
    for (type, action) in zip(Self.clientFrames, actions) {
      #expect(TCPAction(on: type, in: state) == action, "\(type) in \(state)")
    }
  }

  @Test(arguments: TCPState.allCases)
  func whatOnlyAServerSendsIsAViolation(_ state: TCPState) {
    for type in WireFrameType.allCases where !Self.clientFrames.contains(type) {
      #expect(TCPAction(on: type, in: state) == .violation, "\(type)")
    }
  }

  @Test func theTableHasEveryState() { #expect(Self.table.map(\.0) == TCPState.allCases) }

  private func gate(after last: UInt64, discarding: Bool) -> SequenceGate {
    var gate = SequenceGate(after: last)
    if discarding { gate.refused() }
    return gate
  }

  @Test(arguments: [false, true])
  func r1WhatWasTakenIsADuplicate(discarding: Bool) {
    var gate = gate(after: 9, discarding: discarding)
    let before = gate
    for sequence in [1, 5, 9] as [UInt64] { #expect(gate.judge(sequence) == .duplicate) }
    #expect(gate == before)
  }

  @Test(arguments: [false, true])
  func r2TheNextIsTakenAndEndsDiscarding(discarding: Bool) {
    var gate = gate(after: 9, discarding: discarding)
    #expect(gate.judge(10) == .due)
    gate.took()
    #expect(gate.next == 11 && !gate.isDiscarding)
  }

  @Test(arguments: [false, true])
  func r3AndR4ARefusedOneIsExpectedAgain(discarding: Bool) {
    var gate = gate(after: 9, discarding: discarding)
    #expect(gate.judge(10) == .due)
    gate.refused()
    #expect(gate.next == 10 && gate.isDiscarding)
    #expect(gate.judge(11) == .discarded)
    #expect(gate.judge(10) == .due)
  }

  @Test(arguments: [false, true])
  func r5OneThatIsRefusedForGoodIsPassed(discarding: Bool) {
    var gate = gate(after: 9, discarding: discarding)
    #expect(gate.judge(10) == .due)
    gate.consumed()
    #expect(gate.next == 11 && !gate.isDiscarding)
  }

  @Test func r6AGapIsToldOnceAndR7WhatFollowsIsDropped() {
    var gate = gate(after: 9, discarding: false)
    #expect(gate.judge(12) == .gap)
    #expect(gate.isDiscarding && gate.next == 10)
    #expect(gate.judge(13) == .discarded)
    #expect(gate.judge(11) == .discarded)
    #expect(gate.judge(10) == .due)
  }

  private func hello(
    _ terms: TCPTerms = TCPTerms(stream: "events"), isPrivate: Bool = false, _ adjust: (inout WireHello) -> Void
  ) -> WireErrorCode? {
    var hello = WireHello(stream: "events", producer: "press-7", epoch: 1)
    adjust(&hello)
    let end = terms.objection(to: hello, isPrivate: isPrivate) ?? terms.objection(toStream: hello.stream, .all)
    return end.flatMap { WireErrorCode(rawValue: $0.code) }
  }

  @Test func aHelloIsTakenOrRefusedWithTheCodeOfThePage() {
    #expect(hello { _ in } == nil)
    #expect(hello { $0.stream = "" } == nil)
    #expect(hello { $0.versionMax = 3 } == nil)
    #expect(hello { $0.featuresWanted = 1 } == nil)
    #expect(hello { $0.versionMin = 2 } == .version)
    #expect(hello { $0.versionMax = 0 } == .version)
    #expect(hello { $0.featuresRequired = 4 } == .feature)
    #expect(hello { $0.integrity = 2 } == nil)
    #expect(hello { $0.integrity = 3 } == .integrityRequired)
    #expect(hello { $0.integrity = 4 } == .protocolViolation)
    #expect(hello { $0.authentication = 1 } == .authFailed)
    #expect(hello { $0.authentication = 2 } == .authFailed)
    #expect(hello { $0.authentication = 3 } == .protocolViolation)
    #expect(hello { $0.maxFrame = 4095 } == .protocolViolation)
    #expect(hello { $0.identity = "x" } == .protocolViolation)
    #expect(hello { $0.credential = [1] } == .protocolViolation)
    #expect(hello { $0.stream = "other" } == .streamUnknown)
    #expect(hello { $0.epoch = 0 } == .protocolViolation)
    #expect(hello { $0.producer = "" } == .protocolViolation)
  }

  /// integrity, auth, whether the connection is TLS or of this machine, and what is answered where identities are required.
  static let demands: [(UInt8, UInt8, Bool, WireErrorCode?)] = [
    (1, 0, true, .authRequired), (1, 0, false, .authRequired), (3, 0, true, .authRequired),
    (1, 1, true, nil), (2, 1, true, nil), (3, 1, true, .integrityRequired), (1, 1, false, .authInsecure),
    (2, 1, false, .authInsecure), (1, 2, true, nil), (2, 2, true, nil), (3, 2, true, nil),
    (1, 2, false, .integrityRequired), (2, 2, false, .integrityRequired), (3, 2, false, nil),
  ]

  @Test(arguments: demands)
  func whatASourceThatAsksWhoSendsTakes(
    integrity: UInt8, authentication: UInt8, isPrivate: Bool, code: WireErrorCode?
  ) {
    let terms = TCPTerms(stream: "events", demand: .required, knowsIdentities: true)
    let answer = hello(terms, isPrivate: isPrivate) {
      $0.integrity = integrity
      $0.authentication = authentication
      if authentication == 2 { $0.identity = "press-7" }
    }
    #expect(answer == code)
  }
}
