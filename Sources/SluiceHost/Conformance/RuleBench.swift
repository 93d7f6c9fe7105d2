import CSluice
import Glibc
import SluiceCore
import SluiceTopology

/// What a rule's body has at hand, in the process of the rule.
///
/// Of that process's main thread.
final class RuleBench {
  let request: RuleRequest
  let notes: RuleNotes
  let watch = CallWatch()
  /// What calls of instances answered, when a rule is about that.
  var answers: [Answer] = []
  var keepsAnswers = false
  private var loaded: ModuleImage?
  private var instances = 0
  private var batches: UInt64 = 0
  /// A plugin may look at what it was given until the process ends, whether it may or not.
  private var kept: [TestInstance] = []

  init(_ request: RuleRequest, _ notes: RuleNotes) {
    self.request = request
    self.notes = notes
  }

  /// Says what is done next.
  func phase(_ text: String) { notes.phase = text }

  // MARK: The module

  /// The module, loaded once. `beforeEntry`: when its code is there and its entry has not been called.
  func image(beforeEntry: @Sendable () -> Void = {}) throws(RuleVerdict) -> ModuleImage {
    if let loaded { return loaded }
    phase("the module is loaded and its entry is called")
    do throws(PluginLoadError) {
      let image = try ModuleImage.load(request.file, calling: request.name, beforeEntry: beforeEntry)
      loaded = image
      return image
    } catch {
      throw .fail(error.message)
    }
  }

  func module() throws(RuleVerdict) -> ModuleDescription {
    let image = try image()
    phase("its tables are read")
    do throws(PluginLoadError) {
      return try ModuleReader(path: request.name, major: image.major).read(image.module)
    } catch {
      throw .fail(error.message)
    }
  }

  /// The kind that is asked for, with functions that lead to where it is to run.
  func kind() throws(RuleVerdict) -> KindDescription {
    if let remote { return remote }
    if request.place == .process {
      let found = try remoteKind()
      remote = found
      return found
    }
    guard let found = try module().kinds.first(where: { $0.kind == request.kind }) else {
      throw .fail("the module has no kind \(request.kind) any more")
    }
    return found
  }

  private var remote: KindDescription?

  private func remoteKind() throws(RuleVerdict) -> KindDescription {
    phase("the module is looked at in a process of its own")
    let runner = PluginProcess.executable
    do throws(PluginLoadError) {
      let module = try FirstLook(runner: runner).describe(request.file, calling: request.name)
      if let kind = module.kinds.first(where: { $0.kind == request.kind }) {
        return IsolatedModule.description(of: kind, path: request.file, name: request.name, runner: runner)
      }
    } catch {
      throw .fail(error.message)
    }
    throw .fail("the module has no kind \(request.kind) any more")
  }

  /// What ended a process of the plugin's that nobody ended.
  var death: String? { kept.lazy.compactMap { $0.host.with { $0.death } }.first }

  func schema() throws(RuleVerdict) -> PluginConfigCheck {
    let text = try kind().schemaJSON
    do throws(PluginConfigCheck.SchemaFault) {
      return try PluginConfigCheck(schemaJSON: text)
    } catch {
      throw .fail("the config schema \(error.message)")
    }
  }

  private var knownConfig: String?

  /// The config that is given, canonical and with the schema's defaults.
  func config() throws(RuleVerdict) -> String {
    if let knownConfig { return knownConfig }
    let outcome = try schema().check((try? JSONValue(parsing: request.config)) ?? .null)
    if let error = outcome.errors.first { throw .fail("the config is not one that the schema takes: \(error)") }
    knownConfig = outcome.configJSON
    return outcome.configJSON
  }

  // MARK: Instances

  /// An instance that is not created yet, with a state directory of its own.
  func instance(_ manners: ConformanceHost.Manners = .init()) throws(RuleVerdict) -> TestInstance {
    let kind = try kind()
    instances += 1
    let name = "check-\(instances)"
    let directory = "\(request.directory)/state/\(name)"
    guard Paths.makePrivate(directory) == 0 else { throw .fail("\(directory) can't be made") }
    let host = ConformanceHost(
      instance: name, stateDirectory: directory, outputs: kind.outputs.count, isolation: isolation, manners: manners)
    let instance = TestInstance(self, kind, host: host)
    kept.append(instance)
    return instance
  }

  private var isolation: IsolationSettings? {
    guard request.place == .process else { return nil }
    return IsolationSettings(batchBytes: Limits.conformanceBatchBytes, records: Limits.conformanceBatchRecords)
  }

  func created(_ manners: ConformanceHost.Manners = .init()) throws(RuleVerdict) -> TestInstance {
    let instance = try instance(manners)
    let answer = instance.create(try config())
    guard answer.rc == SLU_OK else { throw answer.isRetryable ? .skip(answer.sentence) : .fail(answer.sentence) }
    return instance
  }

  func started(_ manners: ConformanceHost.Manners = .init()) throws(RuleVerdict) -> TestInstance {
    let instance = try created(manners)
    let answer = instance.start()
    guard answer.rc == SLU_OK else {
      instance.stop()
      instance.destroy()
      throw .skip("it takes a running instance, and \(answer.sentence)")
    }
    return instance
  }

  /// Runs `body` with an instance that is stopped and destroyed after it.
  func running(
    _ manners: ConformanceHost.Manners = .init(), _ body: (TestInstance) throws(RuleVerdict) -> Void
  ) throws(RuleVerdict) {
    let instance = try started(manners)
    try body(instance)
    end(instance)
  }

  func end(_ instance: TestInstance) {
    if instance.isRunning { instance.stop() }
    instance.destroy()
  }

  // MARK: Batches

  /// A batch with tokens and a lease of its own.
  func batch(_ messages: [RuleMessage], _ shape: BatchShape, _ name: String) -> BatchMemory {
    batches += 1
    return BatchMemory(messages, shape, firstToken: batches * 1_000_000, lease: batches, as: name)
  }

  func batch(_ messages: [RuleMessage], _ name: String) -> BatchMemory { batch(messages, BatchShape(), name) }

  /// Delivers a batch as the daemon does: again while the answer is SLU_BUSY. Anything but a batch that was taken ends the rule.
  func give(_ batch: BatchMemory, to instance: TestInstance) throws(RuleVerdict) {
    let answer = offer(batch, to: instance)
    guard !answer.isTaken else { return }
    throw answer.rc == SLU_BUSY || answer.isRetryable
      ? .skip(answer.sentence)
      : .fail(
        "\(answer.sentence), for \(batch.description)")
  }

  func offer(_ batch: BatchMemory, to instance: TestInstance) -> Answer {
    let deadline = Clock.monotonic() + Limits.conformanceBusyNanoseconds
    var answer = instance.deliver(batch)
    while answer.rc == SLU_BUSY, Clock.monotonic() < deadline {
      pause()
      answer = instance.deliver(batch)
    }
    return answer
  }

  private let bell = Doorbell()

  func pause(_ nanoseconds: Int64 = Limits.conformancePauseNanoseconds) {
    bell.wait(until: Clock.monotonic() + nanoseconds)
  }

  /// Waits until `condition` holds; false when it does not within `nanoseconds`.
  func wait(_ nanoseconds: Int64, until condition: () -> Bool) -> Bool {
    let deadline = Clock.monotonic() + nanoseconds
    while !condition() {
      guard Clock.monotonic() < deadline else { return false }
      pause()
    }
    return true
  }

  /// Lets the instance settle what it has accepted, by `flush` or by itself; the rest is left.
  func settle(_ instance: TestInstance) {
    guard instance.host.with({ $0.tokens.open }) > 0 else { return }
    _ = instance.flush()
    _ = wait(Limits.conformanceSettlingNanoseconds) { instance.host.with { $0.tokens.open } == 0 }
  }
}
