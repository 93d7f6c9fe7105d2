import SluiceCore
import SluiceTopology
import Synchronization

@testable import SluiceHost

/// A fixture plugin with a subscriber around it, fed from memory.
final class SubscriberRig {
  /// The daemon's data; that of `after`, whose successor this is.
  let directory: TemporaryDirectory
  let log = LogCapture()
  let letters = CollectingSink()
  let readers: [MemoryReader]
  let subscriber: SubscriberInstance

  /// `isSuccessor`: the readers are not its own before `admit`.
  init(
    _ fixture: String, n: Int? = nil, readers: [MemoryReader] = [MemoryReader()],
    deadLetters: (any DeadLetterSink)? = nil, publishTargets: [PublishTarget] = [], isIsolated: Bool = false,
    misbehaving: Misbehaviour? = nil, plugin: LoadedPlugin? = nil, after other: SubscriberRig? = nil,
    isSuccessor: Bool = false,
    _ change: (inout SubscriberSettings) -> Void = { _ in }
  ) throws {
    var settings = SubscriberSettings(
      name: "it", plugin: fixture, streams: readers.map(\.streamName),
      position: SourcePosition(file: "test.yaml", line: 1, column: 1))
    settings.batch.waitNanoseconds = 0
    settings.retry.firstNanoseconds = 1_000_000
    settings.retry.maxNanoseconds = 4_000_000
    settings.configJSON = n.map { "{\"n\":\($0)}" } ?? "{}"
    change(&settings)
    self.readers = readers
    directory = other?.directory ?? TemporaryDirectory()
    let state = directory.folder("state")
    let loaded =
      try plugin
      ?? (isIsolated
        ? Fixtures.isolate(fixture, misbehaving: misbehaving, state: state)
        : Fixtures.load(fixture, misbehaving: misbehaving, state: state))
    subscriber = SubscriberInstance(
      settings: settings, plugin: loaded, streams: readers.map { ($0.streamName, $0.logUUID) },
      publishTargets: publishTargets, dataDirectory: directory.path, deadLetters: deadLetters ?? letters,
      hostVersion: "test", logger: log.logger)
    if !isSuccessor { subscriber.admit(readers) }
  }

  var reader: MemoryReader { readers[0] }

  /// What the fixture wrote down.
  var seen: [String] { Files.lines("\(directory.path)/plugins/it/seen") }

  /// The messages of it: (lsn, attempt, payload).
  var messages: [(lsn: UInt64, attempt: Int, payload: String)] {
    seen.compactMap { line in
      let parts = line.split(separator: " ")
      guard parts.count == 3, let lsn = UInt64(parts[0]), let attempt = Int(parts[1]) else { return nil }
      return (lsn, attempt, String(parts[2]))
    }
  }

  func stop(seconds: Int64 = 120) -> SubscriberInstance.StopOutcome {
    subscriber.stop(deadline: Clock.monotonic() + seconds * 1_000_000_000)
  }

  /// Its end, with an interrupt for the call that it is in as soon as that has begun: nothing hangs on how long it takes.
  func stopInterrupting() -> SubscriberInstance.StopOutcome? {
    let stopping = Stopping(subscriber)
    stopping.begin(seconds: 120)
    _ = eventually { subscriber.shared.isStopping }
    subscriber.interrupt()
    return stopping.outcome
  }
}

/// The end of a subscriber, on a thread of its own.
final class Stopping: Sendable {
  private let subscriber: SubscriberInstance
  private let thread = Mutex<OSThread?>(nil)
  private let result = Mutex<SubscriberInstance.StopOutcome?>(nil)

  init(_ subscriber: SubscriberInstance) { self.subscriber = subscriber }

  func begin(seconds: Int64) {
    thread.withLock {
      $0 = OSThread(name: "stopping") { [self] in
        let outcome = subscriber.stop(deadline: Clock.monotonic() + seconds * 1_000_000_000)
        result.withLock { $0 = outcome }
      }
    }
  }

  /// Waits for it.
  var outcome: SubscriberInstance.StopOutcome? {
    thread.withLock { $0 }?.join()
    return result.withLock { $0 }
  }
}

/// Keeps dead letters; can refuse them for a while.
final class CollectingSink: DeadLetterSink {
  private let state = Mutex<(letters: [DeadLetter], payloads: [String], refusals: Int)>(([], [], 0))

  let name = "dead"
  var letters: [DeadLetter] { state.withLock { $0.letters } }
  var payloads: [String] { state.withLock { $0.payloads } }

  func refuse(_ times: Int) { state.withLock { $0.refusals = times } }

  func openWriter(subscriber: String, wake: @escaping @Sendable () -> Void) -> any DeadLetterWriter { Writer(self) }

  private final class Writer: DeadLetterWriter {
    private let sink: CollectingSink
    private var submitted: UInt64 = 0

    init(_ sink: CollectingSink) { self.sink = sink }

    func append(_ letter: DeadLetter, _ record: RecordView) -> FullReason? {
      sink.state.withLock { state in
        guard state.refusals == 0 else {
          state.refusals -= 1
          return .retention
        }
        state.letters.append(letter)
        state.payloads.append(String(decoding: record.payload, as: UTF8.self))
        return nil
      }
    }

    func submit() -> UInt64 {
      submitted += 1
      return submitted
    }

    func isKept(_ position: UInt64) -> Bool { position <= submitted }
    var cutLetters: UInt64 { 0 }
    func close() {}
  }
}
