/// Drives an `AsyncSubscriber`: the daemon's calls come in on its thread, and wait there for tasks on another.
final class AsyncDriver<Kind: AsyncSubscriber>: Subscriber {
  static var kind: String { Kind.kind }
  static var summary: String { Kind.summary }
  static var delivery: DeliveryDefaults { Kind.delivery }
  static var traits: SubscriberTraits { Kind.traits }
  static var outputs: [String] { Kind.outputs }
  static func validate(_ configuration: Kind.Configuration) throws -> [Finding] { try Kind.validate(configuration) }

  private struct Work {
    /// Batches under way, with their tasks once those are known.
    var batches: [UInt64: Task<Void, Never>?] = [:]
    var begun: UInt64 = 0
    /// A call other than `deliver` is under way.
    var isCalling = false
    var isInterrupted = false
    /// What a batch ended with that the daemon must know, until it was told.
    var failure: SubscriberError?
  }

  private enum Outcome { case ready, interrupted, late }

  private let subscriber: Kind
  private let host: Host
  private let executor: InstanceExecutor
  private let work = Monitor(Work())

  init(_ configuration: Kind.Configuration, host: Host) throws {
    subscriber = try Kind(configuration, host: host)
    self.host = host
    executor = InstanceExecutor(name: host.instance)
  }

  // MARK: The daemon's calls

  func start(deadline: Deadline) throws {
    enter()
    try executor.begin()
    try call("start", until: limit(deadline)) { subscriber in try await subscriber.start() }
  }

  func deliver(_ batch: borrowing Batch) throws -> Delivery {
    enter()
    let hasRoom = wait { $0.batches.count < max(1, Kind.batchesInFlight) || $0.failure != nil }
    try throwFailure()
    guard hasRoom == .ready else { return .busy }
    begin(OwnedBatch(batch, host: host))
    return .accepted
  }

  func gap(_ gap: Gap) throws {
    enter()
    try call("gap") { subscriber in try await subscriber.gap(gap) }
  }

  func flush(deadline: Deadline) throws {
    enter()
    let outcome = wait(until: limit(deadline)) { $0.batches.isEmpty }
    try throwFailure()
    let left = work.update { $0.batches.count }
    guard outcome == .ready else {
      throw SubscriberError(.timeout, "\(left) batches are still under way")
    }
  }

  func stop() throws {
    enter()
    // Where no thread could be had, nothing of it ever ran, and nothing would.
    guard executor.hasThread else { return }
    cancelBatches()
    while wait(for: { $0.batches.isEmpty }) != .ready {}
    defer { executor.end() }
    try call("stop") { subscriber in try await subscriber.stop() }
  }

  func interrupt() { work.update { $0.isInterrupted = true } }

  func reconfigure(_ configuration: Kind.Configuration) throws -> Bool {
    enter()
    return try call("reconfigure") { subscriber in try await subscriber.reconfigure(configuration) }
  }

  // MARK: Tasks

  private func begin(_ batch: OwnedBatch) {
    let id = work.update { work in
      work.begun += 1
      work.batches[work.begun] = .some(nil)
      return work.begun
    }
    let task = Task(executorPreference: executor) { [subscriber, work] in
      let (verdict, failure) = await AsyncDriver.end(of: batch, subscriber)
      batch.finish(verdict)
      work.update { work in
        work.batches[id] = nil
        work.failure = work.failure ?? failure
      }
    }
    work.update { work in
      if work.batches.keys.contains(id) { work.batches[id] = task }
    }
  }

  /// The verdict on what is open of the batch, and what the daemon must know besides.
  private static func end(of batch: OwnedBatch, _ subscriber: Kind) async -> (Verdict, SubscriberError?) {
    do {
      try await subscriber.deliver(batch)
      return (.ack, nil)
    } catch is CancellationError {
      return (.retry(reason: "cancelled"), nil)
    } catch {
      if let verdict = Verdict(error) { return (verdict, nil) }
      return (.retry(reason: "\(error)"), error as? SubscriberError)
    }
  }

  private func throwFailure() throws {
    let failure = work.update { work in
      defer { work.failure = nil }
      return work.failure
    }
    if let failure { throw failure }
  }

  private func cancelBatches() {
    // Outside of the lock: what is cancelled may run at once.
    for task in work.update({ $0.batches.values.compactMap { $0 } }) { task.cancel() }
  }

  /// Has the subscriber called and waits for it. Interrupted or late, the call is cancelled, and waited for all the same.
  private func call<Value: Sendable>(
    _ name: String, until deadline: Int64 = Int64.max, _ body: @escaping @Sendable (Kind) async throws -> Value
  ) throws -> Value {
    let result = Monitor<Result<Value, any Error>?>(nil)
    work.update { $0.isCalling = true }
    let task = Task(executorPreference: executor) { [subscriber, work] in
      let value: Result<Value, any Error>
      do { value = .success(try await body(subscriber)) } catch { value = .failure(error) }
      result.update { $0 = value }
      work.update { $0.isCalling = false }
    }
    let outcome = wait(until: deadline) { !$0.isCalling }
    if outcome != .ready {
      task.cancel()
      while wait(for: { !$0.isCalling }) != .ready {}
    }
    switch result.update({ $0 }) {
    case .success(let value): return value
    case .failure(let error) where outcome == .ready && !(error is CancellationError): throw error
    case .failure, nil:
      throw SubscriberError(.timeout, "\(name) was cancelled: \(outcome == .late ? "its time is over" : "interrupted")")
    }
  }

  // MARK: Waiting

  /// Begins one of the daemon's calls. What interrupted the one before is over.
  private func enter() { work.update { $0.isInterrupted = false } }

  private func limit(_ deadline: Deadline) -> Int64 {
    let left = deadline.remaining(host)
    return left == Int64.max ? left : Interruption.now + left
  }

  /// Waits for the tasks to come so far. An interrupt since `enter` ends one wait and cancels the batches.
  private func wait(until deadline: Int64 = Int64.max, for condition: (Work) -> Bool) -> Outcome {
    let outcome = work.wait(until: deadline) { work -> Outcome? in
      if condition(work) { return .ready }
      guard work.isInterrupted else { return nil }
      work.isInterrupted = false
      return .interrupted
    }
    if outcome == .interrupted { cancelBatches() }
    return outcome ?? .late
  }
}
