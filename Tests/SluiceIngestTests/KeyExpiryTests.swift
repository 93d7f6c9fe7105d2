import SluiceCore
import SluiceIdentity
import Testing

@testable import SluiceIngest

@Suite("A key whose time runs out while its connection is open")
struct KeyExpiryTests {
  private static let second: Int64 = 1_000_000_000

  private func identity(goodFor seconds: Int64, _ clock: TestClock) -> TestIdentity {
    TestIdentity(expires: clock.wall + seconds * Self.second)
  }

  @Test("ends a framed connection within a second, whether by token or by proof", arguments: [false, true])
  func framed(isProven: Bool) throws {
    let guarded = Guarded()
    let press = identity(goodFor: 20, guarded.tcp.clock)
    guarded.authority.replace(with: [press.definition])
    let connection = try guarded.tcp.connect()
    let client = ProvingClient(connection, as: press)
    let seen = try isProven ? client.greet() : connection.greet(token: press.token)
    #expect(seen.welcome != nil)
    guarded.tcp.advance(seconds: 19)
    try connection.receive(client.data("in time", first: 1))
    guarded.tcp.commit()
    #expect(try connection.answers() == [.ack(0, 1)])
    guarded.tcp.advance(seconds: 1)
    let end = try connection.answers()
    #expect(end.map(\.errorCode) == [.authFailed])
    try connection.receive(client.data("late", first: 2))
    guarded.tcp.commit()
    #expect(try connection.answers() == [])
    #expect(guarded.tcp.stream.records.map(\.text) == ["in time"])
    #expect(guarded.tcp.counters.value(WireErrorCode.authFailed) == 1)
  }

  @Test("is refused in the next request over HTTP, although nothing else has changed")
  func http() throws {
    let (harness, authority) = Guarded.http()
    let press = identity(goodFor: 20, harness.clock)
    authority.replace(with: [press.definition])
    let connection = try harness.connect()
    let request = post(#"{"message":"x"}"#, headers: press.bearer)
    try connection.receive(request)
    harness.clock.advance(nanoseconds: 20 * Self.second - 1)
    try connection.receive(request)
    harness.clock.advance(nanoseconds: 1)
    try connection.receive(request)
    #expect(try connection.responses().map(\.status) == [202, 202, 401])
    #expect(harness.stream.records.count == 2)
    #expect(connection.isOpen)
  }
}
