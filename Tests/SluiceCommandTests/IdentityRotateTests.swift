import SluiceCore
import Testing

@testable import sluice

@Suite("What becomes of the keys of an identity whose token is rotated")
struct IdentityRotateTests {
  private static let now: Int64 = 1_000_000

  private func key(_ id: String, expires: Int64? = nil) -> IdentityDefinition.Key {
    let bytes = [UInt8](repeating: 1, count: 32)
    return IdentityDefinition.Key(id: id, storedKey: bytes, serverKey: bytes, expires: expires)
  }

  /// The ids and the ends of the keys, after another was taken.
  private func rotated(_ keys: [IdentityDefinition.Key], grace: Int64) -> [String] {
    var identity = IdentityDefinition(name: "a", kind: .module, keys: keys)
    _ = identity.rotate(to: key("new"), grace: grace, at: Self.now)
    return identity.keys.map { key in key.id + (key.expires.map { " +\($0 - Self.now)" } ?? "") }
  }

  @Test("The old key is good for the grace period, and the new one without an end")
  func grace() {
    #expect(rotated([key("old")], grace: 50) == ["old +50", "new"])
    #expect(rotated([], grace: 50) == ["new"])
  }

  @Test("No grace period makes a key last longer than it was told before")
  func earlierEndStays() {
    let keys = [key("soon", expires: Self.now + 5), key("late", expires: Self.now + 100), key("never")]
    #expect(rotated(keys, grace: 50) == ["soon +5", "late +50", "never +50", "new"])
  }

  @Test("Keys whose time is over go, and so do all of them if there is no grace")
  func overIsGone() {
    #expect(rotated([key("over", expires: Self.now), key("old")], grace: 50) == ["old +50", "new"])
    #expect(rotated([key("soon", expires: Self.now + 5), key("old")], grace: 0) == ["new"])
  }

  @Test("Of too many keys the oldest go, and are told if they were still good")
  func newestStay() {
    let keys = (1...Limits.maxIdentityKeys).map { key("\($0)") }
    #expect(rotated(keys, grace: 50) == keys.dropFirst().map { "\($0.id) +50" } + ["new"])
    var identity = IdentityDefinition(name: "a", kind: .module, keys: keys)
    #expect(identity.rotate(to: key("new"), grace: 50, at: Self.now).map(\.id) == ["1"])
    #expect(identity.keys.count == Limits.maxIdentityKeys)
    #expect(identity.rotate(to: key("newer"), grace: 0, at: Self.now).isEmpty, "their time is over")
  }
}
