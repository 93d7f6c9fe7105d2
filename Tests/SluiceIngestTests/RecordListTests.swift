import SluiceCore
import TestSupport
import Testing

@testable import SluiceIngest

@Suite("Bodies of many records")
struct RecordListTests {
  /// What a list says of a body.
  struct Read: Equatable {
    var records: [String] = []
    var refused: [String] = []
    var fault: String?
  }

  func read(_ text: String, maxRecordBytes: Int = 1 << 20) -> Read { read(Array(text.utf8), maxRecordBytes) }

  func read(_ bytes: [UInt8], _ maxRecordBytes: Int = 1 << 20) -> Read {
    var list = RecordList()
    return bytes.withUnsafeBytes { body in
      list.begin(metadataBytes: 3, maxRecordBytes: maxRecordBytes)
      var read = Read()
      do throws(RecordList.Fault) {
        try list.read(body)
      } catch {
        switch error {
        case .json(let fault): read.fault = "\(fault.code.name) \(fault.offset)"
        case .tooManyRefusals: read.fault = "too many"
        }
        return read
      }
      read.records = list.elements.filter { $0.count > 0 }.map { String(decoding: $0.of(body), as: UTF8.self) }
      read.refused = list.refusals.map { "\($0.index) \($0.code) \($0.offset ?? -1)" }
      #expect(list.accepted == read.records.count && list.count == read.records.count + read.refused.count)
      let bytes = read.records.reduce(0) { $0 + 56 + 8 + RecordLayout.padded($1.utf8.count) }
      #expect(list.recordBytes == bytes, "the room is that of the records as the log has them")
      return read
    }
  }

  static let a = #"{"message":"a"}"#
  static let b = #"{"b":[1,{"message":2}],"message":"]\n"}"#

  static let cases: [(String, [String], [String])] = [
    ("", [], []),
    (" \n\r\n\t", [], []),
    (a, [a], []),
    ("\(a)\n\(b)\n", [a, b], []),
    ("\n\n \(a) \r\n\r\n\(b)\r\n", [a, b], []),
    ("\(a)\n{}\nx\n\(b)", [a, b], ["1 message_missing 17", "2 expected_value 19"]),
    ("\(a)\(a)\n\(b)", [b], ["0 trailing_bytes 15"]),
    ("\(a)\n[\(a)]", [a], ["1 not_an_object 16"]),
    ("{\n\"message\":\"a\"}", [], ["0 unexpected_end 1", "1 trailing_bytes 11"]),
    ("[]", [], []),
    (" [ ] \n", [], []),
    ("[\(a)]", [a], []),
    ("\n[ \(a) ,\n\(b)\t, \(a)]\n", [a, b, a], []),
    (
      "[\(a),7,[[]],{},{\"message\":null},\(b)]", [a, b],
      [
        "1 not_an_object 17", "2 not_an_object 19", "3 message_missing 25", "4 message_not_a_string 38",
      ]
    ),
  ]

  @Test(arguments: cases) func everyElementIsFoundAndJudged(_ text: String, _ records: [String], _ refused: [String]) {
    #expect(read(text) == Read(records: records, refused: refused))
  }

  static let broken: [(String, String)] = [
    ("[", "unexpected_end 1"),
    ("[\(a)", "unexpected_end 16"),
    ("[\(a),", "unexpected_end 17"),
    ("[\(a),]", "expected_value 17"),
    ("[\(a) \(a)]", "expected_comma_or_bracket 17"),
    ("[\(a)}", "expected_comma_or_bracket 16"),
    ("[,\(a)]", "expected_value 1"),
    ("[\(a)]x", "trailing_bytes 17"),
    ("[\(a)]\n[\(a)]", "trailing_bytes 18"),
    ("[{\"message\":\"\u{1}\"}]", "control_character 13"),
    ("[{]", "expected_key 2"),
  ]

  @Test(arguments: broken) func aBrokenArrayIsRefusedWhole(_ text: String, _ fault: String) {
    #expect(read(text) == Read(fault: fault))
  }

  @Test func whatIsTooLargeForTheStreamIsRefusedAndTheRestIsNot() {
    let large = #"{"message":"\#(String(repeating: "x", count: 200))"}"#
    for text in ["\(Self.a)\n\(large)\n\(Self.b)", "[\(Self.a),\(large),\(Self.b)]"] {
      #expect(
        read(text, maxRecordBytes: 200) == Read(records: [Self.a, Self.b], refused: ["1 record_too_large -1"]))
    }
  }

  @Test func aBodyOfWhichTooMuchIsRefusedIsRefusedWhole() {
    let many = Limits.maxRefusedElements
    #expect(read(String(repeating: "x\n", count: many)).refused.count == many)
    #expect(read(String(repeating: "x\n", count: many + 1) + Self.a) == Read(fault: "too many"))
    #expect(read("[" + String(repeating: "1,", count: many + 1) + Self.a + "]") == Read(fault: "too many"))
  }

  /// Lines and arrays of the same elements say the same, whatever stands between them; any bytes are judged without harm.
  @Test func randomBodiesAreReadAsTheyWereMade() {
    var random = SeededGenerator(seed: UInt64.random(in: 0 ... .max))
    let space = ["", " ", "\t", "\r"]
    for _ in 0..<500 {
      var wanted = Read()
      var lines = ""
      var array = "["
      for index in 0..<Int.random(in: 0...20, using: &random) {
        let isGood = Bool.random(using: &random)
        let element =
          isGood
          ? #"{"n":[{"message":\#(index)}],"message":"\#(String(repeating: "é", count: index))"}"#
          : ["{}", "null", index > 0 ? "[1,2]" : "7", #"{"message":{}}"#, "-1.5e3"].randomElement(using: &random) ?? ""
        if isGood { wanted.records.append(element) } else { wanted.refused.append("\(index)") }
        let before = space.randomElement(using: &random) ?? ""
        let after = space.randomElement(using: &random) ?? ""
        lines += before + element + after + (Bool.random(using: &random) ? "\n" : "\n \n")
        array += (index == 0 ? "" : ",") + before + element + after
      }
      for text in [lines, array + "]"] {
        var seen = read(text)
        seen.refused = seen.refused.map { String($0.prefix { $0 != " " }) }
        #expect(seen == wanted, "seed \(random.seed): \(text)")
      }
    }
  }

  @Test func damagedBodiesAreReadWithoutHarm() {
    var random = SeededGenerator(seed: UInt64.random(in: 0 ... .max))
    for _ in 0..<2000 {
      var bytes = Array("[\(Self.a),\(Self.b)]\n\(Self.a)\n{}".utf8)
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random))
      _ = read(bytes)
    }
  }
}
