import Testing

@testable import SluiceTopology

@Test(
  "A pattern is found, or not",
  arguments: [
    ("", "", true), ("", "x", true), ("abc", "xabcx", true), ("abc", "ab", false), ("^abc$", "abc", true),
    ("^abc$", "xabc", false), ("^abc$", "abc\n", false), ("a.c", "a\nc", false), ("a.c", "a𝄞c", true),
    ("^[a-z_][a-z0-9_]*$", "events_1", true), ("^[a-z_][a-z0-9_]*$", "1events", false), ("^[^0-9]+$", "abc", true),
    ("^[^0-9]+$", "a1", false), ("^[-a]+$", "a-a", true), ("^[a-]+$", "a-", true), ("^[\\]x]$", "]", true),
    ("^(a|bc)+$", "abcbca", true), ("^(a|bc)+$", "ab", false), ("^(?:a|)$", "", true), ("^a?$", "aa", false),
    ("^a{2}$", "aa", true), ("^a{2}$", "a", false), ("^a{2,}$", "aaaa", true), ("^a{1,3}$", "aaaa", false),
    ("^a{0}$", "", true), ("^\\d+\\.\\d+$", "10.25", true), ("^\\d+$", "٣", false), ("^\\w+$", "a_9", true),
    ("^\\S+$", "a b", false), ("^[\\d\\s]+$", "1 2", true), ("^[\\D]+$", "ab", true), ("^[\\D]+$", "a1", false),
    ("^\\x41\\u00e4$", "Aä", true), ("^\\^\\$$", "^$", true), ("a|^b", "xb", false), ("(a*)*$", "b", true),
    ("^(a*)*b$", "aaab", true), ("x$|^y", "yz", true), ("^https?://[^/]+(:\\d+)?$", "https://host:80", true),
  ])
func pattern(_ pattern: String, _ text: String, _ isFound: Bool) throws {
  #expect(try Pattern(pattern).isFound(in: text) == isFound)
}

@Test(
  "What is not a known pattern is refused",
  arguments: [
    "*", "a**", "a*?", "a++", "(a", "a)", "[a", "[", "a{", "a{2", "a{2,1}", "a{x}", "{1}", "a]", "}", "\\", "\\b",
    "\\1",
    "\\q", "(?=a)", "(?!a)", "(?<n>a)", "^*", "[z-a]", "\\x1", "a{99999}", "\\u12", "(a{1000}){1000}",
    "((((){1000}){1000}){1000}){1000}",
  ])
func noPattern(_ text: String) { #expect(throws: Pattern.Fault.self) { try Pattern(text) } }

@Test func groupsNestedTooDeepAreRefused() {
  let text = String(repeating: "(", count: 100_000) + String(repeating: ")", count: 100_000)
  #expect(throws: Pattern.Fault.self) { try Pattern(text) }
}

@Test func noPatternExplodes() throws {
  let text = String(repeating: "a", count: 2000)
  for evil in ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(a*)*b", "^(([a-z])+.)+[A-Z]([a-z])+$"] {
    _ = try Pattern(evil).isFound(in: text + "!")
  }
}
