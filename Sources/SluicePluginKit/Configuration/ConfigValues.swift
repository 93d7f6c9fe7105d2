/// A size, which the topology writes as `64MiB` or a plain number of bytes.
public struct ByteCount: Hashable, Comparable, Codable, Sendable, ExpressibleByIntegerLiteral {
  /// Bytes, not negative in a config.
  public var bytes: Int

  /// So many bytes.
  public init(_ bytes: Int) { self.bytes = bytes }
  /// So many bytes.
  public init(integerLiteral bytes: Int) { self.bytes = bytes }
  /// From a plain number.
  public init(from decoder: any Decoder) throws { bytes = try Int(from: decoder) }
  /// As a plain number.
  public func encode(to encoder: any Encoder) throws { try bytes.encode(to: encoder) }

  /// Times 1024.
  public static func kibibytes(_ count: Int) -> ByteCount { ByteCount(count << 10) }
  /// Times 1024².
  public static func mebibytes(_ count: Int) -> ByteCount { ByteCount(count << 20) }
  /// Times 1024³.
  public static func gibibytes(_ count: Int) -> ByteCount { ByteCount(count << 30) }

  /// The smaller one is less.
  public static func < (left: ByteCount, right: ByteCount) -> Bool { left.bytes < right.bytes }
}

/// A length of time, which the topology writes as `50ms` or `1h30m`.
public struct Nanoseconds: Hashable, Comparable, Codable, Sendable {
  /// How many, not negative in a config.
  public var count: Int64

  /// So many nanoseconds.
  public init(_ count: Int64) { self.count = count }
  /// From a plain number.
  public init(from decoder: any Decoder) throws { count = try Int64(from: decoder) }
  /// As a plain number.
  public func encode(to encoder: any Encoder) throws { try count.encode(to: encoder) }

  /// So many thousandths of a second.
  public static func milliseconds(_ count: Int64) -> Nanoseconds { Nanoseconds(count * 1_000_000) }
  /// So many seconds.
  public static func seconds(_ count: Int64) -> Nanoseconds { Nanoseconds(count * 1_000_000_000) }
  /// So many minutes.
  public static func minutes(_ count: Int64) -> Nanoseconds { .seconds(count * 60) }
  /// So many hours.
  public static func hours(_ count: Int64) -> Nanoseconds { .seconds(count * 3600) }

  /// As the standard library has it.
  public var duration: Duration { .nanoseconds(count) }

  /// The shorter one is less.
  public static func < (left: Nanoseconds, right: Nanoseconds) -> Bool { left.count < right.count }

  /// As a schema's default is written: `10s`, `1500us`.
  var text: String {
    let units: [(String, Int64)] = [
      ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000),
    ]
    for (name, size) in units where count != 0 && count % size == 0 { return "\(count / size)\(name)" }
    return "\(count)ns"
  }
}

/// A string that is shown nowhere: not by the daemon, which blanks it wherever it shows a config, and not when it is
/// printed, logged or mirrored here. It can't be encoded, so it has no default. In `validate` and
/// `SubscriberConfiguration.check` it may be a placeholder.
public struct Secret: Hashable, Decodable, Sendable, CustomStringConvertible, CustomDebugStringConvertible,
  CustomReflectable
{
  /// The string itself. Let it get into no message.
  public let revealed: String

  /// Keeps a string to itself.
  public init(_ revealed: String) { self.revealed = revealed }
  /// From a string.
  public init(from decoder: any Decoder) throws { revealed = try String(from: decoder) }

  /// Three stars.
  public var description: String { "***" }
  /// Three stars.
  public var debugDescription: String { "***" }
  /// Shows no part.
  public var customMirror: Mirror { Mirror(self, children: []) }
}
