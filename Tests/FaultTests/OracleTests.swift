import DeliveryOracle
import Testing

/// The judge is judged first: each kind of violation is fed to it, and it must name that rule and no other.
@Suite struct OracleTests {
  private typealias Record = DeliveryOracle.Record

  /// Ten records of one producer, acknowledged as `promise`.
  private func sent(_ promise: DeliveryOracle.Promise = .fsync, to subscribers: [String] = ["s"]) -> DeliveryOracle {
    var oracle = DeliveryOracle(subscribers: subscribers)
    for number in 1...10 as ClosedRange<UInt64> {
      oracle.sends(Record(1, number), hash: number)
      oracle.acknowledged(Record(1, number), promise)
    }
    return oracle
  }

  private func deliver(
    _ numbers: some Sequence<UInt64>, to oracle: inout DeliveryOracle, subscriber: String = "s", shift: UInt64 = 0
  ) {
    for number in numbers { oracle.delivered(Record(1, number), hash: number, lsn: number + shift, to: subscriber) }
  }

  private func rules(_ oracle: DeliveryOracle) -> Set<Violation.Rule> { Set(oracle.verdict().map(\.rule)) }

  @Test("A faithful delivery is no violation, nor is one that is repeated after a crash, nor an unacknowledged record")
  func faithful() {
    var oracle = sent()
    oracle.sends(Record(1, 11), hash: 11)
    oracle.sends(Record(1, 12), hash: 12)
    deliver(1...6, to: &oracle)
    oracle.ended(.killed, cursors: ["s": 4])
    oracle.recovered(nanoseconds: 1_000_000)
    deliver(4...11, to: &oracle)
    oracle.ended(.orderly, cursors: ["s": 12])
    #expect(oracle.verdict() == [])
  }

  @Test("A: an acknowledged record that one subscriber never got, though another did")
  func missing() {
    var oracle = sent(to: ["s", "t"])
    deliver(1...10, to: &oracle)
    deliver(1...9, to: &oracle, subscriber: "t")
    #expect(oracle.verdict().map(\.rule) == [.a])
  }

  @Test("A: a gap excuses only where the medium was damaged, and only as many records as it has places for")
  func gaps() {
    var oracle = sent()
    deliver([1, 2, 3, 4, 7, 8, 9, 10], to: &oracle)
    oracle.told(gap: 5...6, to: "s")
    #expect(oracle.verdict().map(\.rule) == [.a, .a])
    oracle.mediumDamaged()
    #expect(oracle.verdict() == [])

    var narrow = sent()
    narrow.mediumDamaged()
    deliver([1, 2, 3, 4, 7, 8, 9, 10], to: &narrow)
    narrow.told(gap: 5...5, to: "s")
    #expect(narrow.verdict().map(\.rule) == [.a])

    var elsewhere = sent(to: ["s", "t"])
    elsewhere.mediumDamaged()
    deliver(1...10, to: &elsewhere)
    deliver(1...9, to: &elsewhere, subscriber: "t")
    elsewhere.told(gap: 20...30, to: "t")
    #expect(elsewhere.verdict().map(\.rule) == [.a])
  }

  @Test("B: a first delivery out of order; a repeated one may come at any time")
  func order() {
    var oracle = sent()
    deliver([1, 2, 4, 3], to: &oracle)
    deliver(5...10, to: &oracle)
    #expect(rules(oracle) == [.b])
  }

  @Test("C: a record, or an acknowledgement, of what was never sent")
  func invented() {
    var oracle = sent()
    deliver(1...10, to: &oracle)
    oracle.delivered(Record(2, 1), hash: 1, lsn: 11, to: "s")
    #expect(rules(oracle) == [.c])
    var answered = sent()
    deliver(1...11, to: &answered)
    #expect(rules(answered) == [.c])
  }

  @Test("D: other bytes than were sent")
  func altered() {
    var oracle = sent()
    deliver(1...9, to: &oracle)
    oracle.delivered(Record(1, 10), hash: 11, lsn: 10, to: "s")
    #expect(rules(oracle) == [.d])
  }

  @Test("E: a record below a cursor that was on the disk at the end; not when the medium was damaged")
  func settled() {
    var oracle = sent()
    deliver(1...10, to: &oracle)
    oracle.ended(.orderly, cursors: ["s": 11])
    deliver(10...10, to: &oracle)
    #expect(rules(oracle) == [.e])
    var damaged = sent()
    deliver(1...10, to: &damaged)
    damaged.ended(.orderly, cursors: ["s": 11])
    damaged.mediumDamaged()
    deliver(1...10, to: &damaged)
    #expect(damaged.verdict() == [])
  }

  @Test("F: one LSN for two records, also when two subscribers see one each")
  func reused() {
    var oracle = sent(to: ["s", "t"])
    deliver(1...10, to: &oracle)
    deliver(1...9, to: &oracle, subscriber: "t")
    oracle.delivered(Record(1, 10), hash: 10, lsn: 9, to: "t")
    #expect(rules(oracle) == [.f])
  }

  @Test("G: a slow recovery, and a second one that changes something")
  func recovery() {
    var slow = DeliveryOracle(subscribers: [])
    slow.recovered(nanoseconds: DeliveryOracle.recoveryNanoseconds + 1)
    #expect(rules(slow) == [.g])
    var restless = DeliveryOracle(subscribers: [])
    restless.recovered(nanoseconds: 1, changes: ["a file in quarantine"])
    #expect(rules(restless) == [.g])
  }

  @Test("H: a written acknowledgement survives a kill and not a loss of power, one from memory only an orderly end")
  func promises() {
    let survives: [(DeliveryOracle.Promise, DeliveryOracle.End, Set<Violation.Rule>)] = [
      (.fsync, .orderly, [.a]), (.fsync, .killed, [.a]), (.fsync, .powerLost, [.a]),
      (.written, .orderly, [.h]), (.written, .killed, [.h]), (.written, .powerLost, []),
      (.memory, .orderly, [.h]), (.memory, .killed, []), (.memory, .powerLost, []),
    ]
    for (promise, end, expected) in survives {
      var oracle = sent(promise)
      deliver(1...9, to: &oracle)
      oracle.ended(end)
      #expect(rules(oracle) == expected, "\(promise), \(end)")
    }
  }

  @Test("The hash is FNV-1a of 64 bits")
  func hashing() {
    #expect(DeliveryOracle.hash(of: "") == 0xcbf2_9ce4_8422_2325)
    #expect(DeliveryOracle.hash(of: "foobar") == 0x8594_4171_f739_67e8)
  }
}
