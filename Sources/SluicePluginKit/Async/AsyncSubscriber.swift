/// A subscriber whose calls are `async`: an actor, or a class that is `Sendable`. Its tasks run on a thread of the
/// instance's own, so that they neither hold up the daemon nor share Swift's pool.
///
///     struct PosterConfiguration: SubscriberConfiguration {
///       var url: String
///       var token: Secret
///     }
///
///     actor Poster: AsyncSubscriber {
///       static let kind = "poster"
///       static let summary = "Posts batches of records."
///       static let batchesInFlight = 4
///
///       private let client: Client
///
///       init(_ configuration: PosterConfiguration, host: Host) throws {
///         client = Client(configuration.url, token: configuration.token)
///       }
///
///       func deliver(_ batch: OwnedBatch) async throws {
///         var body: [UInt8] = []
///         batch.forEach { message in
///           body += message.payload
///           body.append(UInt8(ascii: "\n"))
///         }
///         guard try await client.post(body) == 200 else { throw Verdict.retry(after: .seconds(5), reason: "it is busy") }
///       }
///
///       func stop() async throws { await client.close() }
///     }
///
/// A batch is settled when its `deliver` ends: returning acknowledges what has no verdict yet, a `Verdict` that is thrown
/// is that of the rest, any other error retries the rest. A `SubscriberError` other than `.retryable` is told to the daemon
/// with its next call, too. Up to `batchesInFlight` calls of `deliver` are under way at once, begun in the order of the log.
///
/// Tasks are cancelled when the daemon interrupts a call that waits for them, and when the instance is stopped; `stop` comes
/// after the last `deliver` has ended, so a call that takes no notice of its cancellation keeps the instance from ending.
/// Start no task that outlives the function it was started in, and use nothing of `@MainActor`: nobody runs that.
public protocol AsyncSubscriber: SubscriberKind, Sendable {
  /// Calls of `deliver` that may be under way at once. The daemon's next batch waits until there is room.
  static var batchesInFlight: Int { get }

  /// Connects, opens, starts. May be called again after it threw `.retryable` or `.timeout`, or was cancelled.
  func start() async throws
  /// Takes a batch.
  func deliver(_ batch: OwnedBatch) async throws
  /// Tells that messages will never come.
  func gap(_ gap: Gap) async throws
  /// Closes connections and files. No `deliver` is under way, and none follows. Use `Host` no more after it.
  func stop() async throws
  /// Goes on with another config, all or nothing.
  /// - Returns: false if this change takes a new instance.
  func reconfigure(_ configuration: Configuration) async throws -> Bool
}

extension AsyncSubscriber {
  /// Run by the kit.
  public static var driven: any Subscriber.Type { AsyncDriver<Self>.self }
  /// One after the other.
  public static var batchesInFlight: Int { 1 }
  /// Nothing to do.
  public func start() async throws {}
  /// The daemon logs and counts it.
  public func gap(_ gap: Gap) async throws {}
  /// Nothing to do.
  public func stop() async throws {}
  /// Every change takes a new instance.
  public func reconfigure(_ configuration: Configuration) async throws -> Bool { false }
}
