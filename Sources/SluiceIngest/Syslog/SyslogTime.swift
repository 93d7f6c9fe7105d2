import SluiceCore

extension SyslogReader {
  /// RFC 3339 in `place`.
  func standardTime(_ place: Range<Int>) -> Int64? {
    // A shorter text would be read as a count of nanoseconds.
    guard place.count >= 20, bytes[place.lowerBound + 4] == UInt8(ascii: "-") else { return nil }
    return EventTime.nanoseconds(UnsafeRawBufferPointer(rebasing: bytes[place]))
  }

  /// A time as BSD senders write it. Nil, and nothing is passed, if there is none.
  mutating func time() -> Int64? {
    let start = at
    if let word = word(), let time = standardTime(withoutColon(word) ?? word) {
      // The space or the colon says what follows.
      at -= withoutColon(word) == nil ? 1 : 2
      return time
    }
    at = start
    if !skip("*") { _ = skip(".") }
    if let time = bsdTime() { return time }
    at = start
    return nil
  }

  /// `Jan  2 03:04:05`, `Jan 02 2026 03:04:05`, `Jan  2 03:04:05.678 CET`.
  private mutating func bsdTime() -> Int64? {
    guard let month = month() else { return nil }
    skipSpaces()
    guard let day = number(digits: 1...2), skip(" ") else { return nil }
    var year: Int?
    if Self.digit(byte(at + 1)) != nil, Self.digit(byte(at + 2)) != nil {
      guard let said = number(digits: 4...4), skip(" ") else { return nil }
      year = said
    }
    guard let hour = number(digits: 1...2), skip(":"), let minute = number(digits: 2...2), skip(":"),
      let second = number(digits: 2...2), hour < 24, minute < 60, second <= 60
    else { return nil }
    let fraction = fraction()
    skipZoneName()
    let ofDay = Int64(hour * 3600 + minute * 60 + second) * 1_000_000_000 + fraction
    if let year { return Self.midnight(year, month, day).map { $0 + ofDay } }
    return latest(month, day, ofDay)
  }

  /// In the last year in which the time is at most a day ahead of the arrival.
  private func latest(_ month: Int, _ day: Int, _ ofDay: Int64) -> Int64? {
    let aDay: Int64 = 86_400_000_000_000
    let days = Int((now - (now < 0 ? aDay - 1 : 0)) / aDay)
    let year = CivilTime.date(days: days).year
    // A leap day may be eight years ago: around 2100 and its like.
    for year in stride(from: year + 1, through: year - 8, by: -1) {
      if let time = Self.midnight(year, month, day).map({ $0 + ofDay }), time - now <= aDay { return time }
    }
    return nil
  }

  /// Nil for a date that there is not, or that 64 bits don't hold.
  private static func midnight(_ year: Int, _ month: Int, _ day: Int) -> Int64? {
    let days = CivilTime.days(year: year, month: month, day: day)
    guard day >= 1, CivilTime.date(days: days) == (year, month, day), abs(days) < 100_000 else { return nil }
    return Int64(days) * 86_400_000_000_000
  }

  private mutating func month() -> Int? {
    let names: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"
    for month in 0..<12 where (0..<3).allSatisfy({ byte(at + $0) == names.utf8Start[month * 3 + $0] }) {
      guard byte(at + 3) == 0x20 else { return nil }
      at += 4
      return month + 1
    }
    return nil
  }

  private mutating func number(digits: ClosedRange<Int>) -> Int? {
    var value = 0
    let start = at
    while let digit = Self.digit(byte(at)), at - start < digits.upperBound {
      value = value * 10 + digit
      at += 1
    }
    return at - start >= digits.lowerBound ? value : nil
  }

  /// Nanoseconds; digits beyond the ninth are passed over.
  private mutating func fraction() -> Int64 {
    guard byte(at) == UInt8(ascii: "."), Self.digit(byte(at + 1)) != nil else { return 0 }
    at += 1
    var value: Int64 = 0
    var scale: Int64 = 100_000_000
    while let digit = Self.digit(byte(at)) {
      value += Int64(digit) * scale
      scale /= 10
      at += 1
    }
    return value
  }

  /// Cisco's ` UTC:`. The name says too little to be reckoned with, and only where a colon follows is it one.
  private mutating func skipZoneName() {
    guard byte(at) == 0x20 else { return }
    var end = at + 1
    while byte(end) &- UInt8(ascii: "A") < 26 { end += 1 }
    if (2...5).contains(end - at - 1), byte(end) == UInt8(ascii: ":") { at = end }
  }
}
