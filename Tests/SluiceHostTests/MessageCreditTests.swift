import SluiceCore
import Testing

@testable import SluiceHost

/// What a plugin says it takes yet.
@Suite struct MessageCreditTests {
  @Test("A delivery takes from the credit that there is, and what comes back belongs to that one")
  func isOfOneCredit() {
    let credit = MessageCredit()
    let first = credit.use(10)
    credit.giveBack(10, to: first)
    #expect(credit.room == .max, "it was never limited")
    credit.set(8)
    #expect(credit.epoch != first)
    let second = credit.use(5)
    #expect(second == credit.epoch && credit.room == 3)
    credit.giveBack(5, to: second)
    #expect(credit.room == 8)
    let third = credit.use(5)
    credit.set(4)
    credit.giveBack(5, to: third)
    #expect(credit.room == 4, "a newer credit replaced what was left of the one before, and what was under way of it")
    credit.giveBack(1, to: first)
    #expect(credit.room == 4)
  }

  @Test("More than is left takes what is left, and nothing goes beyond what can be said")
  func ends() {
    let credit = MessageCredit()
    credit.set(2)
    let epoch = credit.use(5)
    #expect(credit.room == 0)
    credit.set(.max)
    credit.giveBack(5, to: credit.epoch)
    #expect(credit.room == Int(UInt32.max) && credit.epoch == epoch + 1)
    credit.forget()
    #expect(credit.room == .max && credit.epoch == epoch + 1)
    credit.giveBack(5, to: epoch + 1)
    #expect(credit.room == .max)
  }

  @Test("However fast a plugin says it anew, deliveries that take nothing leave the credit as it was said last")
  func atOnce() {
    final class Shared: Sendable { let credit = MessageCredit() }
    let shared = Shared()
    shared.credit.set(100)
    let plugin = OSThread(name: "plugin") { for _ in 0..<200_000 { shared.credit.set(100) } }
    var most = 0
    for _ in 0..<200_000 {
      shared.credit.giveBack(7, to: shared.credit.use(7))
      most = max(most, shared.credit.room)
    }
    plugin.join()
    #expect(most == 100 && shared.credit.room == 100)
  }
}
