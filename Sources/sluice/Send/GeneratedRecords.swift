import SluiceCore

/// Records of one size that are told apart by a number: `{"message":"RUN NNNNNNNNNNNN xxxx…"}`.
struct GeneratedRecords: Sendable {
  private static let digits = 12
  private var text: [UInt8]
  private let digitsEnd: Int
  /// How many there are over all connections; nil: no end.
  let count: UInt64?

  /// `run`: what this run's records have in common.
  init(run: String, size: Int, count: UInt64?) {
    precondition(size >= Limits.minSendSize)
    text = Array(#"{"message":"\#(run) "#.utf8)
    digitsEnd = text.count + Self.digits
    text += [UInt8](repeating: UInt8(ascii: "0"), count: Self.digits)
    text.append(UInt8(ascii: " "))
    let closing = Array(#""}"#.utf8)
    precondition(text.count + closing.count <= size, "the smallest size holds the fixed parts")
    text += [UInt8](repeating: UInt8(ascii: "x"), count: size - text.count - closing.count) + closing
    self.count = count
  }

  var size: Int { text.count }

  /// Hands out the record with that number; valid during the call.
  mutating func withRecord<Result>(_ number: UInt64, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    var rest = number
    for index in stride(from: digitsEnd - 1, through: digitsEnd - Self.digits, by: -1) {
      text[index] = UInt8(ascii: "0") + UInt8(rest % 10)
      rest /= 10
    }
    return text.withUnsafeBytes(body)
  }
}
