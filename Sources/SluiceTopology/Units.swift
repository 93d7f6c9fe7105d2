/// Sizes and durations as a person writes them.
///
///     size      digits [unit]              B kB KB MB GB TB (powers of 1000)  KiB MiB GiB TiB (powers of 1024)
///     duration  (digits unit)+             ns us µs ms s m h d, each at most once, from large to small; 0 alone
///
/// Whole numbers only; what does not fit into Int64 is refused.
package enum Units {
  static let sizeExamples = "a size such as 512KiB, 64MiB or 10GiB; a plain number is bytes"
  static let durationExamples = "a duration such as 50ms, 30s, 1h30m or 7d"

  private static let sizes: [(String, Int64)] = [
    ("", 1), ("B", 1), ("kB", 1000), ("KB", 1000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40),
  ]
  private static let durations: [(String, Int64)] = [
    ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000),
    ("ms", 1_000_000), ("us", 1000), ("µs", 1000), ("μs", 1000), ("ns", 1),
  ]

  /// Bytes.
  package static func size(_ text: String) -> Int64? {
    var rest = text[...]
    guard let count = number(&rest), let unit = sizes.first(where: { $0.0 == rest }) else { return nil }
    return scaled(count, unit.1)
  }

  /// Nanoseconds.
  package static func duration(_ text: String) -> Int64? {
    if text == "0" { return 0 }
    var rest = text[...]
    var total: Int64 = 0
    var last = Int64.max
    repeat {
      guard let count = number(&rest) else { return nil }
      let name = rest.prefix { !$0.isASCII || $0.isLetter }
      guard let unit = durations.first(where: { $0.0 == name }), unit.1 < last, let part = scaled(count, unit.1) else {
        return nil
      }
      let (sum, overflow) = total.addingReportingOverflow(part)
      guard !overflow else { return nil }
      total = sum
      last = unit.1
      rest = rest.dropFirst(name.count)
    } while !rest.isEmpty
    return total
  }

  /// The largest unit that says it exactly: "64MiB".
  package static func describe(bytes: Int64) -> String {
    for (name, factor) in [("TiB", Int64(1) << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
    where bytes != 0 && bytes % factor == 0 {
      return "\(bytes / factor)\(name)"
    }
    return "\(bytes) bytes"
  }

  /// The largest unit that says it exactly: "90m".
  package static func describe(nanoseconds: Int64) -> String {
    for (name, factor) in durations where nanoseconds % factor == 0 && nanoseconds != 0 {
      return "\(nanoseconds / factor)\(name)"
    }
    return "0s"
  }

  private static func number(_ rest: inout Substring) -> Int64? {
    let digits = rest.prefix { $0.isASCII && $0.isWholeNumber }
    rest = rest.dropFirst(digits.count)
    return Int64(digits)
  }

  private static func scaled(_ count: Int64, _ factor: Int64) -> Int64? {
    let (product, overflow) = count.multipliedReportingOverflow(by: factor)
    return overflow ? nil : product
  }
}
