import CSluice
import Foundation
import Glibc
import PluginTestSupport
import SluicePluginKit
import Synchronization
import Testing

/// What an instance of a test did, and what it still waits for.
final class Stage: Sendable {
  private struct State {
    var events: [String] = []
    var held: [AsyncStream<Void>.Continuation] = []
  }

  private static let stages = Mutex<[Stage]>([])
  private let state = Mutex(State())
  let number: Int

  private init(_ number: Int) { self.number = number }

  /// A stage that an instance finds by its number.
  static func open() -> Stage {
    stages.withLock { stages in
      stages.append(Stage(stages.count))
      return stages[stages.count - 1]
    }
  }

  static func numbered(_ number: Int) -> Stage { stages.withLock { $0[number] } }

  var events: [String] { state.withLock { $0.events } }
  func note(_ event: String) { state.withLock { $0.events.append(event) } }

  /// Waits until `release` or until it is cancelled.
  func hold(_ name: String) async throws {
    let (stream, continuation) = AsyncStream<Void>.makeStream()
    state.withLock { state in
      state.held.append(continuation)
      state.events.append("hold \(name)")
    }
    for await _ in stream {}
    if Task.isCancelled { note("cancel \(name)") }
    try Task.checkCancellation()
  }

  /// Lets everything that is held go on.
  func release() {
    let held = state.withLock { state in
      defer { state.held = [] }
      return state.held
    }
    for continuation in held { continuation.finish() }
  }

  /// Whether the event came within two minutes.
  func happened(_ event: String) -> Bool { eventually { self.events.contains(event) } }
}

/// Asks again and again until it is so; false after two minutes.
func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
  let deadline = Interruption.now + 120_000_000_000
  while Interruption.now < deadline {
    if try condition() { return true }
    _ = poll(nil, 0, 1)
  }
  return try condition()
}

/// Name of the thread that this runs on.
func threadName() -> String {
  (text(of: "/proc/thread-self/comm") ?? "").trimmingCharacters(in: .newlines)
}

/// Names of the threads of this process.
func threadNames() -> [String] {
  let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
  return tasks.compactMap { text(of: "/proc/self/task/\($0)/comm")?.trimmingCharacters(in: .newlines) }
}

struct StageConfiguration: SubscriberConfiguration {
  var stage: Int
  /// What `start` does: nothing, hold or fail.
  var start: String?
}

/// Does with each batch what its first message's payload says.
actor Played: AsyncSubscriber {
  static let kind = "played"
  static let summary = "Does what payloads say."
  static let batchesInFlight = 2

  private let stage: Stage
  private let startsBy: String
  private var hasFailed = false

  init(_ configuration: StageConfiguration, host: SluicePluginKit.Host) throws {
    stage = Stage.numbered(configuration.stage)
    startsBy = configuration.start ?? ""
  }

  func start() async throws {
    stage.note("start on \(threadName())")
    if startsBy == "fail", !hasFailed {
      hasFailed = true
      throw SubscriberError(.retryable, "not yet")
    }
    if startsBy == "hold" { try await stage.hold("start") }
  }

  func deliver(_ batch: OwnedBatch) async throws {
    let order = batch.withMessage(at: 0) { String(decoding: $0.payload, as: UTF8.self) }
    switch order {
    case "hold", "look":
      try await stage.hold(order)
      if order == "look" { look(batch) }
    case "partly":
      batch.settle(1..<2, .reject(code: 3, reason: "bad"))
      batch.settle(0..<3, .ack)
    case "overlap": stage.note(overlap(batch).map { "\($0)" }.joined(separator: " "))
    case "verdict": throw Verdict.reject(code: 9, reason: "all of it")
    case "error": throw CocoaError(.coderInvalidValue)
    case "fatal": throw SubscriberError(.fatal, "it is over")
    case "where":
      stage.note("deliver on \(threadName())")
      await Task.yield()
      stage.note("then on \(threadName())")
      await elsewhere()
    default: stage.note(order)
    }
  }

  private nonisolated func elsewhere() async { stage.note("nonisolated on \(threadName())") }

  /// Rejects ranges that overlap, each with a code of its own.
  /// - Returns: of each message the code that came first; 0: none did.
  private func overlap(_ batch: OwnedBatch) -> [UInt32] {
    var codes = [UInt32](repeating: 0, count: batch.count)
    for code in 1...UInt32(8) {
      let start = Int.random(in: 0..<batch.count)
      let range = start..<Int.random(in: start...batch.count)
      batch.settle(range, .reject(code: code, reason: ""))
      for index in range where codes[index] == 0 { codes[index] = code }
    }
    return codes
  }

  private func look(_ batch: OwnedBatch) {
    batch.forEach { message in
      var headers = ""
      message.forEachHeader { name, value in
        headers += String(decoding: name, as: UTF8.self) + "=" + String(decoding: value, as: UTF8.self)
      }
      let parts = [message.topic, message.key, message.source, message.payload, message.covered].map {
        String(decoding: $0, as: UTF8.self)
      }
      stage.note("\(message.lsn) \(parts.joined(separator: "|"))|\(headers)")
    }
    stage.note("\(batch.stream) \(batch.logUUID) \(batch.lsns) copied \(batch.isCopied)")
  }

  func gap(_ gap: Gap) async throws { stage.note("gap \(gap.lsns)") }
  func stop() async throws { stage.note("stop on \(threadName())") }
  func reconfigure(_ configuration: StageConfiguration) async throws -> Bool {
    stage.note("reconfigure")
    return configuration.start == "reconfigure"
  }
}

private let module = SubscriberModule(name: "async", version: "1", [Played.self])

/// One instance of `Played`, and what the host saw of it.
final class Play {
  let stage = Stage.open()
  let host: FakeHost
  let instance: DrivenInstance
  private var batches: [FakeBatch] = []

  init(retainAnswer: slu_rc = SLU_OK) throws {
    host = FakeHost(instance: "p\(stage.number)", retainAnswer: retainAnswer)
    instance = DrivenInstance(try #require(module.table.pointee.subscribers[0]), host: host)
  }

  var thread: String { "async p\(stage.number)" }

  func create(_ members: String = "") -> slu_rc { instance.create(#"{"stage":\#(stage.number)\#(members)}"#) }
  func begin() { #expect(create() == SLU_OK && instance.start() == SLU_OK) }
  func end() {
    #expect(instance.stop() == SLU_OK)
    instance.destroy()
  }

  /// The batch stays where it is, as under a lease.
  func deliver(_ payloads: [String]) -> slu_rc {
    batches.append(FakeBatch(payloads))
    return instance.deliver(batches[batches.count - 1])
  }

  /// Runs of verdicts, as soon as there are so many.
  func settled(_ count: Int) -> [FakeHost.Settled] {
    #expect(eventually { host.record.settled.count >= count })
    return host.record.settled
  }

  /// On a thread of its own, as the daemon's; the answer, once there is one. `poke` is called until then.
  func aside(
    poke: @escaping () -> Void = {}, _ body: @escaping (DrivenInstance) -> slu_rc
  ) -> () -> slu_rc? {
    let answer = Mutexed<slu_rc?>(nil)
    // Nobody else calls the instance until the answer is there.
    nonisolated(unsafe) let (instance, body) = (instance, body)
    Thread.detachNewThread { answer.value.withLock { $0 = body(instance) } }
    return {
      let isAnswered = eventually {
        poke()
        return answer.value.withLock { $0 } != nil
      }
      return isAnswered ? answer.value.withLock { $0 } : nil
    }
  }
}

final class Mutexed<Value: Sendable>: Sendable {
  let value: Mutex<Value>
  init(_ value: Value) { self.value = Mutex(value) }
}
