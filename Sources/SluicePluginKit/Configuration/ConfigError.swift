/// What is wrong with a config, and where in it.
public struct ConfigError: Error, Equatable, Sendable, CustomStringConvertible {
  /// JSON Pointer to the value at fault; "" is the config as a whole.
  public var pointer: String
  /// What is wrong and what was expected.
  public var problem: String

  /// An error at `pointer`.
  public init(at pointer: String, _ problem: String) {
    self.pointer = pointer
    self.problem = problem
  }

  /// A message for people.
  public var description: String { pointer.isEmpty ? "config: \(problem)" : "config \(pointer): \(problem)" }

  init(at path: [any CodingKey], _ problem: String) { self.init(at: pointerText(path), problem) }

  /// Whatever decoding threw; `path` is where, for errors that don't know.
  init(_ error: any Error, at path: [any CodingKey]) {
    switch error {
    case let error as ConfigError: self = error
    case let error as DecodingError: self.init(error)
    default: self.init(at: path, "\(error)")
    }
  }

  private init(_ error: DecodingError) {
    switch error {
    case .keyNotFound(let key, let context): self.init(at: context.codingPath + [key], "is required")
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
      self.init(at: context.codingPath, context.debugDescription)
    @unknown default: self.init(at: "", "\(error)")
    }
  }
}

extension Decoder {
  /// An error about the value that is being decoded, to be thrown from an `init(from:)`.
  public func fault(_ problem: String) -> ConfigError { ConfigError(at: codingPath, problem) }
}

/// An index in a list, or the name of a member, as a step of a path.
struct Step: CodingKey {
  let stringValue: String
  let intValue: Int?

  init(index: Int) {
    stringValue = "\(index)"
    intValue = index
  }

  init(stringValue: String) {
    self.stringValue = stringValue
    intValue = nil
  }

  init?(intValue: Int) { self.init(index: intValue) }
}

/// The path as a JSON Pointer.
func pointerText(_ path: [any CodingKey]) -> String {
  var text = ""
  for key in path {
    text += "/"
    for character in key.stringValue {
      switch character {
      case "~": text += "~0"
      case "/": text += "~1"
      default: text.append(character)
      }
    }
  }
  return text
}
