// The tables of docs/wire-protocol.md that a server follows, as pure functions and values.
//
// A connection (columns: what the client sends; — is ERROR `protocol` and close):
//
//   state      HELLO      PROOF  DATA           OPEN           CLOSE   PING  PONG     BYE         ERROR
//   start      handshake  —      —              —              —       —     —        disconnect  disconnect
//   challenged —          prove  —              —              —       —     —        disconnect  disconnect
//   open       —          —      take           open           close   pong  nothing  finish      end
//   draining   —          —      refuse         refuse         close   pong  nothing  finish      end
//   finishing  —          —      —              —              —       pong  nothing  —           end
//
// Between HELLO or PROOF and WELCOME, and between OPEN and OPENED, nothing more is parsed, so that there is no state for it.
// What only a server sends is always a violation.
//
// A channel (`SequenceGate`): rows R1 to R7.

import SluiceCore

/// What the server is willing to hear.
enum TCPState: CaseIterable {
  case start
  /// CHALLENGE is sent.
  case challenged
  case open
  /// GOAWAY is sent.
  case draining
  /// The client's BYE has come.
  case finishing

  /// WELCOME is not sent yet.
  var isHandshake: Bool { self == .start || self == .challenged }
}

enum TCPAction: Equatable {
  case handshake, prove, take, refuseRecords, openChannel, refuseChannel, closeChannel, pong, nothing, finish
  /// The client says what went wrong on its side.
  case heedError
  case disconnect
  case violation

  /// What is to be done with a frame that came whole.
  init(on type: WireFrameType, in state: TCPState) {
    self =
      switch (state, type) {
      case (.start, .hello): .handshake
      case (.challenged, .proof): .prove
      case (.start, .bye), (.start, .error), (.challenged, .bye), (.challenged, .error): .disconnect
      case (.start, _), (.challenged, _): .violation
      case (_, .error): .heedError
      case (_, .ping): .pong
      case (_, .pong): .nothing
      case (.open, .data): .take
      case (.draining, .data): .refuseRecords
      case (.open, .open): .openChannel
      case (.draining, .open): .refuseChannel
      case (.open, .close), (.draining, .close): .closeChannel
      case (.open, .bye), (.draining, .bye): .finish
      case (_, _): .violation
      }
  }
}

/// The number that a channel waits for.
struct SequenceGate: Equatable {
  private(set) var next: UInt64 = 1
  private(set) var isDiscarding = false

  enum Judgement: Equatable {
    /// R1: it was taken before.
    case duplicate
    /// R2 to R5: it is its turn; `took`, `refused` or `consumed` says what became of it.
    case due
    /// R6: records before it are missing; from here on all are discarded until they come.
    case gap
    /// R7.
    case discarded
  }

  /// Goes on behind what the stream has.
  init(after last: UInt64 = 0) { next = last + 1 }

  @inline(__always)
  mutating func judge(_ sequence: UInt64) -> Judgement {
    if sequence == next { return .due }
    if sequence < next { return .duplicate }
    if isDiscarding { return .discarded }
    isDiscarding = true
    return .gap
  }

  /// R2.
  @inline(__always)
  mutating func took() {
    next += 1
    isDiscarding = false
  }

  /// R3, R4: it may come again.
  mutating func refused() { isDiscarding = true }

  /// R5: it will never be taken, and what follows it may come now.
  mutating func consumed() {
    next += 1
    isDiscarding = false
  }
}

/// What a server offers in its handshakes.
struct TCPTerms {
  var stream: String
  var demand = AuthenticationDemand.none
  /// Whether anybody has an identity here.
  var knowsIdentities = false

  /// Why a HELLO can't be served, whoever it is from; nil if it can. `isPrivate`: nobody but the client can have sent it, or
  /// have read it on its way.
  func objection(to hello: WireHello, isPrivate: Bool) -> WireEnd? {
    guard hello.versionMin <= WireLayout.version, hello.versionMax >= WireLayout.version else {
      return WireEnd(.version, value: UInt64(WireLayout.version), text: "this server speaks version 1")
    }
    guard hello.featuresRequired == 0 else {
      return WireEnd(.feature, value: UInt64(hello.featuresRequired), text: "unknown features")
    }
    guard let authentication = WireAuthentication(rawValue: hello.authentication),
      let integrity = WireIntegrity(rawValue: hello.integrity), hello.maxFrame >= Limits.minWireClientFrameBytes
    else { return WireEnd(.protocolViolation, text: "auth, integrity or max_frame is out of range") }
    return objection(to: authentication, hello, isPrivate) ?? objection(to: integrity, authentication, isPrivate)
      ?? TCPTerms.objection(toProducer: hello.producer, epoch: hello.epoch)
  }

  private func objection(to authentication: WireAuthentication, _ hello: WireHello, _ isPrivate: Bool) -> WireEnd? {
    guard authentication != .none else {
      guard hello.identity.isEmpty, hello.credential.isEmpty else {
        return WireEnd(.protocolViolation, text: "an identity or a credential with auth 0")
      }
      return demand == .required ? WireEnd(.authRequired, text: "this source wants to know who sends") : nil
    }
    guard knowsIdentities else { return WireEnd(.authFailed, text: "this source knows no identities") }
    if authentication == .bearer {
      guard isPrivate else {
        return WireEnd(.authInsecure, text: "a token in the clear, which others may have read: rotate it, use auth 2")
      }
      return nil
    }
    guard !hello.identity.isEmpty, hello.credential.isEmpty else {
      return WireEnd(.protocolViolation, text: "auth 2 names its identity and sends no credential")
    }
    return nil
  }

  /// A session key comes from challenge–response only, and over a network without TLS nothing else keeps others from speaking
  /// in the name of whoever was let in.
  private func objection(
    to integrity: WireIntegrity, _ authentication: WireAuthentication, _ isPrivate: Bool
  ) -> WireEnd? {
    var allowed: [WireIntegrity] = [.crc32c, .sha256]
    if authentication == .challenge { allowed = isPrivate ? WireIntegrity.allCases : [.hmacSHA256] }
    guard !allowed.contains(integrity) else { return nil }
    let bits = allowed.reduce(UInt64(0)) { $0 | 1 << UInt64($1.rawValue) }
    return WireEnd(.integrityRequired, value: bits, text: "another integrity is asked for")
  }

  /// Anonymous producers have no epoch, all others have one.
  static func objection(toProducer name: String, epoch: UInt16) -> WireEnd? {
    name.isEmpty == (epoch == 0) ? nil : WireEnd(.protocolViolation, text: "a producer has an epoch from 1 on")
  }
}
