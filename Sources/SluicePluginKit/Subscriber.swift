/// A kind that a module can have: a `Subscriber`, a `MessageSubscriber` or an `AsyncSubscriber`. What its types say is
/// shown by `sluice plugin describe`.
public protocol SubscriberKind: AnyObject {
  /// What stands under `config` in the topology. Its schema and its decoding are made from it.
  associatedtype Configuration: SubscriberConfiguration = NoConfiguration

  /// The kind: what `plugin:` in a topology names. `[a-z][a-z0-9-]*`
  static var kind: String { get }
  /// One line for people.
  static var summary: String { get }
  /// Defaults for what the topology leaves out.
  static var delivery: DeliveryDefaults { get }
  /// What the daemon must know about instances of this kind.
  static var traits: SubscriberTraits { get }
  /// Names of the outputs that the topology maps to streams.
  static var outputs: [String] { get }

  /// Finds what is only worth a warning, or asks for more than the config. Pure: no files, no network, no threads.
  /// `Secret` values may be placeholders.
  static func validate(_ configuration: Configuration) throws -> [Finding]

  /// Makes an instance. Neither connects nor opens nor starts anything.
  init(_ configuration: Configuration, host: Host) throws

  /// The kind as the daemon drives it. The kit has it for each of its protocols.
  static var driven: any Subscriber.Type { get }
}

/// A subscriber in Swift: one type, whose instances the daemon makes, feeds and ends. A whole one:
///
///     struct CountConfiguration: SubscriberConfiguration {
///       var label: String
///
///       enum CodingKeys: CodingKey { case label }
///       static let fields = FieldTable(CodingKeys.self, [.label: Field("What is logged.", default: "bytes")])
///     }
///
///     final class ByteCounter: Subscriber {
///       static let kind = "bytecount"
///       static let summary = "Counts bytes."
///
///       private let configuration: CountConfiguration
///       private let host: Host
///       private var total = 0
///
///       init(_ configuration: CountConfiguration, host: Host) throws {
///         self.configuration = configuration
///         self.host = host
///       }
///
///       func deliver(_ batch: borrowing Batch) throws -> Delivery {
///         batch.forEach { message in total += message.payload.count }
///         return .done
///       }
///
///       func stop() throws { host.log(.info, "\(total) \(configuration.label)") }
///     }
///
/// All functions but `interrupt` are called on the instance's own thread, never two at once, so an instance needs no
/// locks unless it starts threads itself. They may block; that holds up this instance only.
///
/// An error that is thrown becomes a return code and a message in the daemon's log: `SubscriberError` says which,
/// `ConfigError` is `.config`, any other error `.retryable`. What Swift traps on (an index out of range, overflow,
/// `fatalError`) can't be caught and ends the process: only `isolation: process` contains it.
public protocol Subscriber: SubscriberKind {
  /// Connects, opens, starts. May be called again after it threw `.retryable` or `.timeout`.
  func start(deadline: Deadline) throws
  /// Takes a batch. Returning `.done` acknowledges what has no verdict yet, so it must be safe by then.
  func deliver(_ batch: borrowing Batch) throws -> Delivery
  /// Tells that messages will never come.
  func gap(_ gap: Gap) throws
  /// Makes everything accepted so far durable, and settles it.
  func flush(deadline: Deadline) throws
  /// As `flush`; no `deliver` follows.
  func drain(deadline: Deadline) throws
  /// Ends own threads, closes connections and files, lets go of leases. Use `Host` no more after it.
  func stop() throws
  /// Makes a call that blocks return soon. Called on any thread while another function runs: touch nothing here that
  /// is not safe to share between threads.
  func interrupt()
  /// Goes on with another config, all or nothing.
  /// - Returns: false if this change takes a new instance.
  func reconfigure(_ configuration: Configuration) throws -> Bool
}

/// What became of a batch.
public enum Delivery: Sendable {
  /// Every token without a verdict is acknowledged.
  case done
  /// Each token is settled later.
  case accepted
  /// Nothing was taken; the batch comes again.
  case busy
}

/// Defaults for what a topology leaves out; 0 is the daemon's own.
public struct DeliveryDefaults: Sendable {
  /// Messages in a batch.
  public var records: UInt32 = 0
  /// Bytes in a batch.
  public var bytes: UInt32 = 0
  /// How long a batch may wait to fill.
  public var lingerMilliseconds: UInt32 = 0
  /// Messages delivered and not settled.
  public var maxInFlight: UInt32 = 0
  /// From `deliver` to the last verdict.
  public var ackDeadlineMilliseconds: UInt32 = 0

  /// The daemon's own.
  public init() {}
}

/// What the daemon must know about instances of a kind.
public struct SubscriberTraits: OptionSet, Sendable {
  /// The bits, as in the ABI.
  public let rawValue: UInt32

  /// From the bits of the ABI.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Two instances of one config can't run at once: on reload the old one is stopped first.
  public static let exclusive = SubscriberTraits(rawValue: 1)
  /// Must not share a process with the daemon.
  public static let processOnly = SubscriberTraits(rawValue: 2)
}

/// Something that `validate` found.
public struct Finding: Sendable, Equatable {
  /// Whether the config is refused for it.
  public enum Severity: Sendable { case error, warning }

  /// Whether the config is refused for it.
  public var severity: Severity
  /// JSON Pointer to what it is about.
  public var pointer: String
  /// What was found and what was expected.
  public var text: String

  /// A finding.
  public init(_ severity: Severity, at pointer: String, _ text: String) {
    self.severity = severity
    self.pointer = pointer
    self.text = text
  }
}

/// Why a subscriber could not do what it was asked.
public struct SubscriberError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What the daemon should do about it.
  public enum Kind: Sendable {
    /// The config is wrong: trying again does not help.
    case config
    /// The world is at fault, and may recover.
    case retryable
    /// The instance is of no more use.
    case fatal
    /// The deadline passed, or `interrupt` came.
    case timeout
  }

  /// What the daemon should do about it.
  public var kind: Kind
  /// What happened, to what, and what can be done about it.
  public var message: String
  /// The plugin's own number for it.
  public var code: UInt32

  /// An error.
  public init(_ kind: Kind, _ message: String, code: UInt32 = 0) {
    self.kind = kind
    self.message = message
    self.code = code
  }

  /// The message.
  public var description: String { message }
}

extension SubscriberKind {
  /// The daemon's own.
  public static var delivery: DeliveryDefaults { DeliveryDefaults() }
  /// None.
  public static var traits: SubscriberTraits { [] }
  /// None.
  public static var outputs: [String] { [] }
  /// Whatever decodes is good.
  public static func validate(_ configuration: Configuration) throws -> [Finding] { [] }
}

extension Subscriber {
  /// Itself.
  public static var driven: any Subscriber.Type { Self.self }
  /// Nothing to do.
  public func start(deadline: Deadline) throws {}
  /// The daemon logs and counts it.
  public func gap(_ gap: Gap) throws {}
  /// Nothing is open between deliveries.
  public func flush(deadline: Deadline) throws {}
  /// Flushes.
  public func drain(deadline: Deadline) throws { try flush(deadline: deadline) }
  /// Nothing to do.
  public func stop() throws {}
  /// Nothing blocks for long.
  public func interrupt() {}
  /// Every change takes a new instance.
  public func reconfigure(_ configuration: Configuration) throws -> Bool { false }
}
