import RecordLines
import SluicePluginKit

/// What the topology says under `config`.
package struct DiskConfig: Equatable, Sendable {
  package var path: String
  package var format: LineFormat
  package var rotateBytes: Int
  package var filePrefix: String

  /// The smallest file worth a rename.
  package static let minRotateBytes = 4096
  package static let defaultRotateBytes = 256 << 20
  /// A sealed file's name must fit what file systems take (255 bytes) with its two numbers and its ending.
  package static let maxPrefixBytes = 128

  package static let schema = """
    {
      "type": "object",
      "required": ["path"],
      "additionalProperties": false,
      "properties": {
        "path": {
          "type": "string", "minLength": 1,
          "description": "Directory for the files; made if it is missing."
        },
        "format": {
          "type": "string", "enum": ["ndjson", "raw"], "default": "ndjson",
          "description": "ndjson: each record is one line of JSON. raw: each record's payload, then a newline."
        },
        "rotate_bytes": {
          "type": ["string", "integer"], "format": "sluice-size", "minimum": \(minRotateBytes),
          "default": \(defaultRotateBytes),
          "description": "A file that reaches this size is sealed under its final name."
        },
        "file_prefix": {
          "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*$", "maxLength": \(maxPrefixBytes),
          "default": "records",
          "description": "What the names of sealed files begin with."
        }
      }
    }
    """

  package init(_ config: Config) throws(ConfigError) {
    path = try config.string("path")
    guard !path.isEmpty, !path.utf8.contains(0) else { throw config.error("path", "names no directory") }
    format = try config.choice("format", default: .ndjson)
    rotateBytes = Int(
      try config.integer(
        "rotate_bytes", in: Int64(DiskConfig.minRotateBytes)...Int64.max, default: Int64(DiskConfig.defaultRotateBytes))
    )
    filePrefix = try config.string("file_prefix", default: "records")
    let allowed = filePrefix.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
        true
      default: false
      }
    }
    guard allowed, !filePrefix.isEmpty, !filePrefix.hasPrefix("."), !filePrefix.hasPrefix("-"),
      filePrefix.utf8.count <= DiskConfig.maxPrefixBytes
    else {
      throw config.error(
        "file_prefix", "\"\(filePrefix)\" is not made of letters, digits, '_', '-' and '.', or begins with '-' or '.'")
    }
  }
}
