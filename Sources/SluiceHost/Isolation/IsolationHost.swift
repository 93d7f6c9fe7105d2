import CSluice
import Glibc
import SluiceCore
import SluiceTopology

/// What the topology says of a subscriber's process, and what of the daemon it needs.
struct IsolationSettings: Sendable {
  /// Nil: the daemon's user.
  var user: String?
  var memoryBytes: Int?
  var slotBytes: Int
  var slots = Limits.isolationSlots

  init(_ isolation: SubscriberSettings.Isolation, _ options: DeliveryOptions) {
    if case .process(let user, let memoryBytes) = isolation {
      self.user = user
      self.memoryBytes = memoryBytes
    }
    slotBytes = SharedArena.slotBytes(batchBytes: options.bytes, records: options.records)
  }

  /// For batches of so many bytes and records.
  init(batchBytes: Int, records: Int) {
    slotBytes = SharedArena.slotBytes(batchBytes: batchBytes, records: records)
  }
}

/// What ended a plugin's process.
struct ProcessDeath: Equatable, Sendable {
  /// For people, behind "the plugin's process".
  var why: String
  /// A call was over its deadline: what it waited for may be at fault, and not what it was given.
  var isLate = false
}

/// Who stands behind an instance in a process: what the plugin says there goes to `table`, as if it were here, and what has no
/// function of the ABI goes to the others. The table's context is this object, as a native reference that is never freed.
protocol IsolationHost: AnyObject, Sendable {
  var table: UnsafeMutablePointer<slu_host> { get }
  var subscriber: String { get }
  var hostVersion: String { get }
  var stateDirectory: String { get }
  /// Nil for a host whose instances are all in this process.
  var isolation: IsolationSettings? { get }

  /// The process has been sent a batch: what the subscriber's thread may do until it replies.
  func workMeanwhile()
  /// The instance that has a process, from before its `create` until behind its `destroy`.
  func setProcess(_ instance: IsolatedInstance?)
  /// Whether a line of that level is logged at all.
  func isLogged(_ level: UInt32) -> Bool
  /// With texts that are checked already.
  func log(_ level: UInt32, _ message: String, _ pairs: [(String, String)])
  /// Of a change a line is logged, if a line of so many bytes may be.
  func setHealth(_ state: UInt32, _ why: slu_bytes, mayTell: (Int) -> Bool)
  func register(_ metric: MetricRequest) -> UInt64
  /// A line that the process printed.
  func notePrinted(_ line: String)
  /// So many lines that the process printed or logged were not taken, since they were too many for their time.
  func noteLinesLeftOut(_ count: Int)
  /// So many leases were retained when `stop` had returned.
  func noteLeasesLeft(_ count: Int)
  /// The process is gone, although nobody wanted it to be.
  func noteCrash(_ death: ProcessDeath)
  /// The process died in `destroy`: nothing is lost.
  func noteDeathInDestroy(_ why: String)
}

extension IsolationHost {
  /// Who logs no change of health needs no leave for it.
  func setHealth(_ state: UInt32, _ why: slu_bytes, mayTell: (Int) -> Bool) {
    table.pointee.set_health(table.pointee.context, state, why)
  }
}
