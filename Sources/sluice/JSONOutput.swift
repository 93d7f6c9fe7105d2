import SluiceTopology

/// `["kind": .string("disk")]` as an object that keeps its order, for what the commands print.
extension JSONValue: ExpressibleByDictionaryLiteral {
  package init(dictionaryLiteral members: (String, JSONValue)...) {
    self = .object(members.map { Member($0.0, $0.1) })
  }
}

extension JSONValue {
  /// A count; LSNs beyond `Int64.max` do not occur in the life of a log.
  static func count(_ value: some BinaryInteger) -> JSONValue { .integer(Int64(clamping: value)) }

  var string: String? { if case .string(let text) = self { text } else { nil } }
  var array: [JSONValue]? { if case .array(let items) = self { items } else { nil } }
  var members: [Member]? { if case .object(let members) = self { members } else { nil } }
}
