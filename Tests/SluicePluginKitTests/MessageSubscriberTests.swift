import CSluice
import PluginTestSupport
import SluicePluginKit
import Testing

/// Throws what a message's payload says.
private final class Obedient: MessageSubscriber {
  static let kind = "obedient"
  static let summary = "Throws what it is told to."
  struct Odd: Error {}

  init(_: NoConfiguration, host: Host) throws {}

  func handle(_ message: borrowing Message) throws {
    switch message.payload.first {
    case UInt8(ascii: "r"): throw Verdict.retry(after: .microseconds(1500), reason: "later")
    case UInt8(ascii: "d"): throw Verdict.reject(code: 7, reason: "never")
    case UInt8(ascii: "D"): throw Verdict.reject(code: 8, reason: "never")
    case UInt8(ascii: "a"): throw Verdict.ack
    case UInt8(ascii: "o"): throw Odd()
    case UInt8(ascii: "w"): throw SubscriberError(.retryable, "the world")
    case UInt8(ascii: "f"): throw SubscriberError(.fatal, "it is over")
    case UInt8(ascii: "t"): throw SubscriberError(.timeout, "interrupted")
    default: return
    }
  }
}

/// Throws verdicts and nothing else.
private final class Typed: MessageSubscriber {
  static let kind = "typed"
  static let summary = "Refuses what is empty."

  init(_: NoConfiguration, host: Host) throws {}

  func handle(_ message: borrowing Message) throws(Verdict) {
    guard !message.payload.isEmpty else { throw .reject(reason: "is empty") }
  }
}

/// Never throws.
private final class Content: MessageSubscriber {
  static let kind = "content"
  static let summary = "Takes everything."
  init(_: NoConfiguration, host: Host) throws {}
  func handle(_ message: borrowing Message) {}
}

private let module = SubscriberModule(name: "messages", version: "1", [Obedient.self, Typed.self, Content.self])

@Suite struct MessageSubscriberTests {
  /// Runs of verdicts as `offset+count verdict reason`, after one batch of these payloads.
  private func deliver(_ payloads: [String], kind: Int = 0) throws -> (code: slu_rc, error: String, runs: [String]) {
    let host = FakeHost()
    let instance = DrivenInstance(try #require(module.table.pointee.subscribers[kind]), host: host)
    #expect(instance.create("{}") == SLU_OK && instance.start() == SLU_OK)
    let code = instance.deliver(FakeBatch(payloads))
    let error = instance.error
    #expect(instance.stop() == SLU_OK)
    instance.destroy()
    let names = [SLU_ACK: "ack", SLU_RETRY: "retry", SLU_REJECT: "reject"]
    let runs = host.record.settled.map { run in
      let detail = run.verdict == SLU_REJECT ? "\(run.code) " : run.delay > 0 ? "\(run.delay)ms " : ""
      return "\(run.first - FakeBatch.firstToken)+\(run.count) \(names[run.verdict] ?? "?") \(detail)\(run.reason)"
    }
    return (code, error, runs)
  }

  @Test(
    "What is thrown becomes the verdict of the messages it was thrown for, told in runs",
    arguments: [
      ("x x x", []),
      ("r r r", ["0+3 retry 2ms later"]),
      ("x x d d D x r", ["0+2 ack ", "2+2 reject 7 never", "4+1 reject 8 never", "5+1 ack ", "6+1 retry 2ms later"]),
      ("d a x", ["0+1 reject 7 never"]),
      ("o o w x", ["0+2 retry Odd()", "2+1 retry the world"]),
    ])
  func runsOfVerdicts(payloads: String, runs: [String]) throws {
    let result = try deliver(payloads.split(separator: " ").map(String.init))
    #expect(result.code == SLU_OK && result.runs == runs)
  }

  @Test(
    "An error about the instance ends the batch, and what was handled before keeps its verdict",
    arguments: [
      ("x x f x", SLU_E_FATAL, "it is over", ["0+2 ack "]),
      ("f", SLU_E_FATAL, "it is over", []),
      ("x d t r", SLU_E_TIMEOUT, "interrupted", ["0+1 ack ", "1+1 reject 7 never"]),
    ])
  func errorsOfTheInstance(payloads: String, code: slu_rc, error: String, runs: [String]) throws {
    let result = try deliver(payloads.split(separator: " ").map(String.init))
    #expect(result.code == code && result.error == error && result.runs == runs)
  }

  @Test("Errors of one type are verdicts as well, and a subscriber that throws none acknowledges everything")
  func typedErrors() throws {
    #expect(try deliver(["a", "", "b"], kind: 1).runs == ["0+1 ack ", "1+1 reject 0 is empty"])
    #expect(try deliver(["a", "", "b"], kind: 2).runs == [])
  }
}
