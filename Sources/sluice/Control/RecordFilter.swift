import ArgumentParser
import SluiceTopology

/// Which records are meant, in the terms of a subscriber's `match`.
struct RecordFilter: ParsableArguments {
  @Option(help: "Only records of this source; repeatable.")
  var source: [String] = []

  @Option(help: "Only records whose topic this covers: * any run of characters, ? one; repeatable.")
  var topic: [String] = []

  @Option(
    name: .customLong("match"),
    help:
      "MEMBER=VALUE: only records whose JSON has it; dots lead into objects; the same member may have several values.")
  var matches: [String] = []

  /// What the records' JSON must have.
  func members() throws -> [JSONValue.Member] {
    var members: [JSONValue.Member] = []
    for match in matches {
      guard let equals = match.firstIndex(of: "="), equals != match.startIndex else {
        throw ValidationError("--match takes MEMBER=VALUE, such as level=error")
      }
      let (path, text) = (String(match[..<equals]), String(match[match.index(after: equals)...]))
      // A value may be meant as the text or as what that says in JSON: both are right.
      var values: [JSONValue] = [.string(text)]
      if let value = try? JSONValue(parsing: Array(text.utf8)), value.array == nil, value.members == nil {
        values.append(value)
      }
      if let place = members.firstIndex(where: { $0.key == path }) {
        members[place].value = .array((members[place].value.array ?? []) + values)
      } else {
        members.append(.init(path, .array(values)))
      }
    }
    return members
  }

  func match() throws -> SubscriberSettings.Match {
    var match = SubscriberSettings.Match()
    match.sources = source
    match.topics = topic
    do { match.members = try TapRequest.members(.object(members())) } catch let error as ControlError {
      throw ValidationError(error.message)
    }
    return match
  }
}
