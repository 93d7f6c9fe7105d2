import SluiceCore
import SluiceIdentity
import Synchronization
import TestSupport
import Testing

@testable import SluiceIngest

@Suite("Attacks on who may use HTTP")
struct HTTPIdentityAttackTests {
  static let remote = "192.0.2.7"
  static let body = #"{"message":"x"}"#
  let press = TestIdentity()

  @Test func whoShowsNothingIsAskedForAToken() throws {
    let (harness, _) = Guarded.http(press)
    let connection = try harness.connect()
    try connection.receive(post(Self.body))
    let answer = try #require(try connection.responses().first)
    #expect(answer.status == 401 && answer.headers["www-authenticate"]?.hasPrefix("Bearer") == true)
    #expect(harness.value("sluice_source_rejected_records_total", "unauthorized") == 1)
    try connection.receive(post(Self.body, headers: press.bearer))
    #expect(try connection.responses().map(\.status) == [202])
  }

  @Test func aWrongTokenIsRefusedWhereNoneIsNeeded() throws {
    let (harness, _) = Guarded.http(press, demand: .optional)
    let connection = try harness.connect()
    try connection.receive(post(Self.body))
    try connection.receive(post(Self.body, headers: press.impostor.bearer))
    try connection.receive(post(Self.body, headers: "Authorization: Basic YTpi\r\n"))
    try connection.receive(post(Self.body, headers: press.bearer))
    #expect(try connection.responses().map(\.status) == [202, 401, 401, 202])
  }

  @Test func itIsDecidedBeforeTheBodyIsKeptAndBeforeItIsAskedFor() throws {
    let (harness, _) = Guarded.http(press)
    let connection = try harness.connect()
    try connection.receive("POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\nExpect: 100-continue\r\n\r\n")
    let answer = try #require(try connection.responses().first)
    #expect(answer.status == 401 && answer.headers["connection"] == "close")
    let good = try harness.connect()
    try good.receive(
      "POST /log HTTP/1.1\r\nHost: x\r\n\(press.bearer)Content-Length: \(Self.body.utf8.count)\r\n"
        + "Expect: 100-continue\r\n\r\n")
    #expect(try good.sent().hasPrefix("HTTP/1.1 100"))
    try good.receive(Self.body)
    #expect(try good.responses().map(\.status) == [202])
  }

  @Test func aTokenInTheURLIsNotLookedAt() throws {
    let (harness, _) = Guarded.http(press)
    let connection = try harness.connect()
    try connection.receive(post(Self.body, path: "/log?access_token=\(press.token)"))
    #expect(try connection.responses().map(\.status) == [401])
  }

  @Test func anotherTopicAndAnotherStreamAreForbidden() throws {
    var some = press
    some.scopes = [.publish(stream: "events", topics: "press.*")]
    var other = TestIdentity(name: "other")
    other.scopes = [.publish(stream: "audit", topics: nil)]
    let (harness, _) = Guarded.http(some, other)
    let connection = try harness.connect()
    try connection.receive(post(Self.body, headers: some.bearer + "Sluice-Topic: press.1\r\n"))
    try connection.receive(post(Self.body, headers: some.bearer + "Sluice-Topic: audit\r\n"))
    try connection.receive(post(Self.body, headers: some.bearer))
    try connection.receive(post(Self.body, headers: other.bearer))
    #expect(try connection.responses().map(\.status) == [202, 403, 403, 403])
  }

  @Test func aRevokedTokenIsRefusedOnTheSameConnection() throws {
    let (harness, authority) = Guarded.http(press)
    let connection = try harness.connect()
    try connection.receive(post(Self.body, headers: press.bearer))
    authority.replace(with: [])
    try connection.receive(post(Self.body, headers: press.bearer))
    #expect(try connection.responses().map(\.status) == [202, 401])
  }

  @Test func whatAConnectionWasKnownByDoesNotVouchForTheNextRequest() throws {
    var tied = press
    tied.fingerprint = "aa"
    let (harness, _) = Guarded.http(tied)
    let connection = try harness.connect()
    try connection.receive(post(Self.body, headers: tied.bearer + "Sluice-Fingerprint: aa\r\n"))
    try connection.receive(post(Self.body))
    try connection.receive(post(Self.body, headers: tied.bearer + "Sluice-Fingerprint: bb\r\n"))
    try connection.receive(post(Self.body, headers: tied.impostor.bearer + "Sluice-Fingerprint: aa\r\n"))
    try connection.receive(post(Self.body, headers: tied.bearer + "Sluice-Fingerprint: aa\r\n"))
    #expect(try connection.responses().map(\.status) == [202, 401, 401, 401, 202])
  }

  @Test func aQuotaHoldsOverManyConnections() throws {
    var bounded = press
    bounded.quota = IdentityDefinition.Quota(recordsPerSecond: 1, burstNanoseconds: 1_000_000)
    let (harness, _) = Guarded.http(bounded)
    var statuses: [Int] = []
    for number in 0..<8 {
      let connection = try harness.connect(from: "192.0.2.\(number)", security: ConnectionSecurity(isEncrypted: true))
      try connection.receive(post(Self.body, headers: bounded.bearer))
      let answer = try #require(try connection.responses().first)
      statuses.append(answer.status)
      if answer.status == 429 { #expect(answer.headers["retry-after"] != nil && answer.body.contains(#""quota""#)) }
    }
    let refused = statuses.filter { $0 == 429 }.count
    #expect(statuses.first == 202 && refused >= 6)
    #expect(harness.value("sluice_source_rejected_records_total", "quota") == Double(refused))
  }

  @Test func aQuotaOfBytesCountsBodiesAndAFullStreamGivesItBack() throws {
    var bounded = press
    bounded.quota = IdentityDefinition.Quota(bytesPerSecond: 1, burstNanoseconds: 1_000_000)
    let (harness, _) = Guarded.http(bounded)
    let connection = try harness.connect()
    harness.stream.state.withLock { $0.full = .ring }
    try connection.receive(post(Self.body, headers: bounded.bearer))
    harness.stream.state.withLock { $0.full = nil }
    try connection.receive(post(Self.body, headers: bounded.bearer))
    try connection.receive(post(Self.body, headers: bounded.bearer))
    let answers = try connection.responses()
    #expect(answers.map(\.status) == [429, 202, 429])
    #expect(answers.first?.body.contains("stream_full") == true && answers.last?.body.contains("quota") == true)
  }

  @Test func guessingIsLockedOutPerAddress() throws {
    let (harness, _) = Guarded.http(press)
    let connection = try harness.connect(from: "127.0.0.1")
    for _ in 0..<Limits.freeGuesses { try connection.receive(post(Self.body, headers: press.impostor.bearer)) }
    #expect(try connection.responses().allSatisfy { $0.status == 401 })
    try connection.receive(post(Self.body, headers: press.impostor.bearer))
    let answer = try #require(try connection.responses().first)
    #expect(answer.status == 429 && answer.headers["retry-after"] != nil && answer.body.contains("locked_out"))
    #expect(harness.value("sluice_source_rejected_records_total", "locked_out") == 1)
    for address in ["127.0.0.1", "127.0.0.2"] {
      let owner = try harness.connect(from: address)
      try owner.receive(post(Self.body, headers: press.bearer))
      #expect(try owner.responses().map(\.status) == [202], "a guesser does not shut the owner out")
    }
  }

  @Test func aReloadIsNoGuessOfThoseWhoAreKnown() throws {
    let (harness, authority) = Guarded.http(press)
    let connection = try harness.connect()
    try connection.receive(post(Self.body, headers: press.bearer))
    for _ in 0...Limits.freeGuesses {
      let guesser = try harness.connect()
      try guesser.receive(post(Self.body, headers: press.impostor.bearer))
    }
    authority.replace(with: [press.definition])
    try connection.receive(post(Self.body, headers: press.bearer))
    authority.replace(with: [press.definition])
    try connection.receive(post(Self.body, headers: press.impostor.bearer))
    #expect(try connection.responses().map(\.status) == [202, 202, 429])
  }

  @Test func aQuotaOfBytesCountsWhatABodyExpandsTo() throws {
    var bounded = press
    bounded.quota = IdentityDefinition.Quota(bytesPerSecond: 1000, burstNanoseconds: 1_000_000_000)
    let (harness, _) = Guarded.http(bounded)
    let connection = try harness.connect()
    let record = #"{"message":"\#(String(repeating: "x", count: 3000))"}"#
    let body = Compression.gzip(Array(record.utf8))
    #expect(body.count < 300)
    for _ in 0..<2 {
      let head =
        "POST /log HTTP/1.1\r\nHost: x\r\n\(bounded.bearer)Content-Encoding: gzip\r\nContent-Length: \(body.count)\r\n\r\n"
      try connection.receive(Array(head.utf8) + body)
    }
    #expect(try connection.responses().map(\.status) == [202, 429])
  }

  @Test func aTokenInTheClearIsRefused() throws {
    let (harness, _) = Guarded.http(press)
    let connection = try harness.connect(from: Self.remote)
    try connection.receive(post(Self.body, headers: press.bearer))
    let answer = try #require(try connection.responses().first)
    #expect(answer.status == 403 && answer.body.contains("auth_insecure"))
    #expect(harness.value("sluice_source_rejected_records_total", "insecure") == 1)
    let encrypted = try harness.connect(from: Self.remote, security: ConnectionSecurity(isEncrypted: true))
    try encrypted.receive(post(Self.body, headers: press.bearer))
    #expect(try encrypted.responses().map(\.status) == [202])
  }

  @Test func twoCredentialsAndOversizeOnesAreRefused() throws {
    let (harness, _) = Guarded.http(press)
    let twice = try harness.connect()
    try twice.receive(post(Self.body, headers: press.bearer + press.impostor.bearer))
    #expect(try twice.responses().map(\.status) == [400])
    let long = try harness.connect()
    try long.receive(post(Self.body, headers: "Authorization: Bearer \(String(repeating: "a", count: 8000))\r\n"))
    #expect(try long.responses().map(\.status) == [401])
  }

  @Test func metricsAskForTheirScope() throws {
    var reader = TestIdentity(name: "prometheus")
    reader.scopes = [.readMetrics]
    let (harness, _) = Guarded.http(press, reader)
    let connection = try harness.connect()
    for headers in ["", press.bearer, reader.bearer] {
      try connection.receive("GET /metrics HTTP/1.1\r\nHost: x\r\n\(headers)\r\n")
    }
    for path in ["/health", "/ready"] { try connection.receive("GET \(path) HTTP/1.1\r\nHost: x\r\n\r\n") }
    #expect(try connection.responses().map(\.status) == [401, 403, 200, 200, 200])
  }

  @Test func theAdminListenerAsksOthersAndNotWebPages() throws {
    var reader = TestIdentity(name: "prometheus")
    reader.scopes = [.readMetrics]
    let authority = IdentityAuthority([reader.definition])
    let harness = HTTPHarness(isAdmin: true) {
      $0.authentication = SourceAuthentication(.optional, authority)
      $0.checkedHost = "0.0.0.0"
    }
    func status(_ host: String, from address: String, _ headers: String = "", isEncrypted: Bool = false) throws -> Int?
    {
      let connection = try harness.connect(from: address, security: ConnectionSecurity(isEncrypted: isEncrypted))
      try connection.receive("GET /metrics HTTP/1.1\r\nHost: \(host)\r\n\(headers)\r\n")
      return try connection.responses().first?.status
    }
    for host in ["localhost:9400", "127.0.0.1:9400", "[::1]:9400", "LOCALHOST"] {
      #expect(try status(host, from: "127.0.0.1") == 200, "\(host)")
    }
    for host in [
      "rebound.example", "[evil]", "[::1].example", "[::1", "[127.0.0.1]", "[::1]:x", "127.0.0.1.example",
      "127.0.0.1:x",
      "[::1%evil]",
    ] {
      #expect(try status(host, from: "127.0.0.1") == 403, "\(host)")
    }
    #expect(try status("metrics.example", from: Self.remote) == 401)
    #expect(try status("metrics.example", from: Self.remote, reader.bearer, isEncrypted: true) == 200)
  }

  @Test func whatAddressesHaveInCommonIsTheirNetwork() {
    #expect(PeerAddress(ipAddress: "2001:db8:1:2:3:4:5:6").text == PeerAddress(ipAddress: "2001:db8:1:2::9").text)
    #expect(PeerAddress(ipAddress: "2001:db8:1:3::1").text != PeerAddress(ipAddress: "2001:db8:1:2::1").text)
    #expect(PeerAddress(ipAddress: "::ffff:127.0.0.1").isLoopback && !PeerAddress(ipAddress: "").isLoopback)
    #expect(PeerAddress(ipAddress: "::1").isLoopback && !PeerAddress(ipAddress: "128.0.0.1").isLoopback)
  }
}
