/// What stands under a subscriber's `config` in the topology, as a Swift type. The kit makes the JSON Schema of the kind
/// from it, so that the daemon checks configs with the place of each mistake, and decodes what passed.
///
///     struct ArchiveConfiguration: SubscriberConfiguration {
///       enum Compression: String, Codable, CaseIterable { case none, zstd }
///
///       var directory: String
///       var compression: Compression
///       var rotate: ByteCount
///       var timeout: Nanoseconds
///       var token: Secret?
///
///       enum CodingKeys: String, CodingKey { case directory, compression, rotate = "rotate_bytes", timeout, token }
///
///       static let fields = FieldTable(
///         CodingKeys.self,
///         [
///           .directory: Field("Where the files go; made if it is missing.", minLength: 1),
///           .compression: Field("How files are compressed.", default: Compression.zstd),
///           .rotate: Field("A file of this size is finished.", default: .mebibytes(64), minimum: ByteCount(4096)),
///           .timeout: Field("How long a write may take.", default: Nanoseconds.seconds(10)),
///           .token: Field("What the server asks for."),
///         ])
///     }
///
/// The type says what a value is: `Bool`, integers, `Double`, `String`, enums with raw strings that are `CaseIterable`,
/// arrays, dictionaries with `String` keys, other structs, `ByteCount`, `Nanoseconds`, `Secret`, and `JSONValue` for
/// anything. The table says what a type can't: a sentence for people, the default, bounds. A key is required unless its
/// property is an Optional or it has a default, which the daemon and the kit both fill in, so that a property with a
/// default needs no initial value. Keys that are no property are refused.
///
/// A type of its own that decodes itself from a string or a number and refuses some takes its sample from the field's
/// default or `example`. It throws `decoder.fault("is no …")`, which points to the value.
public protocol SubscriberConfiguration: Decodable, Sendable {
  /// What the types of the properties can't say.
  static var fields: FieldTable { get }

  /// Finds what neither types nor table can say: values that contradict each other. Pure, and called whenever a config
  /// was decoded; `Secret` values may be placeholders. Pointers of a `ConfigError` start at this value.
  func check() throws
}

extension SubscriberConfiguration {
  /// Nothing but the types.
  public static var fields: FieldTable { FieldTable() }
  /// Whatever decodes is good.
  public func check() throws {}

  /// Decodes a config from its JSON text, with defaults filled in.
  public init(json: String) throws(ConfigError) {
    do {
      self = try ConfigDecoder.decode(Self.self, from: try JSONValue(reading: json), at: [])
    } catch {
      throw ConfigError(error, at: [])
    }
  }

  init(json: UnsafeRawBufferPointer) throws(ConfigError) {
    do {
      self = try ConfigDecoder.decode(Self.self, from: try JSONValue(reading: json), at: [])
    } catch {
      throw ConfigError(error, at: [])
    }
  }

  /// The JSON Schema that is made of this type. Throws when one can't be: `sluice check` then says the same, so a test
  /// of the plugin's own should ask.
  public static func schema() throws(ConfigError) -> JSONValue {
    do {
      return try SchemaRecorder.describe(Self.self, nil, at: []).schema
    } catch {
      throw ConfigError(error, at: [])
    }
  }
}

/// The config of a kind that has nothing to be configured.
public struct NoConfiguration: SubscriberConfiguration, Equatable {
  /// The only one there is.
  public init() {}
}
