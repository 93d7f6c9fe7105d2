import RecordLines
import SluicePluginKit

/// What the topology says under `config`.
package struct DiskConfig: SubscriberConfiguration, Equatable {
  package var path: String
  package var format: LineFormat
  package var rotateBytes: ByteCount
  package var filePrefix: String

  /// The smallest file worth a rename.
  package static let minRotateBytes: ByteCount = 4096
  /// A sealed file's name must fit what file systems take (255 bytes) with its two numbers and its ending.
  package static let maxPrefixBytes = 128

  package enum CodingKeys: String, CodingKey {
    case path, format
    case rotateBytes = "rotate_bytes"
    case filePrefix = "file_prefix"
  }

  package static let fields = FieldTable(
    CodingKeys.self,
    [
      .path: Field("Directory for the files; made if it is missing.", minLength: 1, otherwise: "names no directory"),
      .format: LineFormat.field,
      .rotateBytes: Field(
        "A file that reaches this size is sealed under its final name.", default: .mebibytes(256),
        minimum: minRotateBytes),
      .filePrefix: Field(
        "What the names of sealed files begin with.", default: "records", maxLength: maxPrefixBytes,
        pattern: "^[A-Za-z0-9_][A-Za-z0-9._-]*$",
        otherwise:
          "is not made of at most \(maxPrefixBytes) letters, digits, '_', '-' and '.', or begins with '-' or '.'"),
    ])

  package func check() throws {
    guard !path.utf8.contains(0) else { throw ConfigError(at: "/path", "names no directory") }
  }
}
