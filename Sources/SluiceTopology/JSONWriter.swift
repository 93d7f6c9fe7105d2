import SluiceCore

extension JSONValue {
  /// Canonical text: no white space, members in their order, only `"`, `\` and control characters escaped, whole
  /// numbers exact, other numbers in the shortest form that reads back as the same.
  package var canonicalText: String {
    var text = ""
    write(to: &text)
    return text
  }

  private func write(to text: inout String) {
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .integer(let value): text += String(value)
    case .double(let value):
      precondition(value.isFinite, "JSON has no infinity and no NaN; whoever made this value had to refuse them")
      text += value.description
    case .string(let value): text.appendJSON(value)
    case .array(let items):
      text += "["
      for (index, item) in items.enumerated() {
        if index > 0 { text += "," }
        item.write(to: &text)
      }
      text += "]"
    case .object(let members):
      text += "{"
      for (index, member) in members.enumerated() {
        if index > 0 { text += "," }
        text.appendJSON(member.key)
        text += ":"
        member.value.write(to: &text)
      }
      text += "}"
    }
  }
}
