import Glibc

/// Points in time as RFC 3339 writes them: `2026-08-01T10:00:00Z`, with fractions and offsets; seconds may be left
/// out, and so may the time (midnight UTC).
package enum Timestamp {
  /// Nanoseconds since 1970; nil for anything else, and outside of what Int64 holds (1678 to 2262).
  package static func nanoseconds(_ text: String) -> Int64? {
    var rest = Array(text.utf8)[...]
    guard let year = number(&rest, 4), take(&rest, "-"), let month = number(&rest, 2), take(&rest, "-"),
      let day = number(&rest, 2), (1...12).contains(month), (1...days(in: month, of: year)).contains(day)
    else { return nil }
    var seconds = Int64(daysSince1970(year, month, day)) * 86_400
    var fraction: Int64 = 0
    if !rest.isEmpty {
      guard take(&rest, "T") || take(&rest, "t") || take(&rest, " "), let clock = time(&rest) else { return nil }
      seconds += clock.seconds
      fraction = clock.nanoseconds
    }
    guard rest.isEmpty else { return nil }
    let (scaled, tooLarge) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, overflow) = scaled.addingReportingOverflow(fraction)
    return tooLarge || overflow ? nil : sum
  }

  /// In UTC, with milliseconds.
  package static func text(_ wall: Int64) -> String { text(wall, digits: 3) }

  /// In UTC and to the nanosecond: what is read back is the same point in time.
  package static func exactText(_ wall: Int64) -> String { text(wall, digits: 9) }

  private static func text(_ wall: Int64, digits: Int) -> String {
    let (whole, part) = wall.quotientAndRemainder(dividingBy: 1_000_000_000)
    // Before 1970 too a fraction counts onwards from its second.
    var seconds = time_t(part < 0 ? whole - 1 : whole)
    let nanoseconds = part < 0 ? part + 1_000_000_000 : part
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func padded(_ n: Int, _ width: Int) -> String {
      let text = String(n)
      return String(repeating: "0", count: max(0, width - text.count)) + text
    }
    func two(_ n: Int32) -> String { padded(Int(n), 2) }
    return "\(padded(Int(parts.tm_year) + 1900, 4))-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
      + "T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))."
      + "\(padded(Int(nanoseconds), 9).prefix(digits))Z"
  }

  /// The clock part with its zone, as seconds to add to the day's beginning in UTC.
  private static func time(_ rest: inout ArraySlice<UInt8>) -> (seconds: Int64, nanoseconds: Int64)? {
    guard let hour = number(&rest, 2), take(&rest, ":"), let minute = number(&rest, 2), hour < 24, minute < 60 else {
      return nil
    }
    var second = 0
    var fraction: Int64 = 0
    if take(&rest, ":") {
      guard let value = number(&rest, 2), value < 60 else { return nil }
      second = value
      if take(&rest, ".") {
        var scale: Int64 = 100_000_000
        guard let first = rest.first, isDigit(first) else { return nil }
        while let byte = rest.first, isDigit(byte) {
          fraction += Int64(byte - UInt8(ascii: "0")) * scale
          scale /= 10
          rest = rest.dropFirst()
        }
      }
    }
    guard let offset = zone(&rest) else { return nil }
    return (Int64(hour * 3600 + minute * 60 + second - offset), fraction)
  }

  private static func zone(_ rest: inout ArraySlice<UInt8>) -> Int? {
    if take(&rest, "Z") || take(&rest, "z") { return 0 }
    let sign: Int
    if take(&rest, "+") { sign = 1 } else if take(&rest, "-") { sign = -1 } else { return nil }
    guard let hours = number(&rest, 2), take(&rest, ":"), let minutes = number(&rest, 2), hours < 24, minutes < 60
    else {
      return nil
    }
    return sign * (hours * 3600 + minutes * 60)
  }

  private static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

  private static func number(_ rest: inout ArraySlice<UInt8>, _ digits: Int) -> Int? {
    let part = rest.prefix(digits)
    guard part.count == digits, part.allSatisfy(isDigit) else { return nil }
    rest = rest.dropFirst(digits)
    return part.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
  }

  private static func take(_ rest: inout ArraySlice<UInt8>, _ byte: Unicode.Scalar) -> Bool {
    guard rest.first == UInt8(ascii: byte) else { return false }
    rest = rest.dropFirst()
    return true
  }

  private static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

  private static func days(in month: Int, of year: Int) -> Int {
    [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
  }

  /// Days from 1970-01-01 in the Gregorian calendar, counting years from March so that leap days come last.
  private static func daysSince1970(_ year: Int, _ month: Int, _ day: Int) -> Int {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }
}
