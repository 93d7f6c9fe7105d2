import CSluice
import Logging
import SluiceCore
import Synchronization

/// Another config for an instance that runs, on its way to the instance's thread and back.
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

  let configJSON: String
  private let outcome = Mutex<Outcome?>(nil)
  private let bell = Doorbell()

  init(_ configJSON: String) { self.configJSON = configJSON }

  func answer(_ answer: Outcome) {
    outcome.withLock { $0 = answer }
    bell.ring()
  }

  /// Nil when there is no answer by `deadline`.
  func wait(until deadline: Int64) -> Outcome? {
    while true {
      if let outcome = outcome.withLock({ $0 }) { return outcome }
      guard bell.wait(until: deadline) else { return outcome.withLock { $0 } }
    }
  }
}

extension SubscriberWorker {
  /// Between two batches: asks the plugin to go on with another config, if that is wanted.
  func reconfigureIfAsked(now: Int64) {
    guard let wanted = shared.takeReconfiguration() else { return }
    guard let reconfigure = plugin.table.reconfigure else { return wanted.answer(.needsNew) }
    flushIfOpen(now: now)
    let rc = wanted.configJSON.withBytes { config in
      shared.call(from: now, until: now + Limits.pluginReconfigureNanoseconds) {
        reconfigure(instance, config, clearedError())
      }
    }
    switch ReturnCode(rc) {
    case .ok:
      // An instance that is made anew after a failure has it as well.
      configJSON = wanted.configJSON
      logger.notice("the plugin goes on with another config")
      wanted.answer(.applied)
    case .unsupported: wanted.answer(.needsNew)
    default: wanted.answer(.failed("reconfigure answered " + error.pointee.description(of: rc)))
    }
  }
}

extension SubscriberWorker {
  /// What was taken under one config is settled under it, as far as that goes.
  private func flushIfOpen(now: Int64) {
    guard let flush = plugin.table.flush, services.tracker.withLock({ $0.openRecords }) > 0 else { return }
    let deadline = now + Limits.pluginReconfigureNanoseconds / 2
    let rc = shared.call(from: now, until: deadline) { flush(instance, deadline, clearedError()) }
    if rc < 0 { logger.warning("flush failed", metadata: ["why": "\(error.pointee.description(of: rc))"]) }
  }
}

extension SubscriberInstance {
  /// Offers another config to the instance that runs. Waits for its answer; one caller at a time.
  package enum ConfigOutcome: Equatable, Sendable {
    case applied, needsNew
    case failed(String)
  }

  package func reconfigure(_ configJSON: String) -> ConfigOutcome {
    guard plugin.table.reconfigure != nil, status.state == .running else { return .needsNew }
    let wanted = Reconfiguration(configJSON)
    submit(wanted)
    switch wanted.wait(until: Clock.monotonic() + 2 * Limits.pluginReconfigureNanoseconds) {
    case .applied: return .applied
    case .needsNew: return .needsNew
    case .failed(let why): return .failed(why)
    case nil:
      // Whoever takes it after this has nobody to answer to; it can't be taken back from inside the plugin.
      return withdraw(wanted) ? .needsNew : .failed("reconfigure has not returned")
    }
  }
}
