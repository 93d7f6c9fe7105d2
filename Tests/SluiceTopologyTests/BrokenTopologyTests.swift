import Glibc
import SluiceTopology
import Testing

/// A file of `Fixtures/`: a topology with mistakes, which begins with what is to be found:
///
///     # expect LINE:COLUMN words | other words
///
/// one line per error. The words have to be in the rendered error.
struct BrokenFile: Sendable, CustomTestStringConvertible {
  struct Expectation: Sendable {
    var line: Int
    var column: Int
    var words: [String]
  }

  var path: String
  var testDescription: String { String(path[path.index(after: path.lastIndex(of: "/") ?? path.startIndex)...]) }

  func expectations() throws -> [Expectation] {
    let text = try String(decoding: bytes(of: path), as: UTF8.self)
    return try text.split(separator: "\n").filter { $0.hasPrefix("# expect ") }.map { line in
      let parts = line.dropFirst("# expect ".count).split(separator: " ", maxSplits: 1)
      let place = parts[0].split(separator: ":").compactMap { Int($0) }
      try #require(parts.count == 2 && place.count == 2, "\(path): \(line)")
      return Expectation(line: place[0], column: place[1], words: parts[1].split(separator: " | ").map(String.init))
    }
  }

  static let all: [BrokenFile] = {
    let here = #filePath
    let directory = here[..<(here.lastIndex(of: "/") ?? here.endIndex)]
    var found = glob_t()
    defer { globfree(&found) }
    guard glob("\(directory)/Fixtures/*.yaml", 0, nil, &found) == 0 else { return [] }
    return (0..<Int(found.gl_pathc)).compactMap { index in
      found.gl_pathv[index].map { BrokenFile(path: String(cString: $0)) }
    }
  }()
}

func bytes(of path: String) throws -> [UInt8] {
  let file = try #require(fopen(path, "r"), "\(path)")
  defer { fclose(file) }
  var all: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 4096)
  while true {
    let count = fread(&chunk, 1, chunk.count, file)
    if count == 0 { return all }
    all += chunk[..<count]
  }
}

@Test("A broken file gives exactly its errors, each at its line and column", arguments: BrokenFile.all)
func aBrokenFile(_ file: BrokenFile) throws {
  let expected = try file.expectations()
  let result = TopologyLoader.load(path: file.path, environment: ["HOME": "/h"], plugins: FakePlugins())
  let errors = result.errors
  try #require(errors.count == expected.count, "\(Diagnostic.rendered(errors))")
  for (error, expectation) in zip(errors, expected) {
    #expect(error.line == expectation.line && error.column == expectation.column, "\(error.rendered())")
    for words in expectation.words { #expect(error.rendered().contains(words), "\(error.rendered())") }
  }
}

@Test func moreThanTwentyBrokenFilesAreTried() { #expect(BrokenFile.all.count >= 70) }
