// How many bytes a second the scanner of JSON checks, by the kind of text: json-bench [ROUNDS]
//
// Each round scans a megabyte of texts that differ from each other, so that no branch is learnt by heart; the best round
// counts. Build it with `swift build -c release --product json-bench`.

import Glibc
import SluiceCore

/// A linear congruential generator: the same texts in every run.
struct Numbers {
  private var state: UInt64 = 12_345

  mutating func below(_ bound: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int(state >> 33) % bound
  }
}

func logLine(_ random: inout Numbers, separator: String = ",") -> String {
  let level = ["info", "warn", "error", "debug"][random.below(4)]
  return [
    #"{"time":"2026-01-31T12:\#(10 + random.below(50)):\#(10 + random.below(50)).\#(100 + random.below(900))Z""#,
    #""level":"\#(level)""#,
    #""message":"request \#(random.below(100_000)) from 192.0.2.\#(random.below(255)) took \#(random.below(900)) ms""#,
    #""logger":"http.server.access""#, #""host":"node-\#(random.below(99)).example.net""#, #""method":"GET""#,
    #""path":"/api/v1/items/\#(random.below(1_000_000))""#, #""status":200"#,
    #""duration_ms":\#(random.below(1000)).\#(random.below(100))"#, #""trace":"4bf92f3577b34da6a3ce929d0e0e4736"}"#,
  ].joined(separator: separator)
}

func measurements(_ random: inout Numbers) -> String {
  let values = (0..<40).map { _ in
    "\(random.below(2) == 0 ? "-" : "")\(random.below(100_000)).\(random.below(1_000_000))"
  }
  return #"{"message":"m","values":[\#(values.joined(separator: ","))]}"#
}

func otherScripts(_ random: inout Numbers) -> String {
  let words = ["größe", "世界", "привет", "😀", "straße", "ελληνικά", "日本語"]
  let text = (0..<20).map { _ in words[random.below(words.count)] }.joined(separator: " ")
  return #"{"message":"\#(text)"}"#
}

let kinds: [(String, (inout Numbers) -> String)] = [
  ("log lines", { logLine(&$0) }),
  ("log lines, spread out", { logLine(&$0, separator: ",\n    ") }),
  ("one long string", { #"{"message":"\#(String(repeating: "abcdefgh ", count: 100 + $0.below(20)))"}"# }),
  ("numbers", { measurements(&$0) }),
  ("other scripts", { otherScripts(&$0) }),
]

let rounds = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 20 : 20
for (name, make) in kinds {
  var random = Numbers()
  var texts: [[UInt8]] = []
  var bytes = 0
  while bytes < 1 << 20 {
    texts.append(Array(make(&random).utf8))
    bytes += texts[texts.count - 1].count
  }
  var best = Int64.max
  for _ in 0..<rounds {
    let start = Clock.monotonic()
    for text in texts {
      guard (try? text.withUnsafeBytes({ try JSONScanner.message(of: $0, maxDepth: Limits.maxJSONDepth) })) != nil
      else {
        fatalError("\(name) are no JSON")
      }
    }
    best = min(best, Clock.monotonic() - start)
  }
  let rate = Double(bytes) / Double(best)
  print("\(name): \(bytes / texts.count) bytes each, \((rate * 100).rounded() / 100) GB/s")
}
