extension LogUUID {
  /// From its canonical form: 8-4-4-4-12 lower-case hexadecimal digits.
  package init?(canonical text: String) {
    let digits = text.replacing(dashesAt: [8, 13, 18, 23])
    guard let digits, let high = UInt64(digits.prefix(16), radix: 16), let low = UInt64(digits.suffix(16), radix: 16)
    else { return nil }
    self.init(high: high, low: low)
    guard description == text else { return nil }
  }
}

extension String {
  /// The text without the dashes that stand exactly there; nil if it has another length, or none there.
  fileprivate func replacing(dashesAt places: Set<Int>) -> String? {
    let bytes = Array(utf8)
    guard bytes.count == 36, places.allSatisfy({ bytes[$0] == UInt8(ascii: "-") }) else { return nil }
    return String(decoding: bytes.indices.filter { !places.contains($0) }.map { bytes[$0] }, as: UTF8.self)
  }
}
