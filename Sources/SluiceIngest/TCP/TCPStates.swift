// The tables of docs/wire-protocol.md that a server follows, as pure functions and values.
//
// A connection (columns: what the client sends; — is ERROR `protocol` and close):
//
//   state      HELLO      PROOF  DATA           OPEN           CLOSE   PING  PONG     BYE         ERROR
//   start      handshake  —      —              —              —       —     —        disconnect  disconnect
//   open       —          —      take           open           close   pong  nothing  finish      end
//   draining   —          —      refuse         refuse         close   pong  nothing  finish      end
//   finishing  —          —      —              —              —       pong  nothing  —           end
//
// Between HELLO and WELCOME, and between OPEN and OPENED, nothing more is parsed, so that there is no state for it. CHALLENGED
// comes with authentication. What only a server sends is always a violation.
//
// A channel (`SequenceGate`): rows R1 to R7.

import SluiceCore

/// What the server is willing to hear.
enum TCPState: CaseIterable {
  case start, open
  /// GOAWAY is sent.
  case draining
  /// The client's BYE has come.
  case finishing
}

enum TCPAction: Equatable {
  case handshake, take, refuseRecords, openChannel, refuseChannel, closeChannel, pong, nothing, finish
  /// The client says what went wrong on its side.
  case heedError
  case disconnect
  case violation

  /// What is to be done with a frame that came whole.
  init(on type: WireFrameType, in state: TCPState) {
    self =
      switch (state, type) {
      case (.start, .hello): .handshake
      case (.start, .bye), (.start, .error): .disconnect
      case (.start, _): .violation
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

  /// Why a HELLO can't be served; nil if it can.
  func objection(to hello: WireHello) -> WireEnd? {
    guard hello.versionMin <= WireLayout.version, hello.versionMax >= WireLayout.version else {
      return WireEnd(.version, value: UInt64(WireLayout.version), text: "this server speaks version 1")
    }
    guard hello.featuresRequired == 0 else {
      return WireEnd(.feature, value: UInt64(hello.featuresRequired), text: "unknown features")
    }
    guard let authentication = WireAuthentication(rawValue: hello.authentication),
      let integrity = WireIntegrity(rawValue: hello.integrity), hello.maxFrame >= Limits.minWireClientFrameBytes
    else { return WireEnd(.protocolViolation, text: "auth, integrity or max_frame is out of range") }
    guard authentication == .none else {
      // Nobody has an identity here: no secret and no token is right.
      return WireEnd(.authFailed, text: "this server knows no identities")
    }
    guard integrity == .crc32c else {
      return WireEnd(.integrityRequired, value: 1 << UInt64(WireIntegrity.crc32c.rawValue), text: "crc32c is served")
    }
    guard hello.identity.isEmpty, hello.credential.isEmpty else {
      return WireEnd(.protocolViolation, text: "an identity or a credential with auth 0")
    }
    guard hello.stream.isEmpty || hello.stream == stream else {
      return WireEnd(.streamUnknown, text: "this source feeds the stream \(stream)")
    }
    return TCPTerms.objection(toProducer: hello.producer, epoch: hello.epoch)
  }

  /// Anonymous producers have no epoch, all others have one.
  static func objection(toProducer name: String, epoch: UInt16) -> WireEnd? {
    name.isEmpty == (epoch == 0) ? nil : WireEnd(.protocolViolation, text: "a producer has an epoch from 1 on")
  }
}
