import Testing
import TopicBytesKind

@Suite struct TotalsTests {
  private func add(_ topic: String, bytes: Int, to totals: inout Totals) -> Totals.Outcome {
    Array(topic.utf8).withUnsafeBytes { totals.add(topic: $0, bytes: bytes) }
  }

  @Test("Totals add up per topic, and are the same after a way through the file")
  func totalsAddUp() throws {
    var totals = Totals()
    for (topic, bytes) in [("web", 3), ("audit", 2), ("web", 1), ("", 5)] {
      #expect(add(topic, bytes: bytes, to: &totals) == .counted)
    }
    #expect(totals.text == "\t1\t5\naudit\t1\t2\nweb\t2\t4\n")
    #expect(Totals(text: totals.text) == totals)
  }

  @Test("What can't stand in a line is refused, and a damaged file is told from an empty one")
  func badInput() {
    var totals = Totals()
    #expect(add("bad\ttopic", bytes: 1, to: &totals) == .badTopic)
    #expect(add(String(repeating: "x", count: Totals.maxTopicBytes + 1), bytes: 1, to: &totals) == .badTopic)
    #expect(totals == Totals() && Totals(text: "") == totals)
    #expect(Totals(text: "web\tmany\t1\n") == nil)
  }
}
