/// Records and bytes per topic, and their form in a file: one line per topic, with tabs between topic, records and bytes.
public struct Totals: Equatable, Sendable {
  /// More topics than this are a producer's mistake.
  public static let maxTopics = 65536
  /// A longer topic is one, too.
  public static let maxTopicBytes = 1024

  /// What became of a record.
  public enum Outcome: Sendable {
    /// It is in the totals.
    case counted
    /// Its topic can't stand in a line of the file.
    case badTopic
    /// Its topic is new, and there is no room for more.
    case tooManyTopics
  }

  private struct Total: Equatable {
    var records: UInt64
    var bytes: UInt64
  }

  private var byTopic: [String: Total] = [:]

  /// Nothing yet.
  public init() {}

  /// Topics in it.
  public var count: Int { byTopic.count }

  /// Counts one record.
  public mutating func add(topic: UnsafeRawBufferPointer, bytes: Int) -> Outcome {
    guard topic.count <= Self.maxTopicBytes, topic.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }),
      let name = String(validating: topic, as: UTF8.self)
    else { return .badTopic }
    guard byTopic[name] != nil || byTopic.count < Self.maxTopics else { return .tooManyTopics }
    byTopic[name, default: Total(records: 0, bytes: 0)].records += 1
    byTopic[name]?.bytes += UInt64(bytes)
    return .counted
  }

  /// The file's text, sorted by topic.
  public var text: String {
    byTopic.sorted { $0.key < $1.key }.map { "\($0.key)\t\($0.value.records)\t\($0.value.bytes)\n" }.joined()
  }

  /// From a file's text; nil if it is damaged.
  public init?(text: String) {
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
      guard fields.count == 3, let records = UInt64(fields[1]), let bytes = UInt64(fields[2]) else { return nil }
      byTopic[String(fields[0])] = Total(records: records, bytes: bytes)
    }
  }
}
