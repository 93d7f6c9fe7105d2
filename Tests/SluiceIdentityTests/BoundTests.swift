import SluiceCore
import SluiceIdentity
import Synchronization
import Testing

@Suite("Lockout, quotas and what is told")
struct BoundTests {
  static let second: Int64 = 1_000_000_000

  @Test func eachWrongGuessBeyondTheFreeOnesDoublesTheWait() {
    let table = LockoutTable()
    var now = Self.second
    for _ in 1..<Limits.freeGuesses {
      table.failed(identity: "a", address: "192.0.2.1", at: now)
      #expect(table.wait(identity: "a", address: "192.0.2.1", at: now) == 0)
    }
    for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] as [Int64] {
      table.failed(identity: "a", address: "192.0.2.1", at: now)
      #expect(table.wait(identity: "a", address: "192.0.2.1", at: now) == expected * Self.second)
      #expect(table.wait(identity: "a", address: "192.0.2.2", at: now) == 0)
      #expect(table.wait(identity: "b", address: "192.0.2.1", at: now) == 0)
      now += expected * Self.second
      #expect(table.wait(identity: "a", address: "192.0.2.1", at: now) == 0)
    }
    #expect(table.wait(identity: "a", address: "192.0.2.1", at: now + Limits.guessMemoryNanoseconds + 1) == 0)
  }

  @Test func aFloodOfAddressesFillsABoundAndFreesNobodyWhoIsLocked() {
    let table = LockoutTable()
    let now = Self.second
    for _ in 0...Limits.freeGuesses { table.failed(identity: "a", address: "192.0.2.1", at: now) }
    let places = Limits.lockoutSets * Limits.lockoutWays
    for number in 0..<2 * places { table.failed(identity: "a", address: "flood \(number)", at: now) }
    #expect(table.count(at: now) <= places)
    #expect(table.wait(identity: "a", address: "192.0.2.1", at: now) > 0)
  }

  @Test func aQuotaIsARateAndABurst() {
    let quota = quota(records: 10, bytes: nil)
    let now = 100 * Self.second
    // An idle bucket has the burst of a second, and may be overdrawn once.
    #expect((0..<11).allSatisfy { _ in quota.take(records: 1, bytes: 1, at: now) == 0 })
    let wait = quota.take(records: 1, bytes: 1, at: now)
    #expect(wait == Self.second / 10)
    #expect(quota.take(records: 1, bytes: 1, at: now + wait) == 0)
    #expect(quota.take(records: 1, bytes: 1, at: now + wait) > 0)
  }

  @Test func aBatchThatIsLargerThanTheBurstGoesThroughAndIsPaidForAfter() {
    let quota = quota(records: 10, bytes: nil)
    let now = 100 * Self.second
    #expect(quota.take(records: 100, bytes: 1, at: now) == 0)
    #expect(quota.take(records: 1, bytes: 1, at: now) == 9 * Self.second)
    #expect(quota.take(records: 1, bytes: 1, at: now + 9 * Self.second) == 0)
  }

  @Test(arguments: [5_000_000, Int.max])
  func nobodyIsInDebtForMoreThanAnHour(size: Int) {
    let quota = quota(records: 1, bytes: 1)
    let now = 100 * Self.second
    #expect(quota.take(records: size, bytes: size, at: now) == 0)
    let wait = quota.take(records: 1, bytes: 1, at: now)
    #expect(wait > 3598 * Self.second && wait <= Limits.maxQuotaDebtNanoseconds)
    quota.giveBack(records: size, bytes: size, of: (size, size))
    #expect(quota.take(records: 1, bytes: 1, at: now) == 0, "as much is given back as was taken")
  }

  @Test(arguments: [nil, 1, 7, 1000, 12_345_678, Int.max] as [Int?])
  func whatIsInvitedIsWhatComesInTheBurst(rate: Int?) {
    // Up to the longest that a file may ask for; a quota of one dimension alone is unlimited in the other.
    for milliseconds in [1, 999, 1000, 1001, 1500, 1999, 2000, 2001, 3000, 60_000, 3_600_000] as [Int64] {
      let burst = milliseconds * 1_000_000
      for (records, bytes) in [(rate, nil), (nil, rate), (rate, rate)] as [(Int?, Int?)] {
        let quota = IdentityQuota(
          IdentityDefinition.Quota(recordsPerSecond: records, bytesPerSecond: bytes, burstNanoseconds: burst))
        let time = max(burst, Limits.minQuotaCreditNanoseconds)
        let (many, most, _) = quota.invitation()
        let expected = min(max(1, Double(records ?? .max) * Double(time) / 1e9), Double(Int.max))
        #expect(abs(Double(many) - expected) <= 1 + expected / 1e9, "\(milliseconds) ms")
        #expect(most >= Limits.minQuotaCreditBytes)
        _ = quota.firstInvitation(leastBytes: 1, at: 100 * Self.second)
      }
    }
  }

  @Test func whatIsUsedOfABatchBeyondTheLargestDebtIsPaidFor() {
    let quota = quota(records: 1, bytes: 1)
    let now = 100 * Self.second
    #expect(quota.take(records: 8000, bytes: 80_000, at: now) == 0)
    quota.giveBack(records: 4000, bytes: 40_000, of: (8000, 80_000))
    #expect(quota.wait(at: now) > 3598 * Self.second, "4,000 that were used owe the largest debt still")
    quota.giveBack(records: 3000, bytes: 39_000, of: (4000, 40_000))
    let wait = quota.wait(at: now)
    #expect(wait > 998 * Self.second && wait <= 1000 * Self.second, "1,000 owe as many seconds")
  }

  @Test func whatIsRefusedForOneOfBothIsNotTakenFromTheOther() {
    let quota = quota(records: 10, bytes: 1)
    let now = 100 * Self.second
    #expect(quota.take(records: 1, bytes: 100, at: now) == 0)
    for _ in 0..<100 { #expect(quota.take(records: 1, bytes: 1, at: now) > 0) }
    let later = now + 101 * Self.second
    #expect(quota.take(records: 10, bytes: 1, at: later) == 0)
  }

  @Test func manyThreadsTogetherGetNoMoreThanTheQuota() async {
    let quota = quota(records: 1000, bytes: nil)
    let now = 100 * Self.second
    let taken = await withTaskGroup(of: Int.self) { group in
      for _ in 0..<8 {
        group.addTask {
          (0..<1000).reduce(0) { sum, _ in sum + (quota.take(records: 1, bytes: 1, at: now) == 0 ? 1 : 0) }
        }
      }
      return await group.reduce(0, +)
    }
    #expect(taken == 1001)
  }

  private func quota(records: Int?, bytes: Int?) -> IdentityQuota {
    IdentityQuota(IdentityDefinition.Quota(recordsPerSecond: records, bytesPerSecond: bytes))
  }

  @Test func oneRefusalPerIntervalIsToldWithTheNumberOfTheOthers() {
    let told = Mutex<[RefusalLog.Refusal]>([])
    let log = RefusalLog { refusal in told.withLock { $0.append(refusal) } }
    func refuse(_ identity: String, isKnown: Bool = true, at now: Int64) {
      log.refused(
        source: "api", identity: identity, isKnown: isKnown, address: "192.0.2.1", reason: "auth_failed", at: now)
    }
    for _ in 0..<10 { refuse("a", at: 0) }
    refuse("b", at: 0)
    refuse("a", at: Limits.refusalLogNanoseconds)
    refuse("a\nforged line", isKnown: false, at: 0)
    let lines = told.withLock { $0 }
    #expect(lines.map(\.identity) == ["a", "b", "a", ""])
    #expect(lines.map(\.untold) == [0, 0, 9, 0])
    for number in 0..<5000 { refuse("x\(number)", isKnown: false, at: 1) }
    #expect(told.withLock { $0.count } == 4, "whoever makes names up has told its one already")
    refuse("c", at: 1)
    #expect(told.withLock { $0.last?.identity } == "c", "and blinds nobody to those who are")
    for number in 0..<5000 { refuse("y\(number)", at: 1) }
    #expect(told.withLock { $0.count } <= Limits.maxRefusalLogEntries + 4)
  }
}
