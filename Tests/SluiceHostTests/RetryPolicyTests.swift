import SluiceCore
import Testing

@testable import SluiceHost

@Suite struct RetryPolicyTests {
  @Test(arguments: zip([1, 2, 3, 6, 7, 64, UInt32.max], [100, 200, 400, 3_200, 5_000, 5_000, 5_000]))
  func theCeilingDoublesUpToTheMaximum(attempt: UInt32, ceiling: Int64) {
    let policy = RetryPolicy(firstNanoseconds: 100, maxNanoseconds: 5_000)
    #expect(policy.ceiling(afterAttempt: attempt) == ceiling)
  }

  @Test func theCeilingDoesNotOverflowWithTheLargestMaximum() {
    let policy = RetryPolicy(firstNanoseconds: 3, maxNanoseconds: .max)
    #expect(policy.ceiling(afterAttempt: 61) == 3 << 60)
    #expect(policy.ceiling(afterAttempt: 62) == .max)
    #expect(policy.ceiling(afterAttempt: 63) == .max)
  }

  @Test func theDelayLiesBetweenHalfTheCeilingAndTheCeiling() {
    let policy = RetryPolicy(firstNanoseconds: 1_000, maxNanoseconds: 30_000)
    #expect(policy.delay(afterAttempt: 2, random: 0) == 2_000)
    #expect(policy.delay(afterAttempt: 2, random: .max) == 1_000)
    var jitter = JitterSource(seed: 1)
    for attempt in UInt32(1)...20 {
      let delay = policy.delay(afterAttempt: attempt, random: jitter.next())
      let ceiling = policy.ceiling(afterAttempt: attempt)
      #expect(delay >= ceiling / 2 && delay <= ceiling)
    }
  }

  @Test func aDelayOfOneNanosecondIsPossible() {
    #expect(RetryPolicy(firstNanoseconds: 1, maxNanoseconds: 1).delay(afterAttempt: 9, random: .max) == 1)
  }

  @Test func theSameSeedGivesTheSameJitter() {
    var left = JitterSource(seed: 7)
    var right = JitterSource(seed: 7)
    #expect((0..<8).map { _ in left.next() } == (0..<8).map { _ in right.next() })
  }

  @Test func attemptsEndWhenTheyAreCountedAndNeverOtherwise() {
    #expect(!RetryPolicy().isExhausted(afterAttempt: .max))
    let three = RetryPolicy(attempts: 3)
    #expect(!three.isExhausted(afterAttempt: 2))
    #expect(three.isExhausted(afterAttempt: 3))
  }
}
