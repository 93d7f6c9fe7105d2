import DaemonTestSupport
import DeliveryOracle
import Foundation
import SluiceJournal
import Synchronization
import Testing

/// What the fault tests compile from C, once per process.
enum FaultFixtures {
  private static let home: TemporaryFolder = {
    atexit { try? FileManager.default.removeItem(atPath: FaultFixtures.home.path) }
    return TemporaryFolder()
  }()

  /// The subscriber that writes down what it sees.
  static let witness: Result<String, any Error> = Result {
    try buildPlugin("Tests/FixturePlugins/witness.c", kind: "witness", in: home)
  }

  /// The library that makes calls on files fail.
  static let faults: Result<String, any Error> = Result {
    let output = home.path + "/io_faults.so"
    try compile("Tests/Fixtures/io_faults.c", to: output)
    return output
  }

  static let isFull = ProcessInfo.processInfo.environment["SLUICE_FULL"] != nil
}

/// One log through any number of daemons, its producers, the subscriber `seen`, and the oracle that judges them. What
/// the subscriber saw, and what was sent and acknowledged, lies outside of the directory that is faulted.
final class FaultRig: Sendable {
  let folder = TemporaryFolder()
  /// The daemon's data directory.
  let data: String
  let topology: String
  private let promise: DeliveryOracle.Promise
  private let payloadBytes: Int
  private let state: Mutex<State>

  private struct State {
    var oracle = DeliveryOracle(subscribers: ["seen"])
    var sequences: [UInt32: UInt64] = [:]
    var acknowledged = 0
    /// Of the witness's file, what the oracle knows.
    var read = 0
    var slowestRecovery = 0.0
  }

  /// `data`: where the log lies, if not in the rig's own folder. `payloadBytes`: of each record.
  init(data: String? = nil, durability: String = "fsync", payloadBytes: Int = 100, retain: String = "2MiB") throws {
    self.data = data ?? folder.path + "/data"
    self.payloadBytes = payloadBytes
    promise = durability == "fsync" ? .fsync : durability == "written" ? .written : .memory
    topology = folder.write(
      "sluice.yaml",
      """
      sluice: 1
      daemon: { data: \(self.data) }
      streams:
        events:
          { durability: \(durability), segment: 1MiB, ring: 4MiB, max_record: 128KiB, retain: { bytes: \(retain) } }
      sources:
        api: { type: http, listen: "127.0.0.1:0", stream: events, auth: none }
      subscribers:
        seen:
          plugin: \(try FaultFixtures.witness.get())
          isolation: thread
          streams: [ events ]
          start: oldest
          batch: { wait: 1ms }
          config: { path: \(folder.path)/seen }
      """)
    state = Mutex(State())
  }

  var directory: String { data + "/streams/events" }
  var acknowledged: Int { state.withLock { $0.acknowledged } }
  /// In milliseconds, as the daemons' own logs say.
  var slowestRecovery: Double { state.withLock { $0.slowestRecovery } }
  /// Lines that the subscriber wrote.
  var deliveries: Int { (try? seen().split(separator: "\n").count) ?? 0 }

  // MARK: Daemons

  func spawn(environment: [String: String] = [:], wrapper: [String] = []) -> ChildProcess {
    Daemon.spawn(topology: topology, environment: environment, wrapper: wrapper)
  }

  /// Starts a daemon and waits until it runs. Nil when it ends before that; then its end is noted.
  func start(environment: [String: String] = [:], wrapper: [String] = [], isExpected: Bool = true) -> Daemon? {
    let child = spawn(environment: environment, wrapper: wrapper)
    guard let daemon = Daemon(awaiting: child, isExpected: isExpected) else {
      _ = child.exitStatus()
      ended(.killed)
      return nil
    }
    return daemon
  }

  /// One with a fault from `Tests/Fixtures/io_faults.c` in it. `countsZeros`: also of what an idle log fills files with.
  func start(fault: String, on path: String = ".slog", countsZeros: Bool = true) throws -> Daemon? {
    var environment = try Self.environment(fault: fault, on: path, log: folder.path + "/faults")
    if !countsZeros { environment["IO_FAULT_DATA"] = "1" }
    return start(environment: environment)
  }

  static func environment(fault: String, on path: String, log: String) throws -> [String: String] {
    [
      "LD_PRELOAD": try FaultFixtures.faults.get(), "IO_FAULT": fault, "IO_FAULT_PATH": path, "IO_FAULT_LOG": log,
    ]
  }

  /// What the fault library did so far, a line for each.
  var faults: [Substring] {
    (FileManager.default.contents(atPath: folder.path + "/faults")).map {
      String(decoding: $0, as: UTF8.self).split(separator: "\n")
    } ?? []
  }

  /// Reads what a daemon that is gone left behind.
  func ended(_ end: DeliveryOracle.End, of daemon: ChildProcess? = nil) {
    for line in daemon?.output ?? [] where line.contains("recovered") {
      // A machine that is busy elsewhere takes as long as it likes, but adds no work.
      let milliseconds = field("recovery_cpu_ms", of: line).flatMap(Double.init) ?? .infinity
      state.withLock {
        $0.slowestRecovery = max($0.slowestRecovery, milliseconds)
        $0.oracle.recovered(nanoseconds: Int64(milliseconds * 1e6))
      }
    }
    collect()
    state.withLock { $0.oracle.ended(end, cursors: cursors()) }
  }

  /// Tells the oracle what the subscriber saw since the last time.
  func collect() {
    guard let text = try? seen() else { return }
    state.withLock { state in
      let news = text.utf8.dropFirst(state.read)
      guard let end = news.lastIndex(of: 10) else { return }
      state.read = text.utf8.distance(from: text.startIndex, to: end) + 1
      for line in news[..<end].split(separator: 10) {
        let fields = line.split(separator: 32)
        let numbers = fields.dropFirst().map { UInt64(Substring($0)) ?? .max }
        switch String(fields[0]) {
        case "d":
          state.oracle.delivered(.init(UInt32(numbers[1]), numbers[2]), hash: numbers[3], lsn: numbers[0], to: "seen")
        default: state.oracle.told(gap: numbers[0]...numbers[1], to: "seen")
        }
      }
    }
  }

  private func seen() throws -> String {
    String(decoding: try Data(contentsOf: URL(fileURLWithPath: folder.path + "/seen")), as: UTF8.self)
  }

  /// What the slots on the disk say.
  func cursors() -> [String: UInt64] {
    guard let bytes = FileManager.default.contents(atPath: directory + "/cursors.slot") else { return [:] }
    let slots = [0, 65_536].compactMap { start -> CursorSlot? in
      guard bytes.count > start else { return nil }
      return bytes.dropFirst(start).prefix(65_536).withUnsafeBytes { try? CursorSlot.decode($0) }
    }
    let newest = slots.max { $0.generation < $1.generation }
    return Dictionary((newest?.entries ?? []).map { ($0.name, $0.lsn) }) { first, _ in first }
      .filter { $0.key == "seen" }
  }

  // MARK: Producers

  /// Sends the producer's next record and waits for the answer; its status, or nil if none came.
  func post(_ connection: HTTPConnection, producer: UInt32 = 1) -> Int? {
    let (record, body) = state.withLock { state -> (DeliveryOracle.Record, String) in
      let sequence = (state.sequences[producer] ?? 0) + 1
      state.sequences[producer] = sequence
      let filler = String(repeating: "x", count: payloadBytes)
      let record = DeliveryOracle.Record(producer, sequence)
      let body = #"{"message":"\#(producer)-\#(sequence)-\#(filler)"}"#
      state.oracle.sends(record, hash: DeliveryOracle.hash(of: body))
      return (record, body)
    }
    let status = connection.post(body)?.status
    if status == 202 {
      state.withLock {
        $0.oracle.acknowledged(record, promise)
        $0.acknowledged += 1
      }
    }
    return status
  }

  /// The same, but while the stream has no room, which the subscriber makes as it catches up, the next one a little later.
  func postWhenThereIsRoom(_ connection: HTTPConnection) -> Int? {
    var status: Int?
    _ = eventually {
      status = post(connection)
      return status != 429
    }
    return status
  }

  /// Posts from `producers` connections, those who are refused a little later again, until `enough` were acknowledged or
  /// the daemon is gone.
  func load(_ daemon: Daemon, producers: UInt32, enough: Int) {
    let done = DispatchGroup()
    let goal = acknowledged + enough
    for producer in 1...producers {
      done.enter()
      Thread.detachNewThread { [self] in
        defer { done.leave() }
        guard let connection = HTTPConnection(port: daemon.port) else { return }
        while acknowledged < goal, let status = post(connection, producer: producer) {
          if status != 202 { pause(0.005) }
        }
      }
    }
    done.wait()
  }

  /// Waits until the daemon says in its log that it refuses producers for want of room.
  func awaitFull(_ daemon: Daemon) {
    let line = daemon.process.line {
      $0.contains("is full and refuses producers") && $0.contains("reason=disk") && $0.contains("stream=events")
    }
    if line == nil { Issue.record("the stream is not full: \(daemon.process.output)") }
  }

  // MARK: The subscriber's gate

  /// From now on the subscriber keeps the batch that it is given, and so falls behind.
  func closeGate() { _ = FileManager.default.createFile(atPath: folder.path + "/seen.gate", contents: nil) }
  func openGate() { try? FileManager.default.removeItem(atPath: folder.path + "/seen.gate") }

  // MARK: Judgement

  /// Lets a daemon deliver all that is left and stop in order, or several, one after another, so that what was settled
  /// is seen to stay settled; then the oracle speaks.
  func judge(_ context: String = "", daemons: Int = 2, sourceLocation: SourceLocation = #_sourceLocation) {
    for _ in 0..<daemons {
      guard let daemon = start() else {
        Issue.record("\(context): the daemon does not start", sourceLocation: sourceLocation)
        return
      }
      let status = daemon.stop()
      #expect(status == 0, "\(context): \(daemon.process.output)", sourceLocation: sourceLocation)
      ended(.orderly, of: daemon.process)
    }
    verdict(context, sourceLocation: sourceLocation)
  }

  func verdict(_ context: String = "", sourceLocation: SourceLocation = #_sourceLocation) {
    let violations = state.withLock { $0.oracle.verdict() }
    guard !violations.isEmpty else { return }
    let some = violations.prefix(10).map(\.description).joined(separator: "\n")
    Issue.record("\(context): \(violations.count) violations\n\(some)", sourceLocation: sourceLocation)
  }

  /// Everything below the stream's directory that a recovery could change: names, and sizes of what is quarantined.
  func listing() -> [String] {
    let names = FileManager.default.enumerator(atPath: directory)?.compactMap { $0 as? String } ?? []
    return names.filter { $0 != "LOCK" && $0 != "next.tmp" }.sorted()
  }

  func noteSecondRecovery(changes: [String]) {
    state.withLock { $0.oracle.recovered(nanoseconds: 0, changes: changes) }
  }
}
