import SluiceCore
import SluiceTopology
import TestSupport
import Testing

@testable import SluiceHost

/// Which records a subscriber is given, and what becomes of the others.
@Suite struct MatchTests {
  private func matches(_ pattern: String, _ topic: String) -> Bool {
    Array(topic.utf8).withUnsafeBytes { TopicGlob(pattern).matches($0) }
  }

  @Test(arguments: [
    ("audit.*", "audit.login", true), ("audit.*", "audit.", true), ("audit.*", "audit", false),
    ("*", "", true), ("*", "anything", true), ("", "", true), ("", "x", false), ("?", "é", true), ("?", "éx", false),
    ("??", "é", false), ("*.?", "a.b.c", true), ("a*b*c", "aXbYbZc", true), ("a*b*c", "aXbYbZ", false),
    ("*é*", "caféteria", true), ("**", "x", true), ("a?c", "abc", true), ("a?c", "ac", false), ("x*", "y", false),
  ])
  func aGlobCoversTheWholeTopic(pattern: String, topic: String, expected: Bool) {
    #expect(matches(pattern, topic) == expected)
  }

  @Test func aByteThatIsNoTextCountsAsOneCharacter() {
    func matches(_ pattern: String, _ topic: [UInt8]) -> Bool {
      topic.withUnsafeBytes { TopicGlob(pattern).matches($0) }
    }
    #expect(matches("?a", [0xFF, 0x61]) && matches("?", [0xC3]) && !matches("?", [0xFF, 0xFE]))
  }

  /// Against the definition, by recursion.
  @Test func globsAgreeWithTheirDefinition() {
    func defined(_ pattern: Substring, _ topic: Substring) -> Bool {
      guard let first = pattern.first else { return topic.isEmpty }
      if first == "*" {
        return defined(pattern.dropFirst(), topic) || (!topic.isEmpty && defined(pattern, topic.dropFirst()))
      }
      guard let next = topic.first, first == "?" || first == next else { return false }
      return defined(pattern.dropFirst(), topic.dropFirst())
    }
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    for _ in 0..<5000 {
      let pattern = text(of: "ab?*é", upTo: 6, &random)
      let topic = text(of: "abé", upTo: 8, &random)
      #expect(
        matches(pattern, topic) == defined(pattern[...], topic[...]), "\(pattern) \(topic), seed \(random.seed)")
    }
  }

  private func text(of characters: String, upTo limit: Int, _ random: inout SeededGenerator) -> String {
    String((0..<Int.random(in: 0...limit, using: &random)).compactMap { _ in characters.randomElement(using: &random) })
  }

  // MARK: In a subscriber

  @Test func onlyWhatMatchesIsDeliveredAndTheCursorPassesTheRest() throws {
    let rig = try SubscriberRig("recorder") {
      $0.match = SubscriberSettings.Match(topics: ["t1"])
      $0.batch.records = 8
    }
    rig.reader.append(numbered: 0..<100)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 101))
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.lsn) == (1...100).filter { $0 % 3 == 2 })
    #expect(rig.subscriber.status.counts.passed == 67)
    #expect(rig.subscriber.status.counts.acked == 33)
  }

  @Test func sourcesTopicsAndMembersMustAllMatch() throws {
    let rig = try SubscriberRig("recorder") {
      $0.match = SubscriberSettings.Match(
        sources: ["source-2", "source-3"], topics: ["audit.*", "login"],
        members: [.init(path: "user.role", values: [.string("admin"), .null])])
    }
    let admin = #"{"user":{"role":"admin"}}"#
    rig.reader.append([
      .init(payload: admin, topic: "audit.x", source: 2), .init(payload: admin, topic: "audit.x", source: 1),
      .init(payload: admin, topic: "logout", source: 3),
      .init(payload: #"{"user":{"role":null}}"#, topic: "login", source: 3),
      .init(payload: #"{"user":{"role":"guest"}}"#, topic: "login", source: 3),
      .init(payload: "no json", topic: "login", source: 3), .init(payload: "", topic: "login", source: 3),
      .init(payload: admin, topic: "login", source: 3),
    ])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 9))
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.lsn) == [1, 4, 8])
  }

  @Test(arguments: [false, true])
  func notesOfConsumedSequencesAreNeverDelivered(selective: Bool) throws {
    let rig = try SubscriberRig("recorder") {
      if selective { $0.match = SubscriberSettings.Match(topics: ["*"]) }
    }
    rig.reader.append([
      .init(payload: "", type: RecordLayout.typeConsumed), .init(payload: "a"), .init(payload: "b"),
      .init(payload: "", type: RecordLayout.typeConsumed), .init(payload: "c"),
      .init(payload: "", type: RecordLayout.typeConsumed),
    ])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 7))
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.payload) == ["a", "b", "c"] && rig.messages.map(\.lsn) == [2, 3, 5])
    #expect(rig.subscriber.status.counts.passed == 3)
  }

  @Test func aBatchOfMatchesIsBoundedByRecordsAndBytes() throws {
    let rig = try SubscriberRig("recorder") {
      $0.match = SubscriberSettings.Match(topics: ["t0"])
      $0.batch.records = 4
      $0.batch.bytes = 3 * 72
    }
    rig.reader.append(numbered: 0..<60)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 61))
    #expect(rig.stop() == .stopped)
    #expect(rig.messages.map(\.lsn) == (1...60).filter { $0 % 3 == 1 })
    #expect(rig.subscriber.status.counts.batches == 7, "three of 72 bytes each")
  }

  @Test func retriesOfMatchesBringNothingElse() throws {
    let rig = try SubscriberRig("verdicts") { $0.match = SubscriberSettings.Match(topics: ["yes"]) }
    rig.reader.append(
      (0..<30).map { .init(payload: $0 % 5 == 0 ? "r\($0)" : "a\($0)", topic: $0 % 2 == 0 ? "yes" : "no") })
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 31))
    #expect(rig.stop() == .stopped)
    let first = rig.messages.filter { $0.attempt == 1 }.map(\.lsn)
    #expect(first == (1...30).filter { $0 % 2 == 1 }, "first deliveries come in order")
    let again = rig.messages.filter { $0.attempt > 1 }
    #expect(Set(again.map(\.lsn)) == [1, 11, 21] && again.count == 6)
  }

  @Test func aGapIsToldWhateverMatches() throws {
    let rig = try SubscriberRig("recorder") { $0.match = SubscriberSettings.Match(topics: ["t2"]) }
    rig.reader.append(numbered: 0..<12)
    rig.reader.lose(4...6)
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 13))
    #expect(rig.stop() == .stopped)
    #expect(rig.seen.filter { $0.hasPrefix("gap") } == ["gap 4 6"])
    #expect(rig.messages.map(\.lsn) == [3, 9, 12])
  }

  @Test func topicsBeyondTheTablesSizeAreAnsweredRight() throws {
    let reader = MemoryReader()
    let topics = (0..<5000).map { "topic-\($0 % 700)" }
    reader.append(topics.map { .init(payload: "x", topic: $0) })
    let match = SubscriberSettings.Match(topics: ["topic-*7", "topic-1?"])
    let matcher = try #require(RecordMatcher(match, reader: reader))
    let batch = RecordBatch(capacity: 5000)
    #expect(try reader.read(into: batch, maxRecords: 5000, maxBytes: .max) == .records)
    for index in 0..<5000 {
      let topic = topics[index]
      let expected = topic.hasSuffix("7") || (topic.hasPrefix("topic-1") && topic.count == 8)
      #expect(matcher.matches(batch[index]) == expected, "\(topic)")
    }
    batch.release()
  }

  @Test func aMatchThatLetsEverythingPassIsNone() {
    #expect(RecordMatcher(SubscriberSettings.Match(), reader: MemoryReader()) == nil)
    #expect(RecordMatcher(nil, reader: MemoryReader()) == nil)
  }
}

extension SubscriberSettings.Match {
  fileprivate init(sources: [String] = [], topics: [String] = [], members: [Member] = []) {
    self.init()
    self.sources = sources
    self.topics = topics
    self.members = members
  }
}
