import SluiceCore
import Testing

@testable import sluice

/// How long a daemon that stops waits for a subscriber.
@Suite struct DeliveryPatienceTests {
  /// What each look said; `left` is what the looks find.
  private func looks(_ patience: inout DeliveryPatience, left: some Sequence<UInt64>, isAtWork: Bool) -> [Bool] {
    left.map { patience.waits(left: $0, isAtWork: isAtWork) }
  }

  @Test("A subscriber that gets nearer to the end, or is at work, is waited for, however many looks that takes")
  func waits() {
    var patience = DeliveryPatience()
    let many = UInt64(10 * Limits.drainIdleLooks)
    #expect(!looks(&patience, left: (1...many).reversed(), isAtWork: false).contains(false))
    #expect(!looks(&patience, left: repeatElement(1, count: Int(many)), isAtWork: true).contains(false))
    #expect(looks(&patience, left: [0], isAtWork: true) == [false])
  }

  @Test("One that neither gets nearer nor is at work is waited for so many looks since it last did")
  func givesUp() {
    var patience = DeliveryPatience()
    let few = repeatElement(UInt64(5), count: Limits.drainIdleLooks - 1)
    for isAtWork in [false, true] {
      #expect(looks(&patience, left: [5], isAtWork: isAtWork) == [true])
      #expect(!looks(&patience, left: few, isAtWork: false).contains(false))
    }
    #expect(looks(&patience, left: [5], isAtWork: false) == [false])
  }
}
