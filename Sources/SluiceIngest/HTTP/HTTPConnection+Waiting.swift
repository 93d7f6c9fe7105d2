import NIOCore
import SluiceCore

extension HTTPConnection {
  /// The handshake of its TLS goes on.
  var awaitsTLS: Bool { loop.settings.options.tls != nil && !security.isEncrypted }

  /// Whoever waits for a drain waits no longer than for anything else that is the peer's to do.
  var lingerSeconds: Int {
    let said = loop.settings.options.lingerSeconds
    return loop.isDraining ? min(said, Limits.drainGraceSeconds) : said
  }

  /// Once a second: whether the connection was closed for being too slow.
  func sweep(_ now: Int) -> Bool {
    if loop.isDraining, endsWaiting(now) { return true }
    let options = loop.settings.options
    let age = now - since - 1
    switch life {
    case .open where waiting > 0 || isBlocked || isYielding:
      return false
    case .open where unwantedBytes > 0:
      guard age >= options.bodySeconds else { return false }
      // Its request is answered already.
      cut()
    case .open where isMidRequest:
      guard isLate(now) else { return false }
      // Whoever waits for a drain does not wait for this one to read its answer.
      refuse(.requestTimeout, code: "timeout", detail: "the request took too long to arrive", lingers: !loop.isDraining)
    case .open, .closing:
      guard age >= options.idleSeconds, waiting == 0 else { return false }
      cut()
    case .lingering:
      if age >= lingerSeconds { cut() }
      return false
    case .closed:
      return false
    }
    return true
  }

  /// Whether the request that has begun and not ended takes too long, at this sweep.
  func isLate(_ now: Int) -> Bool {
    let options = loop.settings.options
    return now - since - 1 >= (isInBody ? options.bodySeconds : options.headerSeconds)
  }

  /// Draining, at a sweep: whether the connection was closed because all that is left is the peer's to do, and it does not.
  func endsWaiting(_ now: Int) -> Bool {
    guard let context, life == .open || life == .closing else { return false }
    guard waiting == 0, !isBlocked, !isYielding else {
      patience = DrainPatience()
      return false
    }
    let unsent = context.unsentBytes
    guard patience.isOver(at: now, unsent: unsent, held: rest.readableBytes) else { return false }
    if life == .open, parser.isMidRequest, unsent == 0 {
      // Whoever waits for a drain does not wait for this one to read its answer.
      refuse(
        .requestTimeout, code: "timeout", detail: "the daemon is going down, and the request did not come to its end",
        lingers: false)
    } else {
      cut()
    }
    return true
  }
}

/// Requests that wait for room in the stream, or for their turn.
extension HTTPConnection {
  func block() {
    isBlocked = true
    wantedRoom = loop.wantedRoom
    guard place < 0 else { return }
    loop.counters.requestBlocked()
    loop.waitingRoom.enter(self, for: loop.settings.options.blockNanoseconds ?? 0)
  }

  func tryAgain() {
    guard givesUp || loop.mayHaveRoom(for: wantedRoom) else { return }
    isBlocked = false
    resume()
  }

  func giveUp() {
    givesUp = true
    tryAgain()
  }

  func yield() {
    guard !isYielding else { return }
    isYielding = true
    loop.turns.enter(self)
  }

  /// It is the connection's turn.
  func goOn() {
    isYielding = false
    resume()
  }
}
