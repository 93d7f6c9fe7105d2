import CSluice
import Logging
import SluiceCore
import Synchronization

/// Another config for an instance that runs, on its way to the instance's thread and back.
///
///     state       answer                              the waiting is over
///     waited for  answered; the caller is woken       abandoned
///     answered    –                                   –
///     abandoned   refused: nobody knows that it took  –
///                 effect, so it must not last
final class Reconfiguration: Sendable {
  /// What came of it.
  enum Outcome: Equatable, Sendable {
    /// The instance goes on with the new config.
    case applied
    /// This change takes another instance.
    case needsNew
    /// The config does not work; the instance goes on as before.
    case failed(String)
  }

  private enum State {
    case waitedFor
    case answered(Outcome)
    case abandoned
  }

  let configJSON: String
  private let state = Mutex(State.waitedFor)
  private let bell = Doorbell()

  init(_ configJSON: String) { self.configJSON = configJSON }

  /// Once. False when nobody waits for it any more.
  func answer(_ answer: Outcome) -> Bool {
    let isWaitedFor = state.withLock { state in
      guard case .waitedFor = state else { return false }
      state = .answered(answer)
      return true
    }
    bell.ring()
    return isWaitedFor
  }

  /// Nil when there is no answer in that time: then it is abandoned.
  func wait(for nanoseconds: Int64) -> Outcome? {
    var time = RunningTime(nanoseconds, from: Clock.monotonic())
    while !time.isOver {
      if case .answered(let outcome) = state.withLock({ $0 }) { return outcome }
      _ = bell.wait(&time)
    }
    return state.withLock { state in
      if case .answered(let outcome) = state { return outcome }
      state = .abandoned
      return nil
    }
  }
}

extension SubscriberWorker {
  /// Between two batches: asks the plugin to go on with another config, if that is wanted. Returns why the instance is of no
  /// more use: it goes on with a config that nobody wants any more.
  func reconfigureIfAsked(now: Int64) -> String? {
    guard let wanted = shared.takeReconfiguration() else { return nil }
    // What the plugin settles meanwhile, on this thread, rings for nobody: the books are looked at again before it sleeps.
    defer { services.bell.ring() }
    guard let reconfigure = plugin.table.reconfigure else {
      _ = wanted.answer(.needsNew)
      return nil
    }
    flushIfOpen(now: now)
    let begin = Clock.monotonic()
    let rc = wanted.configJSON.withBytes { config in
      shared.call(.reconfigure, from: begin, until: begin + Limits.pluginReconfigureNanoseconds) {
        reconfigure(instance, config, clearedError())
      }
    }
    switch ReturnCode(rc) {
    case .ok:
      guard wanted.answer(.applied) else {
        return "reconfigure returned when nobody waited for it any more, and the config is not in force"
      }
      // An instance that is made anew after a failure has it as well.
      configJSON = wanted.configJSON
      logger.notice("the plugin goes on with another config")
    case .unsupported: _ = wanted.answer(.needsNew)
    default: _ = wanted.answer(.failed("reconfigure answered " + error.pointee.description(of: rc)))
    }
    return nil
  }
}

extension SubscriberWorker {
  /// What was taken under one config is settled under it, as far as that goes.
  private func flushIfOpen(now: Int64) {
    guard let flush = plugin.table.flush, services.tracker.withLock({ $0.openRecords }) > 0 else { return }
    let deadline = now + Limits.pluginReconfigureNanoseconds / 2
    let rc = shared.call(.flush, from: now, until: deadline) { flush(instance, deadline, clearedError()) }
    if rc < 0 { logger.warning("flush failed", metadata: ["why": "\(error.pointee.description(of: rc))"]) }
  }
}

extension SubscriberInstance {
  /// Offers another config to the instance that runs. Waits for its answer; one caller at a time.
  package enum ConfigOutcome: Equatable, Sendable {
    case applied, needsNew
    /// The plugin has not returned. When it does, its instance ends.
    case unanswered
    case failed(String)
  }

  /// `limit`: for how long; what the plugin answers after that does not last.
  package func reconfigure(_ configJSON: String, limit: Int64? = nil) -> ConfigOutcome {
    guard plugin.table.reconfigure != nil, status.state == .running else { return .needsNew }
    let wanted = Reconfiguration(configJSON)
    submit(wanted)
    // A process is killed some time after it was interrupted, in `flush` and in `reconfigure`.
    let grace = plugin.isIsolated ? 2 * Limits.isolationGraceNanoseconds : 0
    switch wanted.wait(for: limit ?? 2 * Limits.pluginReconfigureNanoseconds + grace) {
    case .applied: return .applied
    case .needsNew: return .needsNew
    case .failed(let why): return .failed(why)
    case nil:
      // It can't be taken back from inside the plugin: what returns from there ends its instance.
      return withdraw(wanted) ? .needsNew : .unanswered
    }
  }
}
