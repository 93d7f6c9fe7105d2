import CSluice
import Foundation
import PluginTestSupport
import PostgresSubscriber
import PostgresTestSupport
import Testing

/// Waits until a session of the sink's waits for a lock, and so is in the middle of its batch.
private func waitsForALock(_ sink: Sink) throws -> Bool {
  try eventually {
    try sink.server.count(
      "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%\(sink.name)%'") > 0
  }
}

@Suite struct FaultTests {
  private let three = ["1", "2", "3"].map { #"{"message":"\#($0)"}"# }

  @Test func aServerThatIsNotThereIsWaitedFor() throws {
    let server = try PostgresServer()
    let sink = try Sink(server)
    try server.stop()
    #expect(sink.start() == SLU_E_RETRYABLE)
    #expect(sink.instance.error.hasPrefix("no connection to PostgreSQL: ") && sink.instance.error.contains("refused"))
    #expect(sink.host.record.health == [SLU_HEALTH_DOWN])
    try server.start()
    #expect(sink.instance.start() == SLU_OK && sink.deliver(three) == SLU_OK)
    #expect(sink.host.record.health == [SLU_HEALTH_DOWN, SLU_HEALTH_OK])
    #expect(try sink.rows() == ["1", "2", "3"])
    sink.end()
  }

  @Test func aServerThatWasRestartedBetweenBatchesCostsNoFailure() throws {
    let server = try PostgresServer()
    let sink = try Sink(server)
    #expect(sink.start() == SLU_OK && sink.deliver([three[0]]) == SLU_OK)
    try server.stop()
    try server.start()
    #expect(sink.deliver([three[1]], firstLSN: 2) == SLU_OK, "\(sink.instance.error)")
    try server.kill()
    try server.start()
    #expect(sink.deliver([three[2]], firstLSN: 3) == SLU_OK, "\(sink.instance.error)")
    #expect(try sink.rows() == ["1", "2", "3"] && sink.metric("postgres_connections") == 3)
    sink.end()
  }

  @Test func aServerKilledInMidBatchStoresTheBatchOnceWhenItIsBack() throws {
    let server = try PostgresServer()
    let sink = try Sink(server)
    #expect(sink.start() == SLU_OK && sink.deliver([#"{"message":"0"}"#]) == SLU_OK)
    let other = try otherSession(server)
    try other.sql("BEGIN; LOCK TABLE \(sink.name)")
    let answer = sink.deliverAside(three, firstLSN: 2)
    #expect(try waitsForALock(sink))
    try server.kill()
    #expect(answer.get() == SLU_E_RETRYABLE)
    #expect(sink.deliver(three, firstLSN: 2) == SLU_E_RETRYABLE, "it is still down")
    try server.start()
    #expect(sink.deliver(three, firstLSN: 2) == SLU_OK, "\(sink.instance.error)")
    #expect(try sink.rows() == ["0", "1", "2", "3"])
    #expect(sink.metric("postgres_rows") == 4 && sink.metric("postgres_uncertain_rows") == 0)
    sink.end()
  }

  @Test func rowsAreNotTakenForStoredWhenACrashGaveTheirTransactionsNumberToAnother() throws {
    // Nothing but a commit brings the log to the disk, so that the crash forgets the number.
    let server = try PostgresServer(settings: ["wal_writer_delay=10s"])
    let sink = try Sink(server)
    #expect(sink.start() == SLU_OK && sink.deliver([#"{"message":"0"}"#]) == SLU_OK)
    try server.sql(
      "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS "
        + "'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END'")
    try server.sql(
      "CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON \(sink.name) DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        + "EXECUTE FUNCTION hold()")
    let other = try otherSession(server)
    try other.sql("SELECT pg_advisory_lock(1)")
    let answer = sink.deliverAside(three, firstLSN: 2)
    #expect(try waitsForALock(sink), "the rows are there, and the commit waits")
    try server.kill()
    #expect(answer.get() == SLU_E_RETRYABLE)
    try server.start()
    try server.sql("CREATE TABLE others (i int)")
    for _ in 0..<8 { try server.sql("INSERT INTO others VALUES (1)") }
    #expect(sink.deliver(three, firstLSN: 2) == SLU_OK, "\(sink.instance.error)")
    #expect(try sink.rows() == ["0", "1", "2", "3"] && sink.metric("postgres_found_rows") == 0)
    sink.end()
  }

  @Test("Rows whose answer was lost are not written again", arguments: [false, true])
  func lostAnswers(withABadRow: Bool) throws {
    let server = try sharedServer()
    let sink = try Sink(server)
    let proxy = Proxy(to: server.port)
    let url = server.url().replacingOccurrences(of: ":\(server.port)/", with: ":\(proxy.port)/")
    #expect(sink.start(url: url) == SLU_OK, "\(sink.instance.error)")
    let payloads = withABadRow ? [three[0], #"{"message":"\ud800"}"#] + three[1...] : three
    // What the server says after it has committed.
    proxy.lose(withABadRow ? "COMMIT\0" : "COPY 3\0")
    #expect(sink.deliver(payloads) == SLU_E_RETRYABLE && proxy.hangUpCount == 1)
    #expect(sink.host.record.settled.isEmpty)
    #expect(try sink.rows() == ["1", "2", "3"])
    #expect(sink.deliver(payloads + [#"{"message":"4"}"#]) == SLU_OK, "\(sink.instance.error)")
    #expect(try sink.rows() == ["1", "2", "3", "4"])
    #expect(sink.host.record.settled.count { $0.verdict == SLU_ACK } == 3)
    #expect(sink.rejected.keys.sorted() == (withABadRow ? [1] : []))
    #expect(sink.metric("postgres_rows") == 4 && sink.metric("postgres_found_rows") == 3)
    #expect(sink.metric("postgres_uncertain_rows") == 0)
    sink.end()
  }

  @Test func rowsWhoseFateTheServerCannotTellAreWrittenAgainAndCounted() throws {
    let server = try sharedServer()
    let sink = try Sink(server, table: Sink.columns)
    let user = "u_" + sink.name
    try server.sql("CREATE ROLE \(user) LOGIN PASSWORD 'x'; GRANT INSERT ON \(sink.name) TO \(user)")
    try server.sql("ALTER ROLE \(user) SET search_path = public")
    let proxy = Proxy(to: server.port)
    let url = "postgresql://\(user):x@127.0.0.1:\(proxy.port)/postgres"
    #expect(sink.start(url: url) == SLU_OK, "\(sink.instance.error)")
    proxy.lose("COPY 3\0")
    #expect(sink.deliver(three) == SLU_E_RETRYABLE)
    try server.sql("REVOKE EXECUTE ON FUNCTION txid_status(bigint) FROM PUBLIC")
    defer { _ = try? server.sql("GRANT EXECUTE ON FUNCTION txid_status(bigint) TO PUBLIC") }
    #expect(sink.deliver(three) == SLU_OK, "\(sink.instance.error)")
    #expect(try sink.rows() == ["1", "1", "2", "2", "3", "3"])
    #expect(sink.metric("postgres_uncertain_rows") == 3 && sink.metric("postgres_found_rows") == 0)
    sink.end()
  }

  @Test func aLockedTableIsWaitedForNoLongerThanTheTimeout() throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start(#","statement_timeout":5000000000"#) == SLU_OK)
    let other = try otherSession(sink.server)
    try other.sql("BEGIN; LOCK TABLE \(sink.name)")
    var answer = sink.deliver(three)
    // The client gives up two seconds behind the server. A machine that stands still for that long shows this, and nothing of
    // the server's.
    for _ in 0..<5 where answer == SLU_E_TIMEOUT { answer = sink.deliver(three) }
    #expect(answer == SLU_E_RETRYABLE)
    #expect(
      sink.instance.error.contains("57014 canceling statement due to statement timeout"), "\(sink.instance.error)")
    try other.sql("ROLLBACK")
    // Its statements have no more time than the one that waited.
    #expect(eventually { sink.deliver(three) == SLU_OK } && sink.host.record.settled.isEmpty)
    #expect(try sink.rows() == ["1", "2", "3"])
    sink.end()
  }

  @Test func anInterruptEndsAWaitAtOnce() throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start(#","statement_timeout":3600000000000"#) == SLU_OK)
    let other = try otherSession(sink.server)
    try other.sql("BEGIN; LOCK TABLE \(sink.name)")
    let answer = sink.deliverAside(three)
    #expect(try waitsForALock(sink))
    sink.instance.interrupt()
    #expect(answer.get() == SLU_E_TIMEOUT)
    try other.sql("ROLLBACK")
    #expect(sink.deliver(three) == SLU_OK)
    sink.end()
  }

  @Test func aServerThatNeverAnswersIsGivenUpAtTheDeadline() throws {
    // Takes the connection into its backlog and never says anything.
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        #expect(
          bind(descriptor, $0, length) == 0 && listen(descriptor, 1) == 0 && getsockname(descriptor, $0, &length) == 0)
      }
    }
    let port = UInt16(bigEndian: address.sin_port)
    let sink = try Sink(sharedServer())
    let url = "postgresql://u:p@127.0.0.1:\(port)/d"
    #expect(sink.start(#","connect_timeout":200000000"#, url: url) == SLU_E_TIMEOUT)
    #expect(
      sink.instance.error == "PostgreSQL: no answer in time while trying to connect to 127.0.0.1:\(port)/d as u. "
        + "The records wait in the stream.")
    sink.end()
  }

  @Test func noPasswordIsEverShown() throws {
    let sink = try Sink(sharedServer())
    let secret = "hunter2 %@"
    #expect(sink.start(url: sink.server.url(password: secret)) == SLU_E_RETRYABLE)
    #expect(sink.instance.error.contains("password authentication failed for user"))
    for bad in ["postgresql://u:hunter2%zz@h/d", "postgresql://u:hunter2@[h/d", "user=u password=hunter2 x"] {
      let other = try Sink(sharedServer())
      #expect(other.instance.create(#"{"url":"\#(bad)"}"#) == SLU_E_CONFIG)
      #expect(other.instance.error.contains("/url") && !other.instance.error.contains("hunter2"))
      let (code, findings) = other.instance.validate(#"{"url":"\#(bad)"}"#)
      #expect(code == SLU_E_CONFIG && !findings.joined().contains("hunter2"))
    }
    let shown = [sink.instance.error, sink.host.record.healthReason] + sink.host.record.lines.map { "\($0)" }
    #expect(!shown.joined().contains("hunter2"))
    #expect(redacted("a secret, a secret", "secret") == "a ***, a ***" && redacted("x", "") == "x")
    sink.end()
  }
}
