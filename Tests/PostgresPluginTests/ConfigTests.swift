import CSluice
import Foundation
import PluginTestSupport
import PostgresSubscriber
import TestSupport
import Testing

@Suite struct ConfigTests {
  @Test(
    "A config that makes no sense is refused with the place",
    arguments: [
      ("{}", "/url: is required"), (#"{"url":"nonsense"}"#, "/url: is neither a URL"),
      (#"{"url":"postgresql:///","table":"a.b.c"}"#, "/table: \"a.b.c\" is no table"),
      (#"{"url":"postgresql:///","table":"a."}"#, "/table"),
      (#"{"url":"postgresql:///","columns":["time","body","time"]}"#, "/columns/2: \"time\" stands twice"),
      (#"{"url":"postgresql:///","columns":["when"]}"#, "/columns/0: \"when\" is none of \"time\", "),
      (#"{"url":"postgresql:///","connect_timeout":1}"#, "/connect_timeout: 1 is not between"),
      (#"{"url":"postgresql:///","create":"yes"}"#, "/create: true or false was expected"),
    ])
  func aConfigThatMakesNoSenseIsRefused(config: String, message: String) throws {
    let sink = try Sink(sharedServer())
    #expect(sink.instance.create(config) == SLU_E_CONFIG)
    #expect(sink.instance.error.contains(message), "\(sink.instance.error)")
  }

  @Test func aPlaceholderForTheURLPassesValidation() throws {
    let sink = try Sink(sharedServer())
    #expect(sink.instance.validate(#"{"url":"***"}"#).code == SLU_OK)
    #expect(sink.instance.validate(#"{"url":"postgresql://h/d","table":"x"}"#).code == SLU_OK)
    #expect(sink.instance.validate(#"{"url":"***","table":"a.b.c"}"#).code == SLU_E_CONFIG)
  }

  @Test func theDaemonFillsInTheDefaultsOfTheSchemaAndThePluginTakesThem() throws {
    let sink = try Sink(sharedServer())
    let schema = sink.instance.kind.pointee.config_schema.string
    let json =
      #"{"url":"postgresql:///d","table":"logs","create":true,"#
      + #""columns":["time","source","topic","message","body"],"connect_timeout":10000000000,"#
      + #""statement_timeout":30000000000}"#
    #expect(DaemonCheck(#"{"url":"postgresql:///d"}"#, schema: schema) == .delivered(json))
    #expect(sink.instance.create(json) == SLU_OK, "\(sink.instance.error)")
    sink.end()
  }

  @Test func theSchemaIsJSONAndKeepsTheURLSecret() throws {
    let text = try Sink(sharedServer()).instance.kind.pointee.config_schema.string
    let schema = try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    let properties = try #require(schema["properties"] as? [String: [String: Any]])
    #expect(
      properties.keys.sorted() == ["columns", "connect_timeout", "create", "statement_timeout", "table", "url"])
    #expect(properties["url"]?["x-sluice-secret"] as? Bool == true)
  }

  @Test(
    "What txid_status says decides what becomes of rows whose answer was lost",
    arguments: [
      ("committed", UncertainRows.Fate.stored), ("aborted", .gone), ("in progress", .open), (nil, .unknown),
      ("?", .unknown),
    ] as [(String?, UncertainRows.Fate)])
  func fates(status: String?, fate: UncertainRows.Fate) {
    #expect(UncertainRows.Fate(status: status, mayBeReused: false) == fate)
    #expect(UncertainRows.Fate(status: status, mayBeReused: true) == (fate == .stored ? .unknown : fate))
  }

  @Test func aCrashOrAServerThatDoesNotTellMayUseANumberAgain() {
    func history(_ statistics: String?) -> ServerHistory { ServerHistory(line: "1/0001", statistics: statistics) }
    #expect(!history("a").mayReuse(history("a")))
    #expect(history("b").mayReuse(history("a")) && history("a").mayReuse(history(nil)))
    #expect(history(nil).mayReuse(history(nil)))
  }
}

@Suite struct SharedObjectTests {
  /// Dynamic products are built beside the test bundle.
  private let library = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    .appendingPathComponent("libsluice-postgres.so").path

  @Test func theSharedObjectExportsOneSymbol() throws {
    let symbols = try Command.run(["nm", "-D", "--defined-only", "--extern-only", library])
    #expect(symbols.output.split(separator: "\n").map { $0.split(separator: " ").last } == ["sluice_module_v1"])
  }

  @Test func theSharedObjectDescribesTheKindPostgres() throws {
    let module = try #require(loadModule(library)?.pointee)
    #expect(try #require(module.subscribers[0]).pointee.kind.string == "postgres")
  }
}
