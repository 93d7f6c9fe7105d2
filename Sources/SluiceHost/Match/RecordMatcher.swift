// Which records of a stream are delivered: a subscriber's `match`, or what `tap` was asked for.
//
//   delivered  ⇔  type = data ∧ (no sources ∨ its source is one of them) ∧ (no topics ∨ one of the globs covers its topic)
//                 ∧ (no members ∨ its payload is a JSON object in which every member has one of its values)
//
// Nothing is allocated per record: a source is looked up by its id, a topic in a table of the last ones seen, a payload
// is read in place.

import Glibc
import SluiceCore
import SluiceTopology

/// Owned by one thread, for the records of one reader; so what is looked at for each record is exempt from exclusivity
/// checks.
package final class RecordMatcher {
  private let sourceName: (UInt16) -> String
  private let sources: Set<String>
  private let topics: TopicTable?
  private let members: JSONMembers?
  /// By id: 0 not asked yet, 1 delivered, 2 not.
  @exclusivity(unchecked) private var sourceAnswers: [UInt8] = []

  /// Nil if `match` lets everything pass.
  package convenience init?(_ match: SubscriberSettings.Match?, reader: any StreamReader) {
    self.init(match) { reader.sourceName($0) }
  }

  /// `sourceName` is asked once for each source.
  package init?(_ match: SubscriberSettings.Match?, sourceName: @escaping (UInt16) -> String) {
    guard let match, match != SubscriberSettings.Match() else { return nil }
    self.sourceName = sourceName
    sources = Set(match.sources)
    topics = match.topics.isEmpty ? nil : TopicTable(match.topics.map(TopicGlob.init))
    members = match.members.isEmpty ? nil : JSONMembers(match.members.map(\.compiled))
  }

  package func matches(_ record: RecordView) -> Bool {
    guard record.type == RecordLayout.typeData else { return false }
    if !sources.isEmpty, !isWanted(source: record.source) { return false }
    if let topics, !topics.matches(record.topic) { return false }
    if let members, !members.match(record.payload) { return false }
    return true
  }

  private func isWanted(source id: UInt16) -> Bool {
    let index = Int(id)
    if index >= sourceAnswers.count {
      sourceAnswers.append(contentsOf: repeatElement(0, count: index + 1 - sourceAnswers.count))
    }
    if sourceAnswers[index] == 0 { sourceAnswers[index] = sources.contains(sourceName(id)) ? 1 : 2 }
    return sourceAnswers[index] == 1
  }
}

extension SubscriberSettings.Match.Member {
  /// The path taken apart at its dots. The topology has checked its depth and that the values are scalars.
  var compiled: JSONMembers.Member {
    JSONMembers.Member(
      path: path.split(separator: ".", omittingEmptySubsequences: false).map(String.init),
      values: values.compactMap { value in
        switch value {
        case .null: .null
        case .bool(let value): .bool(value)
        case .integer(let value): .integer(value)
        case .double(let value): .double(value)
        case .string(let text): .string(text)
        case .array, .object: nil
        }
      })
  }
}

/// What the globs said of the topics seen last: one place per checksum, so that a new topic drives out an old one.
private final class TopicTable {
  private struct Place {
    var count: UInt8
    var isKnown: Bool
    var isWanted: Bool
  }

  private let globs: [TopicGlob]
  private let places: UnsafeMutablePointer<Place>
  private let texts: UnsafeMutableRawPointer

  init(_ globs: [TopicGlob]) {
    self.globs = globs
    places = .allocate(capacity: Limits.rememberedTopics)
    places.initialize(
      repeating: Place(count: 0, isKnown: false, isWanted: false), count: Limits.rememberedTopics)
    texts = .allocate(byteCount: Limits.rememberedTopics * Limits.maxTopicBytes, alignment: 8)
  }

  deinit {
    places.deallocate()
    texts.deallocate()
  }

  func matches(_ topic: UnsafeRawBufferPointer) -> Bool {
    let index = Int(CRC32C.of(topic)) & (Limits.rememberedTopics - 1)
    let place = places[index]
    let text = texts + index * Limits.maxTopicBytes
    if place.isKnown, Int(place.count) == topic.count {
      guard let base = topic.baseAddress, memcmp(text, base, topic.count) != 0 else { return place.isWanted }
    }
    let isWanted = globs.contains { $0.matches(topic) }
    // A record's topic is never longer than its place.
    if let base = topic.baseAddress { text.copyMemory(from: base, byteCount: topic.count) }
    places[index] = Place(count: UInt8(topic.count), isKnown: true, isWanted: isWanted)
    return isWanted
  }
}
