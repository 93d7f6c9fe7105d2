import CSluice
import Foundation
import PluginTestSupport
import PostgresSubscriber
import PostgresTestSupport
import TestSupport
import Testing

@Suite struct BadRowTests {
  @Test(
    "A bad row is rejected with its SQLSTATE, and the rest is kept",
    arguments: [
      (#"{"message":"x","n":"\u0000"}"#, "22P05"), (#"{"message":"\ud800"}"#, "22P02"),
      (#"{"n":1e999999}"#, "22003"), ("text with \0", "22021"),
    ])
  func badRows(payload: String, sqlstate: String) throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start() == SLU_OK)
    let good = (10..<60).map { #"{"message":"\#($0)"}"# }
    var payloads = good
    payloads.insert(payload, at: 23)
    #expect(sink.deliver(payloads) == SLU_OK, "\(sink.instance.error)")
    #expect(try sink.rows() == (10..<60).map(String.init))
    #expect(sink.rejected.keys.sorted() == [23] && sink.rejected[23]?.hasPrefix(sqlstate) == true, "\(sink.rejected)")
    #expect(sink.host.record.settled.map(\.code) == [UInt32(sqlstate, radix: 36)])
    #expect(sink.metric("postgres_rows") == 50 && sink.metric("postgres_rejected_rows") == 1)
    #expect(sink.deliver(good, firstLSN: 52) == SLU_OK && sink.metric("postgres_connections") == 1)
    sink.end()
  }

  @Test func bytesThatAreNotUTF8AreRejectedWithoutAskingTheServer() throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start() == SLU_OK)
    var bad = FakeBatch.Record(#"{"message":"x"}"#)
    bad.topic = [0xC3, 0x28]
    let batch = FakeBatch([.init("{}"), .init(bytes: [0xFF, 0xFE]), bad, .init("{}")])
    #expect(sink.instance.deliver(batch) == SLU_OK)
    #expect(sink.rejected == [1: "22021 the payload is not UTF-8", 2: "22021 the topic is not UTF-8"])
    #expect(try sink.count() == 2)
    sink.end()
  }

  @Test(
    "What the table forbids is told apart from what it allows",
    arguments: [
      ("message text CHECK (message <> 'bad'), CHECK (true)", "", "23514"),
      ("message varchar(4)", "", "22001"),
      ("message text UNIQUE", "", "23505"),
      ("message text UNIQUE DEFERRABLE INITIALLY DEFERRED", "", "23505"),
      ("message text NOT NULL", "", "23502"),
      ("message text", "IF NEW.message = 'bad' THEN RAISE EXCEPTION 'no'; END IF;", "P0001"),
    ])
  func constraints(column: String, trigger: String, sqlstate: String) throws {
    let sink = try Sink(
      sharedServer(), table: Sink.columns.replacingOccurrences(of: "message text", with: column))
    if !trigger.isEmpty { try addTrigger(trigger, to: sink) }
    #expect(sink.start() == SLU_OK, "\(sink.instance.error)")
    let bad = sqlstate == "22001" ? "longer" : sqlstate == "23505" ? "1" : "bad"
    let payloads = ["1", "2", "3", bad, "4"].map { text in
      sqlstate == "23502" && text == "bad" ? "{}" : #"{"message":"\#(text)"}"#
    }
    #expect(sink.deliver(payloads) == SLU_OK, "\(sink.instance.error)")
    #expect(try sink.rows() == ["1", "2", "3", "4"])
    #expect(sink.rejected.keys.sorted() == [3] && sink.rejected[3]?.hasPrefix(sqlstate) == true, "\(sink.rejected)")
    sink.end()
  }

  @Test func aServerThatIsOutOfSpaceRejectsNothing() throws {
    let sink = try Sink(sharedServer(), table: Sink.columns)
    try addTrigger("RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full';", to: sink)
    #expect(sink.start() == SLU_OK)
    #expect(sink.deliver(["{}", "{}"]) == SLU_E_RETRYABLE)
    #expect(
      sink.instance.error == "PostgreSQL refuses: 53100 could not extend file. Free some space on the server. "
        + "The records wait in the stream.")
    #expect(sink.host.record.settled.isEmpty && sink.host.record.health == [SLU_HEALTH_DOWN])
    try sink.server.sql("DROP TRIGGER t ON \(sink.name)")
    #expect(sink.deliver(["{}", "{}"]) == SLU_OK)
    #expect(sink.host.record.health == [SLU_HEALTH_DOWN, SLU_HEALTH_OK])
    sink.end()
  }

  @Test func allRowsOfABatchMayBeBad() throws {
    let sink = try Sink(sharedServer())
    #expect(sink.start() == SLU_OK)
    #expect(sink.deliver(Array(repeating: #"{"message":"\ud800"}"#, count: 17)) == SLU_OK)
    #expect(sink.rejected.keys.sorted() == Array(0..<17))
    #expect(sink.deliver([#"{"message":"\ud800"}"#], firstLSN: 18) == SLU_OK)
    #expect(try sink.count() == 0)
    sink.end()
  }

  @Test func whicheverRowsAreBadExactlyTheyAreRejected() throws {
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    let sink = try Sink(sharedServer())
    #expect(sink.start() == SLU_OK)
    var stored = 0
    for round in 0..<8 {
      let share = [0.01, 0.1, 0.5, 0.95].randomElement(using: &random) ?? 0.1
      let bad = (0..<200).map { _ in Double.random(in: 0..<1, using: &random) < share }
      let before = sink.host.record.settled.count
      #expect(sink.deliver(bad.map { $0 ? #"{"n":1e999999}"# : "{}" }) == SLU_OK, "seed \(random.seed)")
      let told = sink.host.record.settled[before...].map { Int($0.first - FakeBatch.firstToken) }
      #expect(told == bad.indices.filter { bad[$0] }, "seed \(random.seed), round \(round)")
      stored += bad.count { !$0 }
      #expect(try sink.count() == stored, "seed \(random.seed), round \(round)")
    }
    sink.end()
  }

  private func addTrigger(_ body: String, to sink: Sink) throws {
    try sink.server.sql(
      "CREATE FUNCTION f_\(sink.name)() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \(body) RETURN NEW; END $$; "
        + "CREATE TRIGGER t BEFORE INSERT ON \(sink.name) FOR EACH ROW EXECUTE FUNCTION f_\(sink.name)()")
  }
}

@Suite struct RowSearchTests {
  private let error = ServerError(sqlstate: "22P02", message: "bad")

  @Test func aSearchEndsWithEveryRowKnownAfterFewTries() {
    var random = SeededGenerator(seed: UInt64.random(in: 0...UInt64.max))
    for _ in 0..<500 {
      let count = Int.random(in: 1...300, using: &random)
      let bad = Set(
        (0..<Int.random(in: 1...count, using: &random)).map { _ in Int.random(in: 0..<count, using: &random) })
      var search = RowSearch(count: count, error: error)
      var tries = 0
      while let range = search.next {
        tries += 1
        if bad.isDisjoint(with: range) { search.stored() } else { search.refused(error) }
      }
      #expect(Set(search.bad.map(\.row)) == bad, "seed \(random.seed)")
      #expect(search.good.flatMap(Array.init) == (0..<count).filter { !bad.contains($0) }, "seed \(random.seed)")
      let depth = Int.bitWidth - count.leadingZeroBitCount
      #expect(tries <= min(2 * count, 2 * bad.count * (depth + 1)), "seed \(random.seed)")
    }
  }

  @Test func oneRowThatIsRefusedAloneNeedsNoSearch() {
    let search = RowSearch(count: 1, error: error)
    #expect(search.next == nil && search.bad.map(\.row) == [0] && search.good.isEmpty)
  }
}
