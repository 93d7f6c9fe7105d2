/// What a client that is connected again finds: the resume table of `docs/wire-protocol.md`. Of S6, which comes besides, is
/// `WireWindow.takeOut`.
enum Resume: Equatable {
  /// S1: nothing of what it holds has arrived, and all is to be sent.
  case sendAll
  /// S2 and S3: everything up to here is answered. What of it was refused for good, and whose NACK the connection took with
  /// it, nobody says any more.
  case forget(upTo: UInt64)
  /// S4: the server lost what it had acknowledged. What is held is numbered from here on and sent.
  case serverLost(next: UInt64)
  /// S5: the client lost its numbers. It raises its epoch and goes on from here.
  case clientLost(next: UInt64)

  /// `last`: what the server has. `first ..< next`: what the client holds without an answer; it may be empty.
  init(last: UInt64, first: UInt64, next: UInt64) {
    precondition(first >= 1 && first <= next)
    switch last {
    case first - 1: self = .sendAll
    case first..<next: self = .forget(upTo: last)
    case ..<first: self = .serverLost(next: last + 1)
    default: self = .clientLost(next: last == .max ? last : last + 1)
    }
  }
}
