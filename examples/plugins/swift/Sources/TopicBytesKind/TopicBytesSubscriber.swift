import Glibc
import SluicePluginKit

/// What a topology says under `config`. The daemon checks it with the schema that the kit makes of it.
public struct TopicBytesConfiguration: SubscriberConfiguration {
  /// Name of the file with the totals.
  public var file: String

  /// The keys under `config`.
  public enum CodingKeys: CodingKey {
    /// See the property.
    case file
  }
  /// What the schema says of them.
  public static let fields = FieldTable(
    CodingKeys.self,
    [
      .file: Field(
        "Name of the file with the totals, in the state directory.", default: "topics.tsv", maxLength: 100,
        pattern: "^[A-Za-z0-9_-][A-Za-z0-9._-]*$")
    ])
}

/// Counts records and bytes per topic, and keeps the totals in a file in its state directory.
///
/// Delivery is at least once: what was counted just before a crash may be counted again. Who can't have that keeps
/// (`batch.logUUID`, `message.lsn`) of what is done beside the result.
public final class TopicBytesSubscriber: Subscriber {
  /// What `plugin:` in a topology names.
  public static let kind = "topic-bytes"
  /// One line for people.
  public static let summary = "Counts records and bytes per topic."
  /// `start` reads what `deliver` of the instance before it writes: after a reload it must not read too early.
  public static let traits: SubscriberTraits = .exclusive
  /// Numbers that dead letters carry.
  private static let rejectedBadTopic: UInt32 = 1
  private static let rejectedTooManyTopics: UInt32 = 2

  private let host: Host
  private let path: String
  private let counted: Counter
  private var totals = Totals()

  /// Makes an instance; `start` reads the file.
  public init(_ configuration: TopicBytesConfiguration, host: Host) throws {
    self.host = host
    path = host.stateDirectory + "/" + configuration.file
    counted = host.counter("counted", unit: "bytes", help: "Bytes of payload that were counted.")
  }

  /// Reads the totals of earlier.
  public func start(deadline: Deadline) throws { totals = try read() }

  /// Counts a batch. Returning `.done` acknowledges what was not rejected, so it is on the disk by then.
  public func deliver(_ batch: borrowing Batch) throws -> Delivery {
    var next = totals
    var bytes = 0
    batch.forEach { message in
      switch next.add(topic: message.topic, bytes: message.payload.count) {
      case .counted: bytes += message.payload.count
      case .badTopic:
        let reason = "the topic is too long, is no UTF-8, or has a control character"
        host.settle(first: message.token, .reject(code: Self.rejectedBadTopic, reason: reason))
      case .tooManyTopics:
        host.settle(
          first: message.token, .reject(code: Self.rejectedTooManyTopics, reason: "there are too many topics"))
      }
    }
    try write(next)
    totals = next
    counted.add(bytes)
    return .done
  }

  /// Says what it has.
  public func stop() throws { host.log(.info, "\(totals.count) topics") }

  // MARK: The file

  private func failure(_ action: String, _ path: String) -> SubscriberError {
    SubscriberError(.retryable, "cannot \(action) \(path): \(String(cString: strerror(errno))); it is tried again")
  }

  private func read() throws -> Totals {
    guard let file = fopen(path, "re") else {
      if errno == ENOENT { return Totals() }
      throw failure("read", path)
    }
    defer { fclose(file) }
    var text: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { text += chunk[..<count] }
    guard ferror(file) == 0 else { throw failure("read", path) }
    guard let totals = Totals(text: String(decoding: text, as: UTF8.self)) else {
      throw SubscriberError(.fatal, "\(path) is damaged: move it away to begin anew")
    }
    return totals
  }

  /// Writes a new file, syncs it, and puts it in the old one's place: whole at any time.
  private func write(_ totals: Totals) throws {
    let fresh = path + ".new"
    guard let file = fopen(fresh, "we") else { throw failure("write", fresh) }
    let isWritten = fputs(totals.text, file) >= 0 && fflush(file) == 0 && fsync(fileno(file)) == 0
    guard fclose(file) == 0, isWritten, rename(fresh, path) == 0 else { throw failure("write", fresh) }
  }
}
