import Foundation
import Testing

/// The stored inputs of the fuzz targets, through the same functions without a fuzzer: what was found once stays a test.
@Suite("The fuzz targets' stored inputs")
struct CorpusTests {
  private static let targets: [String: @Sendable (UnsafeRawPointer?, Int) -> CInt] = [
    "http": { fuzzHTTP($0, $1) }, "json": { fuzzJSON($0, $1) }, "frame": { fuzzFrame($0, $1) },
    "hello": { fuzzHello($0, $1) }, "coding": { fuzzCoding($0, $1) },
  ]
  private static let corpus = URL(fileURLWithPath: #filePath).deletingLastPathComponent().path + "/corpus"

  @Test("Each target has a folder of them, and each folder a target")
  func folders() throws {
    #expect(try Set(FileManager.default.contentsOfDirectory(atPath: Self.corpus)) == Set(Self.targets.keys))
  }

  @Test("All of them keep the target's properties", arguments: targets.keys.sorted())
  func properties(target: String) throws {
    let run = try #require(Self.targets[target])
    let folder = "\(Self.corpus)/\(target)"
    let names = try FileManager.default.contentsOfDirectory(atPath: folder)
    #expect(!names.isEmpty)
    for name in names {
      let input = try #require(FileManager.default.contents(atPath: "\(folder)/\(name)"))
      // An allocation of exactly these bytes, as the fuzzer makes it.
      let status = Array(input).withUnsafeBytes { run($0.baseAddress, $0.count) }
      #expect(status == 0, "\(name)")
    }
  }
}
