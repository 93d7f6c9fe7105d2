import Glibc
import SluiceCore
import SluiceIdentity
import Synchronization
import Testing

@testable import SluiceIngest

@Suite("Ways around an identity's quota")
struct QuotaBypassTests {
  private static let body = #"{"message":"x"}"#

  private func press(_ quota: IdentityDefinition.Quota) -> TestIdentity {
    TestIdentity(quota: quota, producers: ["press-7", "http"])
  }

  @Test("Framed connections and HTTP at once get together what one of them would get")
  func bothProtocols() {
    let press = press(.init(recordsPerSecond: 200))
    let authentication = SourceAuthentication(.required, IdentityAuthority([press.definition]))
    let clock = TestClock()
    let taken = Atomic<Int>(0)
    let refused = Atomic<Int>(0)
    let faults = Mutex<[String]>([])
    let connected = Atomic<Int>(0)
    let threads = (0..<4).map { number in
      OSThread(name: "quota") {
        do {
          // A framed connection is granted what the others have left.
          let awaitOthers = {
            connected.add(1, ordering: .acquiringAndReleasing)
            while connected.load(ordering: .acquiring) < 4 { sched_yield() }
          }
          let (here, not) =
            try number.isMultiple(of: 2)
            ? Self.framed(press, authentication, clock, awaitOthers)
            : Self.http(press, authentication, clock, awaitOthers)
          taken.add(here, ordering: .relaxed)
          refused.add(not, ordering: .relaxed)
        } catch {
          faults.withLock { $0.append("\(error)") }
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(faults.withLock { $0 } == [])
    // A burst of a second, overdrawn once.
    #expect(taken.load(ordering: .relaxed) == 201)
    #expect(refused.load(ordering: .relaxed) == 4 * 200 - 201)
  }

  /// Sends 200 records one by one; how many were taken, and how many refused for the quota.
  private static func framed(
    _ press: TestIdentity, _ authentication: SourceAuthentication, _ clock: TestClock, _ awaitOthers: () -> Void
  ) throws -> (Int, Int) {
    let harness = TCPHarness {
      $0.authentication = authentication
      $0.clock = clock.source
    }
    let connection = try harness.connect()
    let greeting = Result { try connection.greet(token: press.token) }
    awaitOthers()
    guard try greeting.get().welcome != nil else { throw TCPTestConnection.Unexpected() }
    var refused = 0
    var next: UInt64 = 1
    for _ in 0..<200 {
      try connection.data(["x"], first: next)
      let nacks = try connection.received().nacks
      refused += nacks.count { $0.code == WireNackCode.quota.rawValue }
      if nacks.isEmpty { next += 1 }
      harness.commit()
    }
    return (harness.stream.records.count, refused)
  }

  private static func http(
    _ press: TestIdentity, _ authentication: SourceAuthentication, _ clock: TestClock, _ awaitOthers: () -> Void
  ) throws -> (Int, Int) {
    let harness = HTTPHarness {
      $0.authentication = authentication
      $0.clock = clock.source
    }
    let connection = try harness.connect()
    awaitOthers()
    for _ in 0..<200 { try connection.receive(post(body, headers: press.bearer)) }
    return (harness.stream.records.count, try connection.responses().count { $0.status == 429 })
  }

  @Test("A reload that leaves an identity its quota leaves what is used up of it; another quota begins anew")
  func reload() throws {
    var press = press(.init(recordsPerSecond: 1, burstNanoseconds: 1_000_000))
    var unbounded = press
    unbounded.quota = nil
    let guarded = Guarded(unbounded)
    let http = HTTPHarness { $0.authentication = SourceAuthentication(.required, guarded.authority) }
    let (framed, connection) = (try guarded.tcp.connect(), try http.connect())
    #expect(try framed.greet(token: press.token).welcome != nil)
    // After the first credit, which more would not fit into.
    guarded.authority.replace(with: [press.definition])
    try framed.data([String](repeating: "x", count: 600), first: 1)
    for _ in 0..<3 {
      guarded.authority.replace(with: [TestIdentity(name: "other").definition, press.definition])
      try framed.data(["y"], first: 601)
      #expect(try framed.received().nacks.map(\.code) == [WireNackCode.quota.rawValue])
      try connection.receive(post(Self.body, headers: press.bearer))
      #expect(try connection.responses().map(\.status) == [429])
    }
    press.quota = .init(recordsPerSecond: 2, burstNanoseconds: 1_000_000)
    guarded.authority.replace(with: [press.definition])
    try framed.data(["y"], first: 601)
    guarded.tcp.commit()
    #expect(try framed.answers() == [.ack(0, 601)])
  }
}
