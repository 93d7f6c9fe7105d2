import CSluice
import PluginTestSupport
import PostgresTestSupport
import TestSupport
import Testing

@Suite struct RowTests {
  @Test func aRecordBecomesARowOfTheTableThatIsMadeForIt() throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start() == SLU_OK, "\(sink.instance.error)")
    #expect(sink.deliver([#"{"message":"hello","n":1}"#]) == SLU_OK, "\(sink.instance.error)")
    #expect(
      try sink.rows("time AT TIME ZONE 'UTC', source, topic, message, body")
        == [#"2023-11-14 22:13:20.123456|api|web|hello|{"n": 1, "message": "hello"}"#])
    let types = try sink.server.sql(
      "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position) "
        + "FROM information_schema.columns WHERE table_name = '\(sink.name)'")
    #expect(types == "time timestamp with time zone, source text, topic text, message text, body jsonb")
    #expect(sink.metric("postgres_rows") == 1 && sink.host.record.settled.isEmpty)
    sink.end()
  }

  @Test(
    "What becomes message and body depends on what the payload is",
    arguments: [
      (#"{"message":"a\u00e9\n\"\ud83d\ude00"}"#, "'aé\n\"😀'", true),
      (#"{"m\u0065ssage":"escaped name"}"#, "'escaped name'", true),
      (#"{"message":"first","message":"last"}"#, "'last'", true),
      (#"{"message":"first","message":7}"#, "NULL", true),
      (#"{"inner":{"message":"x"}}"#, "NULL", true),
      (#"{"message":{"message":"x"}}"#, "NULL", true),
      (#"[{"message":"x"}]"#, "NULL", true),
      ("  7.5e3 ", "NULL", true),
      ("\"message\"", "NULL", true),
      ("[info] started", "'[info] started'", false),
      (#"{"message":"cut"#, #"'{"message":"cut'"#, false),
      ("", "''", false),
      ("grüße", "'grüße'", false),
    ])
  func payloads(payload: String, message: String, isJSON: Bool) throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start() == SLU_OK && sink.deliver([payload]) == SLU_OK, "\(sink.instance.error)")
    let wanted = "message IS NOT DISTINCT FROM \(message) AND (body IS NOT NULL) = \(isJSON)"
    #expect(try sink.rows(wanted) == ["t"])
    sink.end()
  }

  @Test func everyColumnCanBeAskedFor() throws {
    let sink = try Sink(sharedServer())
    let columns = #","columns":["lsn","log_uuid","key","payload","ingest_time","topic"]"#
    #expect(sink.start(columns) == SLU_OK, "\(sink.instance.error)")
    var record = FakeBatch.Record(bytes: [0, 1, 0xFF])
    record.key = "k"
    record.eventTime = -1
    #expect(sink.instance.deliver(FakeBatch([record], firstLSN: 41)) == SLU_OK, "\(sink.instance.error)")
    let row = try sink.server.sql(
      "SELECT lsn, log_uuid, key, payload, extract(epoch FROM ingest_time) FROM \(sink.name)")
    #expect(row == "41|\(FakeBatch.uuid)|k|\\x0001ff|1700000001.000000")
    sink.end()
  }

  @Test func timesBefore1970AreRoundedDown() throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start(#","columns":["time"]"#) == SLU_OK)
    var record = FakeBatch.Record("{}")
    record.eventTime = -1
    #expect(sink.instance.deliver(FakeBatch([record])) == SLU_OK)
    #expect(try sink.server.sql("SELECT time AT TIME ZONE 'UTC' FROM \(sink.name)") == "1969-12-31 23:59:59.999999")
    sink.end()
  }

  @Test func aTableThatIsThereMayHaveOtherTypesAndMoreColumns() throws {
    let table =
      "id bigserial PRIMARY KEY, topic varchar(20), body json, message text, source text, time timestamp, note text"
    let sink = try Sink(sharedServer(), table: table)
    #expect(sink.start() == SLU_OK, "\(sink.instance.error)")
    #expect(sink.deliver([#"{"message":"a\tb\u00e4"}"#]) == SLU_OK, "\(sink.instance.error)")
    #expect(
      try sink.rows("id, time, topic, body, note") == [#"1|2023-11-14 22:13:20.123456|web|{"message":"a\tb\u00e4"}|"#])
    sink.end()
  }

  @Test func manyRowsAndLargeOnesGoInOneTransaction() throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start() == SLU_OK)
    let payloads =
      (0..<20_000).map { #"{"message":"\#($0)"}"# } + [#"{"message":"\#(String(repeating: "x", count: 3 << 20))"}"#]
    #expect(sink.deliver(payloads) == SLU_OK, "\(sink.instance.error)")
    #expect(try sink.count() == 20_001)
    #expect(try sink.server.count("SELECT count(DISTINCT xmin::text) FROM \(sink.name)") == 1)
    #expect(sink.deliver(["{}"], firstLSN: 20_002) == SLU_OK)
    #expect(sink.metric("postgres_connections") == 1)
    sink.end()
  }

  @Test func randomPayloadsAreStoredAsTheyAreOrRejected() throws {
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    let sink = try Sink(sharedServer())
    #expect(sink.start(#","columns":["lsn","message","body"]"#) == SLU_OK)
    let pieces = [
      "{", "}", "[", "]", "\"", ":", ",", "message", "\\u00", "\\ud83d", "0", "1", "e", "-", ".", "é", " ", "\u{0}",
    ]
    let payloads = (0..<2000).map { _ in
      (0..<Int.random(in: 0...8, using: &random)).map { _ in pieces.randomElement(using: &random) ?? "" }.joined()
    }
    #expect(sink.deliver(payloads) == SLU_OK, "\(sink.instance.error), seed \(random.seed)")
    #expect(try sink.count() + sink.rejected.count == payloads.count, "seed \(random.seed)")
    for (index, reason) in sink.rejected { #expect(reason.hasPrefix("22"), "\(payloads[index]): \(reason)") }
    // What is no JSON for the plugin is none for the server, and the other way round.
    for (index, payload) in payloads.enumerated() where sink.rejected[index] == nil && !payload.isEmpty {
      let literal = "E'" + payload.flatMap { $0 == "'" || $0 == "\\" ? ["\\", $0] : [$0] } + "'"
      let isJSON = try sink.server.sql(
        "SELECT body IS NOT NULL OR message IS NOT DISTINCT FROM \(literal) FROM \(sink.name) WHERE lsn = \(index + 1)")
      #expect(isJSON == "t", "\(payload), seed \(random.seed)")
      if index > 40 { break }
    }
    sink.end()
  }
}
