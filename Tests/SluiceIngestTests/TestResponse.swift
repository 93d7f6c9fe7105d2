import Foundation
import Testing

/// A response, read strictly by its `Content-Length`. Every error must be a whole problem details answer (RFC 9457).
struct TestResponse: Equatable {
  /// Where a text is no sequence of whole responses.
  struct Malformed: Error { var text: String }

  var status: Int
  var headers: [String: String]
  var body: String

  static func parse(_ text: String) throws -> [TestResponse] {
    var all: [TestResponse] = []
    var rest = Substring(text)
    while !rest.isEmpty {
      let malformed = Malformed(text: String(rest))
      guard let end = rest.firstRange(of: "\r\n\r\n") else { throw malformed }
      let lines = rest[..<end.lowerBound].split(separator: "\r\n", omittingEmptySubsequences: false)
      let words = lines[0].split(separator: " ", maxSplits: 2)
      guard words.count == 3, words[0] == "HTTP/1.1", let status = Int(words[1]) else { throw malformed }
      var headers: [String: String] = [:]
      for line in lines.dropFirst() {
        guard let colon = line.firstRange(of: ": ") else { throw malformed }
        headers[line[..<colon.lowerBound].lowercased()] = String(line[colon.upperBound...])
      }
      rest = rest[end.upperBound...]
      // What answers HEAD has a length and no body: the next answer follows at once.
      let hasBody = status != 100 && !rest.hasPrefix("HTTP/1.1 ")
      guard let length = hasBody ? headers["content-length"].flatMap({ Int($0) }) : 0,
        let bodyEnd = rest.utf8.index(rest.startIndex, offsetBy: length, limitedBy: rest.endIndex)
      else { throw malformed }
      let response = TestResponse(status: status, headers: headers, body: String(rest[..<bodyEnd]))
      if hasBody, status >= 400 { response.checkProblem(reason: String(words[2])) }
      rest = rest[bodyEnd...]
      all.append(response)
    }
    return all
  }

  private func checkProblem(reason: String) {
    #expect(headers["content-type"] == "application/problem+json")
    let parsed = try? JSONSerialization.jsonObject(with: Data(body.utf8))
    guard let members = parsed as? [String: Any] else {
      Issue.record("no JSON object: \(body)")
      return
    }
    #expect(members["type"] as? String == "about:blank")
    #expect(members["title"] as? String == reason, "of `about:blank` the title is the status's phrase")
    #expect(members["status"] as? Int == status)
    for name in ["code", "detail"] { #expect((members[name] as? String)?.isEmpty == false, "\(name) in \(body)") }
  }
}
