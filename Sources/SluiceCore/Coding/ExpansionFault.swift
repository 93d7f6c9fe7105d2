// The content codings of bodies (RFC 9110, 8.4), and what can be wrong with one.

package enum ContentCoding: UInt8, Sendable, CaseIterable {
  case identity, gzip, zstd
}

/// Why a compressed body could not be expanded.
package enum ExpansionFault: Error, Equatable, Sendable, CaseIterable {
  case tooLarge
  case notDecodable
  case cutShort
  case trailingBytes
  case dictionary
  case windowTooLarge
  case tooManyMembers
  case noMemory

  /// The name that stands in an answer; clients may depend on it.
  package var code: StaticString {
    switch self {
    case .tooLarge: "body_too_large"
    case .notDecodable: "bad_encoding"
    case .cutShort: "encoding_cut_short"
    case .trailingBytes: "encoding_trailing_bytes"
    case .dictionary: "encoding_dictionary"
    case .windowTooLarge: "encoding_window_too_large"
    case .tooManyMembers: "encoding_too_many_members"
    case .noMemory: "encoding_no_memory"
    }
  }

  package var detail: StaticString {
    switch self {
    case .tooLarge: "the body expands to more than the source takes; send fewer records at once"
    case .notDecodable: "the body is not what Content-Encoding says"
    case .cutShort: "the compressed body ends too early"
    case .trailingBytes: "something follows the compressed body"
    case .dictionary: "the body was compressed with a dictionary, of which there is none here"
    case .windowTooLarge: "the zstd window must not exceed 8 MiB"
    case .tooManyMembers: "the body has more than 4096 gzip members or zstd frames; compress it as one"
    case .noMemory: "there is no memory to expand the body; send it again"
    }
  }
}
