import CSluice
import PluginTestSupport
import PostgresTestSupport
import Testing

@Suite struct TableTests {
  @Test func aMissingTableThatMayNotBeMadeIsWaitedFor() throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start(#","create":false"#) == SLU_E_RETRYABLE)
    #expect(
      sink.instance.error == "PostgreSQL refuses: 42P01 there is no table \(sink.name). "
        + "Create the table, or set config.create to true. The records wait in the stream.")
    try sink.server.sql("CREATE TABLE \(sink.name) (\(Sink.columns))")
    #expect(sink.instance.start() == SLU_OK && sink.deliver(["{}"]) == SLU_OK)
    #expect(try sink.count() == 1)
    sink.end()
  }

  @Test(
    "A table that can't take the rows is refused with what to do about it",
    arguments: [
      (
        "time timestamptz, source text, topic text, message text",
        "42703 table T has no column \"body\": add it as jsonb, or leave it out of config.columns"
      ),
      (
        "time integer, source text, topic text, message text, body jsonb",
        "42804 column \"time\" of table T is integer, and must be timestamptz or timestamp: alter it, or name another "
          + "table in config.table"
      ),
      (
        "time timestamptz, source text, topic text, message bytea, body jsonb",
        "42804 column \"message\" of table T is bytea, and must be text or varchar: alter it, or name another "
          + "table in config.table"
      ),
      (
        "time timestamptz, source text, topic text, message text, body jsonb, other text NOT NULL",
        "42P16 column \"other\" of table T is NOT NULL, has no default, and nothing is written to it: give it a default"
      ),
    ])
  func tablesThatDoNotFit(columns: String, problem: String) throws {
    let sink = try Sink(sharedServer(), table: columns)
    #expect(sink.start() == SLU_E_RETRYABLE)
    let text =
      "PostgreSQL refuses: " + problem.replacing(" T ", with: " \(sink.name) ") + ". The records wait in the stream."
    #expect(sink.instance.error == text)
    try sink.server.sql("DROP TABLE \(sink.name)")
    #expect(sink.instance.start() == SLU_OK)
    sink.end()
  }

  @Test func aColumnWhoseTypeChangesUnderLoadHoldsItsRecordsUntilItFitsAgain() throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start() == SLU_OK && sink.deliver([#"{"message":"1"}"#]) == SLU_OK)
    try sink.server.sql("ALTER TABLE \(sink.name) ALTER body TYPE integer USING 0, ALTER time TYPE text")
    let two = [#"{"message":"2"}"#, #"{"message":"3"}"#]
    #expect(sink.deliver(two) == SLU_E_RETRYABLE, "nothing is rejected for it")
    #expect(sink.deliver(two) == SLU_E_RETRYABLE)
    #expect(sink.instance.error.contains("42804 column \"time\""), "\(sink.instance.error)")
    #expect(sink.host.record.settled.isEmpty)
    try sink.server.sql("ALTER TABLE \(sink.name) DROP body, ADD body json, ALTER time TYPE timestamptz USING now()")
    #expect(sink.deliver(two) == SLU_OK, "\(sink.instance.error)")
    #expect(try sink.rows() == ["1", "2", "3"])
    sink.end()
  }

  @Test func aTableThatIsDroppedUnderLoadIsMadeAgain() throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start() == SLU_OK && sink.deliver(["{}"]) == SLU_OK)
    try sink.server.sql("DROP TABLE \(sink.name)")
    #expect(sink.deliver(["{}", "{}"]) == SLU_E_RETRYABLE)
    #expect(sink.deliver(["{}", "{}"]) == SLU_OK)
    #expect(try sink.count() == 2)
    sink.end()
  }

  @Test func namesAreTakenAsTheyAreWritten() throws {
    let server = try sharedServer()
    let sink = try Sink(server)
    try server.sql(#"CREATE SCHEMA IF NOT EXISTS "My ""Schema""""#)
    let url = server.url()
    let table = #"My \"Schema\".x'; DROP TABLE \\ \"\#(sink.name)"#
    #expect(sink.instance.create(#"{"url":"\#(url)","table":"\#(table)"}"#) == SLU_OK, "\(sink.instance.error)")
    #expect(sink.instance.start() == SLU_OK, "\(sink.instance.error)")
    #expect(sink.deliver(["{}"]) == SLU_OK)
    let quoted = #""My ""Schema""."x'; DROP TABLE \ ""\#(sink.name)""#.replacing(#"""."x"#, with: #"""".""# + "x")
    #expect(try server.count("SELECT count(*) FROM \(quoted)") == 1)
    sink.end()
  }

  @Test func aUserWhoMayOnlyInsertIsEnoughForATableThatIsThere() throws {
    let sink = try Sink(sharedServer(), table: Sink.columns)
    let user = "u_" + sink.name
    try sink.server.sql("CREATE ROLE \(user) LOGIN PASSWORD 'x y'")
    let url = sink.server.url(user: user, password: "x y")
    #expect(sink.start(url: url) == SLU_E_RETRYABLE)
    #expect(
      sink.instance.error == "PostgreSQL refuses: 42501 permission denied for column \"time\" of table \(sink.name). "
        + "Grant the user INSERT on the table (and CREATE on its schema if the table is to be made). "
        + "The records wait in the stream.")
    try sink.server.sql("GRANT INSERT ON \(sink.name) TO \(user)")
    #expect(sink.instance.start() == SLU_OK, "\(sink.instance.error)")
    #expect(sink.deliver([#"{"message":"1"}"#, #"{"message":"\ud800"}"#]) == SLU_OK, "\(sink.instance.error)")
    #expect(try sink.rows() == ["1"] && sink.rejected.count == 1)
    try sink.server.sql("REVOKE INSERT ON \(sink.name) FROM \(user)")
    #expect(sink.deliver(["{}"], firstLSN: 3) == SLU_E_RETRYABLE, "a right that is taken away rejects nothing")
    sink.end()
  }

  @Test func aUserWhoMayNotMakeTheTableIsToldSo() throws {
    let sink = try Sink(sharedServer())
    let user = "u_" + sink.name
    try sink.server.sql("CREATE ROLE \(user) LOGIN PASSWORD 'x'")
    #expect(sink.start(url: sink.server.url(user: user, password: "x")) == SLU_E_RETRYABLE)
    #expect(sink.instance.error.contains("42501 permission denied for schema public"), "\(sink.instance.error)")
    sink.end()
  }

  @Test func manyInstancesMayMakeOneTableAtOnce() throws {
    let server = try sharedServer()
    let first = try Sink(server)
    let table = first.name
    let started = try (0..<6).map { _ in
      let sink = try Sink(server)
      nonisolated(unsafe) let instance = sink.instance
      let url = server.url()
      return (
        sink,
        Pending {
          let created = instance.create(#"{"url":"\#(url)","table":"\#(table)"}"#)
          return created == SLU_OK ? instance.start() : created
        }
      )
    }
    for (sink, code) in started {
      #expect(code.get() == SLU_OK, "\(sink.instance.error)")
      sink.end()
    }
    #expect(try first.count() == 0)
  }
}
