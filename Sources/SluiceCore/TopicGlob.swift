// A topic pattern: `*` stands for any run of characters, `?` for one, everything else for itself. A character is one
// UTF-8 sequence; a byte that belongs to none counts as one, since topics may be any bytes.

package struct TopicGlob: Sendable {
  private let pattern: [UInt8]

  package init(_ pattern: String) { self.pattern = Array(pattern.utf8) }

  /// Whether the pattern covers all of `topic`. Steps: at most the product of both lengths.
  package func matches(_ topic: UnsafeRawBufferPointer) -> Bool {
    pattern.withUnsafeBytes { TopicGlob.match($0, topic) }
  }

  private static func match(_ pattern: UnsafeRawBufferPointer, _ topic: UnsafeRawBufferPointer) -> Bool {
    var at = 0
    var place = 0
    // Behind the last star, and where the topic goes on if that star takes one character more.
    var star = -1
    var resume = 0
    while at < topic.count {
      if place < pattern.count, pattern[place] == UInt8(ascii: "*") {
        place += 1
        star = place
        resume = at
      } else if place < pattern.count, pattern[place] == UInt8(ascii: "?") {
        place += 1
        at += length(of: topic, at)
      } else if place < pattern.count, pattern[place] == topic[at] {
        place += 1
        at += 1
      } else if star >= 0 {
        resume += length(of: topic, resume)
        at = resume
        place = star
      } else {
        return false
      }
    }
    while place < pattern.count, pattern[place] == UInt8(ascii: "*") { place += 1 }
    return place == pattern.count
  }

  /// Bytes of the character at `at`.
  private static func length(of topic: UnsafeRawBufferPointer, _ at: Int) -> Int {
    guard topic[at] >= 0x80, let base = topic.baseAddress else { return 1 }
    return max(1, UTF8Bytes.sequence(base, at, topic.count))
  }
}
