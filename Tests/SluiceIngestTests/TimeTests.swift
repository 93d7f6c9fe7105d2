import Glibc
import SluiceCore
import Testing

@testable import SluiceIngest

@Suite("Dates")
struct TimeTests {
  func nanoseconds(_ text: String) -> Int64? {
    Array(text.utf8).withUnsafeBytes { EventTime.nanoseconds($0) }
  }

  @Test(
    arguments: [
      ("0", 0), ("1769857200250000000", 1_769_857_200_250_000_000), ("9223372036854775807", Int64.max),
      ("1970-01-01T00:00:00Z", 0), ("1970-01-01t00:00:00z", 0), ("1970-01-01T01:00:00+01:00", 0),
      ("1969-12-31T23:30:00-00:30", 0), ("1970-01-01T00:00:00.000000001Z", 1),
      ("1970-01-01T00:00:01.5Z", 1_500_000_000),
      ("1969-12-31T23:59:59.5Z", -500_000_000), ("2000-02-29T12:00:00Z", 951_825_600_000_000_000),
      ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000), ("2262-04-11T23:47:16.854775807Z", Int64.max),
    ] as [(String, Int64)]) func aTimeIsReadExactly(_ text: String, _ expected: Int64)
  {
    #expect(nanoseconds(text) == expected)
  }

  @Test(arguments: [
    "", " ", "-1", "+1", "1.5", "1e9", "9223372036854775808", "00000000000000000001", "2026-01-31",
    "2026-01-31T12:00:00", "2026-01-31 12:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
    "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-00T00:00:00Z",
    "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z", "2026-01-01T00:00:00.Z",
    "2026-01-01T00:00:00.1234567890Z", "2026-01-01T00:00:00+0100", "2026-01-01T00:00:00+24:00",
    "2026-01-01T00:00:00+01:60", "2026-01-01T00:00:00Zx", "2026-01-01T00:00:00.5", "2262-04-11T23:47:17Z",
    "20260-1-01T00:00:00Z", "2026-01-01T00:00:00 01:00",
  ]) func whatIsNoTimeIsRefused(_ text: String) {
    #expect(nanoseconds(text) == nil)
  }

  @Test func datesAreThoseOfTheCLibrary() {
    for day in stride(from: -200_000, through: 200_000, by: 37) {
      let seconds = day * 86_400 + (day * 7919) % 86_400
      var time = time_t(seconds)
      var parts = tm()
      gmtime_r(&time, &parts)
      var buffer = [CChar](repeating: 0, count: 64)
      let count = strftime(&buffer, 64, "%a, %d %b ", &parts)
      let head = String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
      let text = CivilTime.httpDate(seconds: seconds)
      #expect(text.hasPrefix(head + "\(Int(parts.tm_year) + 1900) "), "\(seconds)")
      let date = CivilTime.date(days: Int((Double(seconds) / 86_400).rounded(.down)))
      #expect(CivilTime.days(year: date.year, month: date.month, day: date.day) * 86_400 <= seconds)
    }
    #expect(CivilTime.httpDate(seconds: 784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
  }
}
