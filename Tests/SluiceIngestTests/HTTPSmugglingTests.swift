import SluiceCore
import Testing

@testable import SluiceIngest

/// Requests that another server or proxy may cut elsewhere than we would: each ends the connection before anything of it is
/// taken. What is behind them is what an attacker wants to have served.
@Suite("Request smuggling")
struct HTTPSmugglingTests {
  static let smuggled = post(#"{"message":"smuggled"}"#)

  /// A `POST /log` with these header lines, then these bytes.
  static func request(_ headers: String, _ body: String = "0\r\n\r\n", host: String = "Host: x\r\n") -> String {
    "POST /log HTTP/1.1\r\n\(host)\(headers)\r\n\(body)"
  }

  static func chunked(_ body: String) -> String { request("Transfer-Encoding: chunked\r\n", body) }

  static let lengths: [(String, String)] = [
    ("CL.TE", request("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n")),
    ("TE.CL", request("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\n")),
    ("CL.TE with a length of zero", request("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n")),
    ("CL.TE on HTTP/1.0", "POST /log HTTP/1.0\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("CL.CL", request("Content-Length: 0\r\nContent-Length: 5\r\n")),
    ("CL.CL, the same", request("Content-Length: 5\r\nContent-Length: 5\r\n")),
    ("CL.CL in another case", request("Content-Length: 5\r\ncontent-length: 0\r\n")),
    ("CL is a list", request("Content-Length: 5, 5\r\n")),
    ("CL is a list of others", request("Content-Length: 0, 5\r\n")),
    ("CL with plus", request("Content-Length: +5\r\n")),
    ("CL with minus", request("Content-Length: -5\r\n")),
    ("CL is minus zero", request("Content-Length: -0\r\n")),
    ("CL with a space inside", request("Content-Length: 5 0\r\n")),
    ("CL with a tab inside", request("Content-Length: 5\t0\r\n")),
    ("CL with a vertical tab", request("Content-Length: \u{B}5\r\n")),
    ("CL in hexadecimal", request("Content-Length: 0x5\r\n")),
    ("CL with an exponent", request("Content-Length: 5e0\r\n")),
    ("CL with a fraction", request("Content-Length: 5.0\r\n")),
    ("CL with an underscore", request("Content-Length: 1_0\r\n")),
    ("CL with a semicolon", request("Content-Length: 5;\r\n")),
    ("CL in quotes", request("Content-Length: \"5\"\r\n")),
    ("CL of nothing", request("Content-Length: \r\n")),
    ("CL with a NUL", request("Content-Length: 5\u{0}\r\n")),
    ("CL with fullwidth digits", request("Content-Length: \u{FF15}\r\n")),
    ("space before CL's colon", request("Content-Length : 5\r\n")),
    ("tab before CL's colon", request("Content-Length\t: 5\r\n")),
    ("NUL before CL's colon", request("Content-Length\u{0}: 5\r\n")),
    ("CL folded", request("Content-Length:\r\n 5\r\n")),
    ("CL behind a folded header", request("X: a\r\n Content-Length: 5\r\n")),
    ("CL with CR inside", request("Content-Length: 5\rX: y\r\n")),
  ]

  static let encodings: [(String, String)] = [
    ("TE.TE", request("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
    ("TE.TE, one unknown", request("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n")),
    ("TE.TE, unknown first", request("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n")),
    ("TE of identity", request("Transfer-Encoding: identity\r\n")),
    ("TE of identity beside CL", request("Transfer-Encoding: identity\r\nContent-Length: 5\r\n")),
    ("TE with another coding in front", request("Transfer-Encoding: gzip, chunked\r\n")),
    ("TE with another coding behind", request("Transfer-Encoding: chunked, gzip\r\n")),
    ("TE twice in a list", request("Transfer-Encoding: chunked, chunked\r\n")),
    ("TE with an empty element", request("Transfer-Encoding: ,chunked\r\n")),
    ("TE with a parameter", request("Transfer-Encoding: chunked;a=b\r\n")),
    ("TE in quotes", request("Transfer-Encoding: \"chunked\"\r\n")),
    ("TE misspelt in front", request("Transfer-Encoding: xchunked\r\n")),
    ("TE misspelt behind", request("Transfer-Encoding: chunkedx\r\n")),
    ("TE with a vertical tab", request("Transfer-Encoding: \u{B}chunked\r\n")),
    ("TE with a NUL", request("Transfer-Encoding: chunked\u{0}\r\n")),
    ("TE with a no-break space", request("Transfer-Encoding: \u{A0}chunked\r\n")),
    ("TE of nothing", request("Transfer-Encoding:\r\n")),
    ("space before TE's colon", request("Transfer-Encoding : chunked\r\n")),
    ("space before TE", request(" Transfer-Encoding: chunked\r\n")),
    ("TE folded", request("Transfer-Encoding:\r\n chunked\r\n")),
    ("TE behind CR", request("X: y\rTransfer-Encoding: chunked\r\n")),
    ("TE behind LF", request("X: y\nTransfer-Encoding: chunked\r\n")),
    ("TE on HTTP/1.0", "POST /log HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE with the Kelvin sign", request("Transfer-Encoding: chun\u{212A}ed\r\n")),
  ]

  static let chunks: [(String, String)] = [
    ("chunk of 2^64 bytes and one", chunked("10000000000000001\r\na\r\n0\r\n\r\n")),
    ("chunk with seventeen digits", chunked("00000000000000001\r\na\r\n0\r\n\r\n")),
    ("chunk with an extension", chunked("1;a=b\r\na\r\n0\r\n\r\n")),
    ("chunk with an extension that hides a line", chunked("1;\na\r\na\r\n0\r\n\r\n")),
    ("last chunk with an extension", chunked("0;a\r\n\r\n")),
    ("chunk with 0x", chunked("0x1\r\na\r\n0\r\n\r\n")),
    ("chunk with plus", chunked("+1\r\na\r\n0\r\n\r\n")),
    ("chunk with minus", chunked("-1\r\na\r\n0\r\n\r\n")),
    ("chunk with an underscore", chunked("1_0\r\na\r\n0\r\n\r\n")),
    ("chunk with a space in front", chunked(" 1\r\na\r\n0\r\n\r\n")),
    ("chunk with a space behind", chunked("1 \r\na\r\n0\r\n\r\n")),
    ("chunk without a size", chunked("\r\na\r\n0\r\n\r\n")),
    ("chunk whose size ends in LF", chunked("1\na\r\n0\r\n\r\n")),
    ("chunk whose size ends in CR", chunked("1\ra\r\n0\r\n\r\n")),
    ("chunk that ends in LF", chunked("1\r\na\n0\r\n\r\n")),
    ("chunk that ends in CR", chunked("1\r\na\r0\r\n\r\n")),
    ("chunk that is longer than its size", chunked("1\r\nab\r\n0\r\n\r\n")),
    ("chunk that is shorter than its size", chunked("3\r\na\r\n0\r\n\r\n")),
    ("chunk with a NUL", chunked("1\u{0}\r\na\r\n0\r\n\r\n")),
    ("trailer without a colon", chunked("0\r\nGET /log\r\n\r\n")),
    ("trailer that ends in LF", chunked("0\r\nA: b\n\r\n")),
    ("trailers that end in LF", chunked("0\r\nA: b\r\n\n")),
    ("trailer folded", chunked("0\r\nA: b\r\n c\r\n\r\n")),
  ]

  static let heads: [(String, String)] = [
    ("bare LF behind the request line", "POST /log HTTP/1.1\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("bare LF behind a header", "POST /log HTTP/1.1\r\nHost: x\nContent-Length: 0\r\n\r\n"),
    ("bare LF behind the head", "POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\n"),
    ("bare CR in the request line", "POST /log HTTP/1.1\rHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("CR CR LF", "POST /log HTTP/1.1\r\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("two empty lines in front", "\r\n\r\n" + smuggled),
    ("a space in front", " " + smuggled),
    ("a header without a name", request(": x\r\nContent-Length: 0\r\n")),
    ("a header without a colon", request("Content-Length 0\r\n")),
    ("a header's name with a bracket", request("Content-Length[: 0\r\n")),
    ("a NUL in a name", request("X\u{0}: y\r\nContent-Length: 0\r\n")),
    ("a NUL in a value", request("X: y\u{0}\r\nContent-Length: 0\r\n")),
    ("a folded first header", request("Content-Length: 0\r\n", host: " Host: x\r\n")),
    ("Host twice", request("Content-Length: 0\r\n", host: "Host: x\r\nHost: x\r\n")),
    ("two Hosts", request("Content-Length: 0\r\n", host: "Host: x\r\nHost: y\r\n")),
    ("no Host", request("Content-Length: 0\r\n", host: "")),
    ("Host with a user", request("Content-Length: 0\r\n", host: "Host: a@x\r\n")),
    ("Host with a path", request("Content-Length: 0\r\n", host: "Host: x/log\r\n")),
    ("Host with a comma and a space", request("Content-Length: 0\r\n", host: "Host: x, y\r\n")),
    ("an URL of another host", "POST http://y/log HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("an URL of another port", "POST http://x:81/log HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("an URL with a user", "POST http://u@x/log HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("a target with a space", "POST /log /log HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("a target with a tab", "POST /log\tHTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("a target with a NUL", "POST /log\u{0} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("a target with a fragment", "POST /log# HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("no version", "POST /log\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("a version in small letters", "POST /log http/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("a space behind the version", "POST /log HTTP/1.1 \r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
    ("a method with a colon", "POST: /log HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
  ]

  static let corpus = lengths + encodings + chunks + heads

  @Test func theCorpusIsLarge() { #expect(Set(Self.corpus.map(\.1)).count >= 100) }

  @Test(arguments: corpus) func isRefusedWith400AndCloseAndNothingIsStored(_ what: String, _ text: String) throws {
    let harness = HTTPHarness()
    let connection = try harness.connect()
    try connection.receive(text + Self.smuggled)
    let responses = try connection.responses()
    #expect(responses.map(\.status) == [400], "\(what)")
    #expect(responses.first?.headers["connection"] == "close", "\(what)")
    #expect(responses.first?.headers["content-type"] == "application/problem+json", "\(what)")
    try connection.receive(Self.smuggled)
    #expect(try connection.sent() == "" && harness.stream.records.isEmpty, "\(what)")
    #expect(harness.value("sluice_source_rejected_records_total", "malformed") == 1, "\(what)")
  }
}
