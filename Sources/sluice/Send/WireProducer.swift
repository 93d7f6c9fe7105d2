// A producer over the framed protocol (`docs/wire-protocol.md`): one connection, one channel.
//
//   phase       begins with         ends with                        in it
//   idle        disconnected        connected → greeting
//   greeting    HELLO sent          WELCOME → open · ERROR · 10 s    CHALLENGE, answered with PROOF
//   open        WELCOME             all answered → goodbye           DATA while credit lasts; ACK, NACK, CREDIT; PING
//                                   GOAWAY → draining
//   draining    GOAWAY              BYE or the end → idle            answers; no DATA
//   goodbye     BYE sent            BYE, the end or 10 s → over      answers
//   over
//
// What is sent is kept in a `WireWindow` until it is answered. Connected again, the client looks up what it finds in the
// resume table (`Resume`); an anonymous one knows nothing of what arrived and sends all that it holds once more, numbered
// from 1. Records that are too large for the stream are not sent and take no number.

import NIOCore
import SluiceCore
import SluiceIngest

struct WireProducer: SendMachine {
  struct Settings {
    /// Empty: anonymous.
    var producer: String
    var epoch: UInt16
    var credential = WireCredential.none
    var topic: [UInt8]
    var software: String
    /// Records that may be without an answer.
    var inFlight: Int
    var retries: Bool

    var isAnonymous: Bool { producer.isEmpty }
  }

  enum Phase: Equatable {
    case idle, greeting, open, draining, goodbye, over
  }

  let settings: Settings
  var phase = Phase.idle
  var condition = LaneCondition.connecting
  var wakeAt = Int64.max

  var window = WireWindow()
  private var receiver: WireReceiver
  var sender = WireSender(.toServer)
  /// Of a handshake with challenge–response.
  private var greeting: WireGreeting?
  private var input = ByteBuffer()
  var output: [ByteBuffer] = []

  private var epoch: UInt16
  /// What the last WELCOME said.
  var maxFrame = 0
  var maxPart = 0
  var idleNanoseconds = Int64.max
  var credit = WireCredit(bytes: 0, records: 0)
  var used = WireCredit(bytes: 0, records: 0)
  private var wasWelcome = false
  /// Records of the input that the server has from an earlier run, and that are still to be passed over.
  var known: UInt64 = 0
  /// The log that the numbers are of.
  private var log: LogUUID?
  /// The server knows more of this producer than it sent (S5): the next WELCOME is the new beginning.
  private var startsAnew = false
  var resumeAt: Int64 = 0
  var lastSent: Int64 = 0
  var lastReceived: Int64 = 0
  private var reconnectAfter: Int64 = 0
  private var backoff = Backoff(Limits.sendRetryNanoseconds)

  init(_ settings: Settings) {
    self.settings = settings
    epoch = settings.epoch
    receiver = WireReceiver(from: .toClient, maxFrame: Limits.defaultWireClientFrameBytes)
  }

  // MARK: The transport

  mutating func connected(at now: Int64) {
    receiver = WireReceiver(from: .toClient, maxFrame: Limits.defaultWireClientFrameBytes)
    sender = WireSender(.toServer)
    input = ByteBuffer()
    reconnectAfter = 0
    lastSent = now
    lastReceived = now
    phase = .greeting
    condition = .connecting
    wakeAt = now + Limits.sendConnectNanoseconds
    var hello = WireHello(producer: settings.producer, epoch: settings.isAnonymous ? 0 : epoch)
    hello.software = settings.software
    settings.credential.enter(&hello)
    write { $0.hello(hello, to: &$1) }
    greeting = settings.credential.secret.flatMap { secret in
      output.last.map { WireGreeting(secret: secret, hello: Array($0.readableBytesView)) }
    }
  }

  private mutating func prove(_ challenge: WireProof, _ frame: WireFrame) throws(WireFault) {
    guard let proof = greeting?.answer(Array(frame.bytes)) else {
      throw WireFault(.protocolViolation, "a challenge that was not asked for")
    }
    write { $0.proof(WireProof(proof), to: &$1) }
    guard let sent = output.last, let sealer = greeting?.sent(proofFrame: Array(sent.readableBytesView)) else { return }
    sender.seal(with: sealer)
    receiver.expectTags(of: sealer)
  }

  mutating func disconnected(at now: Int64, _ tally: inout SendTally) {
    output = []
    input = ByteBuffer()
    if phase == .goodbye { finish() }
    window.rewind(to: window.first)
    if !settings.retries { tally.abandoned += UInt64(window.drop(from: window.first)) }
    switch condition {
    case .done, .failed: break
    case .connecting, .open, .broken:
      phase = .idle
      condition = .connecting
      wakeAt = .max
    }
  }

  mutating func takeOutput() -> [ByteBuffer] {
    defer { output = [] }
    return output
  }

  mutating func write(_ frame: (inout WireSender, inout ByteBuffer) -> Void) {
    var buffer = ByteBuffer()
    frame(&sender, &buffer)
    output.append(buffer)
  }

  mutating func finish() {
    phase = .over
    condition = .done
    wakeAt = .max
  }

  mutating func fail(_ failure: SendFailure) { condition = .failed(failure) }

  mutating func lose(after nanoseconds: Int64 = 0) {
    condition = .broken(reconnectAfter: max(nanoseconds, reconnectAfter))
  }

  // MARK: Receiving

  mutating func received(_ bytes: ByteBuffer, at now: Int64, _ tally: inout SendTally) {
    lastReceived = now
    input.writeImmutableBuffer(bytes)
    // Taken out while frames point into it.
    var input = input
    self.input = ByteBuffer()
    while condition == .connecting || condition == .open {
      let consumed = input.withUnsafeReadableBytes { bytes -> Int in
        switch receiver.next(bytes) {
        case .needMore: return 0
        case .frame(let frame):
          take(frame, at: now, &tally)
          return frame.length
        case .fault(let fault):
          answer(fault)
          return 0
        }
      }
      guard consumed > 0 else { break }
      input.moveReaderIndex(forwardBy: consumed)
    }
    input.discardReadBytes()
    self.input = input
  }

  /// What came is no frame, or not as it should be.
  private mutating func answer(_ fault: WireFault) {
    guard wasWelcome else {
      return fail(.protocolError("what answers does not speak Sluice's wire protocol: \(fault.detail)"))
    }
    write { $0.end(.error, WireEnd(fault.code, value: fault.value, text: fault.detail), to: &$1) }
    if fault.code == .integrity { lose() } else { fail(.protocolError("the server sent \(fault.detail)")) }
  }

  private mutating func take(_ frame: WireFrame, at now: Int64, _ tally: inout SendTally) {
    do throws(WireFault) {
      switch (frame.type, phase) {
      case (.challenge, .greeting): try prove(WireProof(frame.body), frame)
      case (.welcome, .greeting): try welcome(WireWelcome(frame.body), at: now, &tally)
      case (.ack, .open), (.ack, .draining): try acknowledge(frame.word(), at: now, &tally)
      case (.nack, .open), (.nack, .draining): try refuse(WireNack(frame.body), at: now, &tally)
      case (.credit, _) where phase != .greeting:
        let more = try WireCredit(frame.body)
        credit = WireCredit(bytes: max(credit.bytes, more.bytes), records: max(credit.records, more.records))
      case (.ping, _):
        let token = try frame.word()
        write { $0.pong(token, to: &$1) }
      case (.pong, _): break
      case (.goaway, .open):
        let end = try WireEnd(frame.body)
        reconnectAfter = Self.wait(asked: end.retryAfterMilliseconds)
        phase = .draining
      case (.goaway, _): break
      case (.bye, .goodbye): finish()
      case (.bye, _): lose()
      case (.error, _): end(try WireEnd(frame.body))
      case (nil, _): break
      default: throw WireFault(.protocolViolation, "a frame that does not belong here")
      }
    } catch {
      answer(error)
    }
  }

  private mutating func welcome(_ welcome: WireWelcome, at now: Int64, _ tally: inout SendTally) throws(WireFault) {
    guard welcome.lastSequence < 1 << 62, welcome.version == WireLayout.version else {
      throw WireFault(.protocolViolation, "a WELCOME that can't be")
    }
    // Before a record is sent: nobody else is to have it.
    if settings.credential.secret != nil, greeting?.isSigned(welcome) != true {
      return fail(.noPermission("the server does not know the secret of this token: it is not the one it claims to be"))
    }
    maxFrame = Int(welcome.maxFrame)
    maxPart = min(Int(welcome.maxPart), maxFrame - WireLayout.maxFrameOverhead)
    credit = welcome.credit
    used = WireCredit(bytes: 0, records: 0)
    let idle = Int64(welcome.idleTimeoutMilliseconds) * 1_000_000
    idleNanoseconds = idle > 0 ? idle : .max
    phase = .open
    condition = .open
    wakeAt = now
    let isNewLog = wasWelcome && log != welcome.logUUID
    log = welcome.logUUID
    defer { wasWelcome = true }
    if settings.isAnonymous {
      window.renumber(from: 1, inRecords: false)
    } else if !wasWelcome {
      known = welcome.lastSequence
      window.start(at: known + 1)
    } else if startsAnew {
      startsAnew = false
      window.renumber(from: welcome.lastSequence + 1, inRecords: true)
    } else if isNewLog {
      tally.note(
        "the server has another log than before, without what it had acknowledged; what is left is numbered from "
          + "\(welcome.lastSequence + 1)")
      window.renumber(from: welcome.lastSequence + 1, inRecords: true)
    } else {
      resume(welcome.lastSequence, at: now, &tally)
    }
    if condition == .open { refuseTooLarge(&tally) }
  }

  /// S6: what was made for a server that took more, which would wait for ever.
  private mutating func refuseTooLarge(_ tally: inout SendTally) {
    for (place, bytes) in window.takeOut(over: maxPart, inRecords: !settings.isAnonymous) {
      tally.refuse(
        SendRefusal(
          place: place, code: WireNackCode.tooLarge.label,
          detail: "\(bytes) bytes with metadata; the stream takes \(maxPart) now, and this was not sent again"))
    }
  }

  private mutating func resume(_ last: UInt64, at now: Int64, _ tally: inout SendTally) {
    switch Resume(last: last, first: window.first, next: window.next) {
    case .sendAll: break
    case .forget(let last): window.answer(upTo: last, at: now, &tally)
    case .serverLost(let next):
      tally.note(
        "the server has lost records \(next) to \(window.first - 1) of \(settings.producer), which it had acknowledged; "
          + "what is left is numbered from \(next)")
      window.renumber(from: next, inRecords: true)
    case .clientLost(let next):
      guard epoch < .max else { return fail(.superseded(settings.producer, epoch: epoch)) }
      tally.note("another producer wrote under the name \(settings.producer); going on from record \(next)")
      epoch += 1
      startsAnew = true
      lose()
    }
  }

  private mutating func acknowledge(_ sequence: UInt64, at now: Int64, _ tally: inout SendTally) throws(WireFault) {
    guard sequence < window.next else { throw WireFault(.protocolViolation, "an ACK for what was not sent") }
    guard sequence >= window.first else { return }
    window.answer(upTo: sequence, at: now, &tally)
    backoff.reset()
  }

  private mutating func refuse(_ nack: WireNack, at now: Int64, _ tally: inout SendTally) throws(WireFault) {
    let code = WireNackCode(rawValue: nack.code)
    if nack.isPermanent {
      guard let place = window.place(of: nack.sequence) else { return }
      window.refuse(nack.sequence)
      tally.refuse(SendRefusal(place: place, code: code?.label ?? "code \(nack.code)", detail: nack.text))
      return
    }
    guard (window.first...window.next).contains(nack.expected) else {
      throw WireFault(.protocolViolation, "a NACK that expects what was answered or not sent")
    }
    if settings.retries {
      window.rewind(to: nack.expected)
    } else {
      tally.abandoned += UInt64(window.drop(from: nack.expected))
    }
    resumeAt = now + max(backoff.next(), Self.wait(asked: nack.retryAfterMilliseconds))
  }

  private static func wait(asked milliseconds: UInt32) -> Int64 {
    min(Int64(milliseconds) * 1_000_000, Limits.sendMostWaitNanoseconds)
  }

  private mutating func end(_ end: WireEnd) {
    let code = WireErrorCode(rawValue: end.code)
    let text = "\(code?.label ?? "error \(end.code)")\(end.text.isEmpty ? "" : ": \(end.text)")"
    switch code {
    case .fenced where !wasWelcome && end.value > UInt64(epoch):
      guard let highest = UInt16(exactly: end.value) else { return fail(.protocolError("an epoch of \(end.value)")) }
      // Whoever starts a run under a name means to be that producer.
      epoch = highest
      lose()
    case .fenced, .superseded: fail(.superseded(settings.producer, epoch: UInt16(clamping: end.value)))
    case .authRequired, .authFailed, .authInsecure, .integrityRequired, .forbidden:
      fail(.noPermission("the server refuses: \(text)"))
    case .some(let code) where code.mayTryAgain: lose(after: Self.wait(asked: end.retryAfterMilliseconds))
    default: fail(.protocolError("the server refuses: \(text)"))
    }
  }
}
