import Glibc
import Logging
import SluiceCore
import SluiceTopology
import Synchronization

/// The daemon's end of the control socket: one thread that accepts, and one for each connection, which may wait for a
/// disk, a reload, or the next record of a tap.
final class ControlServer: Sendable {
  private let listener: Int32
  private let path: String
  private let logger: Logger
  private let serve: @Sendable (ControlRequest, ControlReply) throws(ControlError) -> Void
  private let state = Mutex(State())
  /// Rings for who stops, when a connection has ended.
  private let ended = Doorbell()

  private struct State {
    var connections: Set<Int32> = []
    /// Requests that are being answered and that may wait: all but `status`.
    var commands = 0
    var isStopping = false
  }

  /// `serve` is called on the connection's thread.
  init(
    in directory: String, logger: Logger,
    serve: @escaping @Sendable (ControlRequest, ControlReply) throws(ControlError) -> Void
  ) throws(ControlFault) {
    listener = try ControlSocket.listen(in: directory)
    path = "\(directory)/\(ControlSocket.name)"
    self.logger = logger
    self.serve = serve
  }

  func start() {
    _ = OSThread(name: "control") { [self] in
      let pause = Doorbell()
      while true {
        let descriptor = LinuxCalls.accept(listener)
        if descriptor >= 0 {
          admit(descriptor)
        } else if state.withLock({ $0.isStopping }) {
          break
        } else if errno != EINTR && errno != ECONNABORTED {
          // No descriptors are left; connections that end give some back.
          pause.wait(until: Clock.monotonic() + Limits.fullRetryNanoseconds)
        }
      }
      close(listener)
    }
  }

  /// Answers no more requests; cuts those that are not answered in time.
  func stop() {
    unlink(path)
    state.withLock { state in
      state.isStopping = true
      shutdown(listener, Int32(SHUT_RDWR))
    }
    let deadline = Clock.monotonic() + Limits.controlStopNanoseconds
    // Readers of requests and taps see the end of their peer; what is being answered may go on until the deadline.
    state.withLock { for descriptor in $0.connections { shutdown(descriptor, Int32(SHUT_RD)) } }
    while state.withLock({ !$0.connections.isEmpty }), ended.wait(until: deadline) {}
    state.withLock { for descriptor in $0.connections { shutdown(descriptor, Int32(SHUT_RDWR)) } }
  }

  private func admit(_ descriptor: Int32) {
    ControlSocket.setTimeout(SO_RCVTIMEO, Limits.controlRequestSeconds, of: descriptor)
    ControlSocket.setTimeout(SO_SNDTIMEO, Limits.controlSendSeconds, of: descriptor)
    let refusal = state.withLock { state -> ControlError? in
      if state.isStopping { return ControlError(.stopping, "the daemon is stopping") }
      guard state.connections.count < Limits.maxControlConnections else {
        return Self.busy(state.connections.count)
      }
      state.connections.insert(descriptor)
      return nil
    }
    if let refusal {
      ControlReply(descriptor).end(refusal)
      close(descriptor)
      return
    }
    do throws(OSThread.Failure) {
      _ = try OSThread(starting: "command", stackBytes: 8 << 20) { [self] in
        answer(descriptor)
        end(descriptor)
      }
    } catch {
      ControlReply(descriptor).end(ControlError(.busy, "\(error); try again"))
      end(descriptor)
    }
  }

  private func end(_ descriptor: Int32) {
    state.withLock { state in
      state.connections.remove(descriptor)
      // Under the lock, so that nobody shuts down what has the number next.
      close(descriptor)
    }
    ended.ring()
  }

  private func answer(_ descriptor: Int32) {
    let reply = ControlReply(descriptor)
    do throws(ControlError) {
      guard let peer = ControlSocket.peer(of: descriptor), peer.uid == 0 || peer.uid == geteuid() else {
        logger.warning("a command of another user was refused")
        throw ControlError(.forbidden, "only root and the daemon's user may command it")
      }
      var lines = LineReader(descriptor, limit: Limits.maxControlRequestBytes)
      guard let line = lines.next() else { throw ControlError(.badRequest, "no request came, or one that is too long") }
      let request = try ControlRequest(parsing: line)
      if request != .status { try beginCommand() }
      defer { if request != .status { state.withLock { $0.commands -= 1 } } }
      try serve(request, reply)
      reply.end(nil)
    } catch {
      reply.end(error)
    }
  }
}

extension ControlServer {
  private func beginCommand() throws(ControlError) {
    let refusal = state.withLock { state -> ControlError? in
      guard state.commands < Limits.maxControlCommands else { return Self.busy(state.commands) }
      state.commands += 1
      return nil
    }
    if let refusal { throw refusal }
  }

  private static func busy(_ count: Int) -> ControlError {
    ControlError(.busy, "\(count) commands are being answered; try again")
  }
}

/// The answer to one request. Used by the connection's thread.
struct ControlReply {
  private let descriptor: Int32

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  /// Sends one line. False when nobody takes it any more: the answer may end then.
  @discardableResult
  func item(_ value: JSONValue) -> Bool { line(["item": value]) }

  func end(_ error: ControlError?) {
    _ =
      error.map {
        line(["end": "error", "code": .string($0.code.rawValue), "message": .string($0.message)])
      } ?? line(["end": "ok"])
  }

  /// Whether the peer has hung up: for answers that wait.
  var isCut: Bool {
    var byte: UInt8 = 0
    let count = recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
    return count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)
  }

  private func line(_ value: JSONValue) -> Bool {
    ControlSocket.send(Array((value.canonicalText + "\n").utf8), to: descriptor)
  }
}

extension JSONValue: ExpressibleByStringLiteral {
  package init(stringLiteral text: String) { self = .string(text) }
}
