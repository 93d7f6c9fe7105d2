// The host of one instance under test. It answers as the daemon does, or refuses as a rule wants it to, and writes down what
// is not to be: offences, which rules ask for by their kind.
//
// Life:  created ─► running ─► stopped.  The rule moves it; what is called in the wrong state is an offence.

import CSluice
import Glibc
import SluiceCore
import Synchronization

/// What a plugin does to its host and must not.
enum Offence: String, Sendable {
  case settledTwice, settledForeign, settledLate, settledAfterStop, settledNonsense
  case calledAfterStop, calledBeforeStart, leaseMisused, badArgument
}

/// `@unchecked Sendable`: `table` and the texts that it points to are written in `init` and never again; what changes is
/// locked.
final class ConformanceHost: IsolationHost, @unchecked Sendable {
  /// How it answers.
  struct Manners: Sendable {
    var retain = SLU_OK
    /// What `settle` answers; nil: the truth.
    var settle: slu_rc?
    var publish = SLU_OK
    var credit = SLU_OK
    /// Of a later minor version: its tables are longer.
    var isLater = false
    /// Batches are read-only while they are delivered.
    var isReadOnly = false
    /// Batches are gone when `deliver` has returned, unless they are leased.
    var takesAway = false
  }

  enum Life { case created, running, stopped }

  struct Lease {
    var holds = 0
    var batch: BatchMemory?
  }

  struct State {
    var life = Life.created
    var tokens = TokenLedger()
    var leases: [UInt64: Lease] = [:]
    /// The batch that is being delivered.
    var delivering: UInt64?
    var offences: [(Offence, String)] = []
    var metrics: [MetricRequest] = []
    /// What became of an instance's process that nobody ended.
    var death: String?

    mutating func offend(_ offence: Offence, _ text: String) {
      if offences.count < Limits.maxConformanceOffences { offences.append((offence, text)) }
    }
  }

  let table: UnsafeMutablePointer<slu_host>
  let manners: Manners
  let outputs: Int
  let subscriber: String
  let stateDirectory: String
  let isolation: IsolationSettings?
  private let texts: [CText]
  private let state = Mutex(State())
  private let ownThread = pthread_self()

  /// On the instance's thread. It lives as long as the process: a plugin may call it at any time, rightly or not.
  init(
    instance: String, stateDirectory: String, outputs: Int, isolation: IsolationSettings? = nil, manners: Manners
  ) {
    self.manners = manners
    self.outputs = outputs
    self.subscriber = instance
    self.stateDirectory = stateDirectory
    self.isolation = isolation
    texts = [CText(hostVersion), CText(instance), CText(stateDirectory)]
    let appended = manners.isLater ? 64 : 0
    let bytes = MemoryLayout<slu_host>.size + appended
    let raw = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: MemoryLayout<slu_host>.alignment)
    raw.initializeMemory(as: UInt8.self, repeating: 0xA5, count: bytes)
    table = raw.bindMemory(to: slu_host.self, capacity: 1)
    table.initialize(to: ConformanceHost.functions)
    table.pointee.struct_size = UInt32(bytes)
    table.pointee.abi_minor = UInt32(SLU_ABI_MINOR) + (manners.isLater ? 1 : 0)
    table.pointee.host_version = texts[0].bytes
    table.pointee.instance = texts[1].bytes
    table.pointee.state_dir = texts[2].bytes
    table.pointee.context = Unmanaged.passRetained(self).toOpaque()
  }

  // MARK: For rules

  func with<Result: Sendable>(_ body: (inout State) -> Result) -> Result { state.withLock { body(&$0) } }

  func enter(_ life: Life) {
    with { state in
      state.life = life
      // Open tokens die when `stop` returns.
      if life == .stopped { state.tokens.closeAll() }
    }
  }

  /// What was written down of these kinds, each once.
  func offences(_ kinds: Set<Offence>) -> [String] {
    var all: [String] = []
    for (kind, text) in with({ $0.offences }) where kinds.contains(kind) && !all.contains(text) { all.append(text) }
    return all
  }

  func beginDelivery(_ batch: BatchMemory) {
    if manners.isReadOnly { batch.makeReadOnly() }
    let (first, count, lease) = (batch.firstToken, batch.count, batch.lease)
    with { state in
      state.delivering = lease
      state.tokens.open(first: first, count: count)
      state.leases[lease, default: Lease()].batch = batch
    }
  }

  func endDelivery(_ batch: BatchMemory, _ rc: slu_rc) {
    let (first, lease) = (batch.firstToken, batch.lease)
    let isLeased = with { state in
      state.delivering = nil
      if rc != SLU_ACCEPTED { state.tokens.close(first: first) }
      guard let found = state.leases[lease], found.holds > 0 else {
        state.leases[lease] = nil
        return false
      }
      return true
    }
    if manners.takesAway { batch.takeAway(isLeased: isLeased) }
  }

  /// Forgets everything but its life, for an instance's next one.
  func forget() {
    with { state in
      let life = state.life
      state = State()
      state.life = life
    }
  }

  // MARK: For the plugin

  private var isOwnThread: Bool { pthread_equal(pthread_self(), ownThread) != 0 }

  /// Looks at the state in which `name` is called. `running`: it may not be called before `start`.
  func note(_ name: String, running: Bool = false) {
    with { state in
      switch state.life {
      case .created where running: state.offend(.calledBeforeStart, "\(name) was called before start")
      case .stopped where name == "settle":
        state.offend(.settledAfterStop, "settle was called after stop had returned")
      case .stopped: state.offend(.calledAfterStop, "\(name) was called after stop had returned")
      default: break
      }
    }
  }

  // MARK: For an instance in a process of its own

  let hostVersion = "0.0.0-check"

  /// Which they are only the process knows.
  func noteLeasesLeft(_ count: Int) {
    with { state in for index in 0..<count { state.leases[.max - UInt64(index)] = Lease(holds: 1) } }
  }

  func noteCrash(_ death: ProcessDeath) { with { $0.death = "the plugin's process \(death.why)" } }

  /// Rules end what hangs together with their own process.
  func setProcess(_ instance: IsolatedInstance?) {}

  func workMeanwhile() {}

  func noteDeathInDestroy(_ why: String) { with { $0.death = why } }

  /// The rule's own output is shown when its process does not come to its end.
  func notePrinted(_ line: String) {
    var text = line + "\n"
    text.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  func noteLinesLeftOut(_ count: Int) { notePrinted("and \(count) lines more") }

  func isLogged(_ level: UInt32) -> Bool { true }

  func offend(_ offence: Offence, _ text: String) { with { $0.offend(offence, text) } }

  func settle(_ items: UnsafePointer<slu_settlement>?, _ count: UInt32) -> slu_rc {
    note("settle", running: true)
    guard count > 0 else { return manners.settle ?? SLU_OK }
    guard let items else {
      offend(.settledNonsense, "settle was called with NULL for \(count) items")
      return SLU_E_INVALID
    }
    let answer = with { state in
      var answer = SLU_OK
      for index in 0..<Int(count) {
        let item = items[index]
        let (rc, offence) = state.tokens.settle(first: item.first_token, count: item.count)
        if rc == SLU_E_INVALID || answer == SLU_OK { answer = rc }
        if let offence, state.life == .running { state.offend(offence.0, offence.1) }
        if !(SLU_ACK...SLU_REJECT).contains(item.verdict) {
          state.offend(.settledNonsense, "settle was called with the verdict \(item.verdict), which is none")
        }
      }
      return answer
    }
    return manners.settle ?? answer
  }

  func retain(_ lease: UInt64) -> slu_rc {
    note("retain", running: true)
    let isOwn = isOwnThread
    let manner = manners.retain
    return with { state in
      guard isOwn, state.delivering == lease else {
        state.offend(.leaseMisused, "retain was called outside of the deliver of the lease's batch")
        return SLU_E_INVALID
      }
      guard manner == SLU_OK else { return manner }
      state.leases[lease, default: Lease()].holds += 1
      return SLU_OK
    }
  }

  func release(_ lease: UInt64) {
    note("release", running: true)
    let takesAway = manners.takesAway
    with { state in
      guard var found = state.leases[lease], found.holds > 0 else {
        state.offend(.leaseMisused, "release was called for a lease that is not retained")
        return
      }
      found.holds -= 1
      if found.holds == 0, state.delivering != lease {
        if takesAway { found.batch?.takeAway(isLeased: false) }
        state.leases[lease] = nil
      } else {
        state.leases[lease] = found
      }
    }
  }

  func setCredit(_ messages: UInt32) -> slu_rc {
    note("set_credit", running: true)
    return manners.credit
  }
}

/// Who may settle what.
struct TokenLedger {
  private struct Batch {
    var first: UInt64
    /// Of each token: not settled, settled, settled by the end of its batch.
    var isOpen: [Bool]
    var isOver = false
    var left: Int
  }

  private var batches: [Batch] = []

  /// Tokens that are not settled.
  var open: Int { batches.reduce(0) { $0 + ($1.isOver ? 0 : $1.left) } }

  mutating func open(first: UInt64, count: Int) {
    // The same batch again, after SLU_BUSY.
    batches.removeAll { $0.first == first }
    batches.append(Batch(first: first, isOpen: Array(repeating: true, count: count), left: count))
  }

  /// What `deliver` answered has decided over what was left of this batch.
  mutating func close(first: UInt64) {
    for index in batches.indices where batches[index].first == first { batches[index].isOver = true }
  }

  mutating func closeAll() { for index in batches.indices { batches[index].isOver = true } }

  /// The answer, and what was wrong.
  mutating func settle(first: UInt64, count: UInt32) -> (slu_rc, (Offence, String)?) {
    guard count > 0 else { return (SLU_E_INVALID, (.settledNonsense, "settle was called with an item of count 0")) }
    guard let place = batches.firstIndex(where: { first >= $0.first && first - $0.first < UInt64($0.isOpen.count) })
    else {
      return (SLU_STALE, (.settledForeign, "the token \(first) was settled, which was never given out"))
    }
    let start = Int(first - batches[place].first)
    let end = min(start + Int(count), batches[place].isOpen.count)
    if start + Int(count) > end {
      return (
        SLU_E_INVALID, (.settledForeign, "\(count) tokens from \(first) were settled, past the end of their batch")
      )
    }
    if batches[place].isOver {
      return (SLU_STALE, (.settledLate, "the token \(first) was settled after its batch was over"))
    }
    var twice: UInt64?
    for index in start..<end {
      if batches[place].isOpen[index] { batches[place].left -= 1 } else { twice = batches[place].first + UInt64(index) }
      batches[place].isOpen[index] = false
    }
    guard let twice else { return (SLU_OK, nil) }
    return (SLU_STALE, (.settledTwice, "the token \(twice) was settled twice"))
  }
}
