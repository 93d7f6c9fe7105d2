import CSluice
import PluginTestSupport
import SluicePluginKit
import TestSupport
import Testing

/// Every kind of property, and bounds that the schema can say.
private struct Bounded: SubscriberConfiguration {
  enum Mode: String, Codable, CaseIterable { case fast, safe }
  struct Target: SubscriberConfiguration {
    var host: String
    var port: UInt16
    var timeout: Nanoseconds?

    enum CodingKeys: CodingKey { case host, port, timeout }
    static let fields = FieldTable(
      CodingKeys.self,
      [.host: Field("Its name.", minLength: 1), .port: Field("Its port.", default: UInt16(80), minimum: 1)])
  }
  struct Plain: Decodable, Sendable {
    var a: Int
    var b: [Bool]?
  }

  var name: String
  var secret: Secret
  var tag: String?
  var mode: Mode
  var modes: [Mode]
  var size: ByteCount
  var wait: Nanoseconds
  var waits: [Nanoseconds]
  var small: Int8
  var unsigned: UInt64
  var ratio: Float
  var share: Double
  var target: Target
  var targets: [String: Target]
  var plain: Plain?
  var anything: JSONValue?
  var table: [[String: Int]]

  enum CodingKeys: String, CodingKey, CaseIterable {
    case name, secret, tag, mode, modes, size, wait, waits, small, unsigned, ratio, share, target, targets, plain
    case anything, table = "ta/ble"
  }

  static let fields = FieldTable(
    CodingKeys.self,
    [
      .name: Field("", minLength: 2, maxLength: 5, pattern: "^[A-Za-z0-9é]+$"),
      .secret: Field("", minLength: 1),
      .tag: Field("", pattern: "^.[^/]*$|^$"),
      .mode: Field("How.", default: Mode.safe),
      .modes: Field("", default: [Mode.fast], minItems: 1, maxItems: 2),
      .size: Field("", default: ByteCount.mebibytes(1), minimum: 4096, maximum: .gibibytes(1)),
      .wait: Field("", default: Nanoseconds.milliseconds(1500), minimum: .seconds(1), maximum: .hours(1)),
      .waits: Field("", default: [Nanoseconds.seconds(2)]),
      .small: Field("", default: Int8(5)),
      .unsigned: Field("", default: UInt64(0)),
      .ratio: Field("", default: Float(0.5)),
      .share: Field("", default: 0.25, minimum: 0, maximum: 1),
      .target: Field("", default: ["host": "localhost"]),
      .targets: Field("", default: [String: String]()),
      .table: Field("", default: [[String: Int]]()),
    ])
}

@Suite struct SchemaTests {
  @Test("A schema says of each property what its type and its field say")
  func aSchemaIsDerived() throws {
    struct Small: SubscriberConfiguration {
      var path: String
      var wait: Nanoseconds
      var token: Secret?
      enum CodingKeys: String, CodingKey { case path = "directory", wait, token }
      static let fields = FieldTable(
        CodingKeys.self,
        [
          .path: Field("Where.", minLength: 1),
          .wait: Field("", default: Nanoseconds.seconds(90), minimum: .milliseconds(1)),
        ])
    }
    #expect(
      try Small.schema().description
        == #"{"type":"object","additionalProperties":false,"required":["directory"],"properties":{"#
        + #""directory":{"type":"string","minLength":1,"description":"Where."},"#
        + #""wait":{"type":["string","integer"],"format":"sluice-duration","minimum":1000000,"default":"90s"},"#
        + #""token":{"type":"string","x-sluice-secret":true}}}"#)
    #expect(try NoConfiguration.schema().description == #"{"type":"object","additionalProperties":false}"#)
  }

  @Test("What the daemon accepts by a derived schema decodes, and of its defaults it makes what the kit makes")
  func acceptedConfigsDecode() throws {
    let schema = try Bounded.schema()
    let seed = UInt64.random(in: 0...UInt64.max)
    var configs = RandomConfig(schema, seed: seed)
    var accepted = 0
    let count = 1000
    for _ in 0..<count {
      let config = configs.next()
      guard case .delivered(let json) = DaemonCheck(config, schema: schema.description) else { continue }
      accepted += 1
      #expect(throws: Never.self, "seed \(seed): \(config) was delivered as \(json)") { _ = try Bounded(json: json) }
    }
    #expect(accepted > count / 10 && accepted < count * 9 / 10, "seed \(seed): \(accepted) of \(count) were accepted")
    let least = #"{"name":"abc","secret":"s"}"#
    guard case .delivered(let filled) = DaemonCheck(least, schema: schema.description) else {
      Issue.record("\(DaemonCheck(least, schema: schema.description))")
      return
    }
    #expect(try "\(Bounded(json: filled))" == "\(Bounded(json: least))")
  }

  private struct Recursive: SubscriberConfiguration { var inner: [Recursive] }
  private enum Either: Decodable, Sendable { case left(Int), right(String) }
  private struct Choice: SubscriberConfiguration { var either: Either }
  private struct Numbered: SubscriberConfiguration { var byNumber: [Int: String] }
  private struct Unknown: SubscriberConfiguration {
    var a: Int
    enum CodingKeys: CodingKey { case a }
    enum Others: CodingKey { case b }
    static let fields = FieldTable(Others.self, [.b: Field("")])
  }
  private struct WrongDefault: SubscriberConfiguration {
    var a: Int
    enum CodingKeys: CodingKey { case a }
    static let fields = FieldTable(CodingKeys.self, [.a: Field("", default: "one")])
  }
  private struct LowDefault: SubscriberConfiguration {
    var a: Int
    enum CodingKeys: CodingKey { case a }
    static let fields = FieldTable(CodingKeys.self, [.a: Field("", default: 1, minimum: 2)])
  }
  private struct WrongBound: SubscriberConfiguration {
    var a: String
    enum CodingKeys: CodingKey { case a }
    static let fields = FieldTable(CodingKeys.self, [.a: Field("", minimum: 2)])
  }
  private struct WrongPattern: SubscriberConfiguration {
    var a: String
    enum CodingKeys: CodingKey { case a }
    static let fields = FieldTable(CodingKeys.self, [.a: Field("", pattern: "(")])
  }
  private struct KnownSecret: SubscriberConfiguration {
    var a: Secret
    enum CodingKeys: CodingKey { case a }
    static let fields = FieldTable(CodingKeys.self, [.a: Field("", default: "one")])
  }
  private struct Picky: Decodable, Sendable {
    init(from decoder: any Decoder) throws {
      guard try String(from: decoder) == "x" else { throw decoder.fault("is not x") }
    }
  }
  private struct NoSample: SubscriberConfiguration { var a: Picky }

  @Test("A configuration that no schema can be made of says what is at fault with it")
  func faultsAreTold() {
    func fault(_ schema: () throws -> JSONValue) -> String {
      do { return "\(try schema())" } catch { return "\(error)" }
    }
    #expect(fault(Recursive.schema).contains("nested deeper than 32"))
    #expect(fault(Choice.schema).hasPrefix("config /either: Either can't be described by a schema"))
    #expect(fault(Numbered.schema).hasPrefix("config /byNumber/name: Expected Int key"))
    #expect(fault(Unknown.schema) == "config: Unknown has fields that it does not decode: b")
    #expect(
      fault(WrongDefault.schema)
        == "config /a: the default of its field is refused: an integer was expected, this is a string")
    #expect(fault(LowDefault.schema).contains("/a: the default of its field is refused: 1 is not between 2"))
    #expect(fault(WrongBound.schema) == "config /a: minimum and maximum are for numbers, sizes and durations")
    #expect(fault(WrongPattern.schema).contains("/a: has a pattern that can't be read"))
    #expect(fault(KnownSecret.schema) == "config /a: a secret has no default and no example")
    #expect(fault(NoSample.schema) == "config /a: Picky can't be described by a schema: is not x")
  }

  private struct WithExample: SubscriberConfiguration {
    var a: Picky
    enum CodingKeys: CodingKey { case a }
    static let fields = FieldTable(CodingKeys.self, [.a: Field("", example: "x")])
  }

  @Test("An example stands in where a type refuses the sample that it would be given")
  func examplesAreSamples() throws {
    #expect(
      try WithExample.schema()["properties"]?.description == #"{"a":{"type":"string","examples":["x"]}}"#)
  }

  private final class Faulty: Subscriber {
    static let kind = "faulty"
    static let summary = "Its configuration is at fault."
    init(_: WrongDefault, host: Host) throws {}
    func deliver(_ batch: borrowing Batch) throws -> Delivery { .done }
  }

  @Test("A kind whose configuration is at fault refuses every config and says why")
  func aFaultyKindIsRefused() throws {
    let module = SubscriberModule(name: "faulty", version: "1", [Faulty.self])
    let instance = DrivenInstance(try #require(module.table.pointee.subscribers[0]), host: FakeHost())
    let checked = instance.validate("{}")
    #expect(checked.code == SLU_E_CONFIG)
    #expect(checked.findings.first?.hasPrefix("error /a: the plugin's Configuration is at fault: the default") == true)
    #expect(instance.create("{}") == SLU_E_CONFIG && instance.error.contains("is at fault"))
  }

  @Test("A value written as JSON is read as the same value")
  func writtenJSONIsReadBack() throws {
    let value = JSONValue.object([
      .init("a\"\\\n\u{1}é😀", ["x", 1, .number(0.1), .number(1e300), true, .null, .object([])]),
      .init("", .integer(Int64.min)),
    ])
    #expect(try JSONValue(reading: value.description) == value)
  }
}
