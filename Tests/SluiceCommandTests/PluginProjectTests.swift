import Foundation
import Testing

@testable import sluice

/// The repository's examples of plugins.
private let examples =
  URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().path + "/examples/plugins"

/// What lies in a folder of an example besides the project: the longer example in C, the rest of what its link to the
/// headers leads to, and what building it there makes.
private func isNoPart(_ path: String) -> Bool {
  ["tally.c", "TALLY.md", "include/module.modulemap", "Cargo.lock", "Package.resolved"].contains(path)
    || ["build", ".build", "target", "data"].contains(path.prefix { $0 != "/" })
}

/// Files below a folder, through symbolic links.
private func files(below folder: String, at path: String = "") throws -> [String] {
  try FileManager.default.contentsOfDirectory(atPath: folder).flatMap { name -> [String] in
    let (full, relative) = ("\(folder)/\(name)", path + name)
    var isFolder: ObjCBool = false
    _ = FileManager.default.fileExists(atPath: full, isDirectory: &isFolder)
    guard !isNoPart(relative) else { return [] }
    return isFolder.boolValue ? try files(below: full, at: relative + "/") : [relative]
  }
}

@Suite struct PluginProjectTests {
  @Test(
    "What plugin new makes is the example, file for file, with the name replaced wherever it stands",
    arguments: PluginLanguage.allCases)
  func theExampleIsTheTemplate(language: PluginLanguage) throws {
    let example = "\(examples)/\(language.rawValue)"
    let paths = try files(below: example).sorted()
    func renamed(_ text: String) -> String {
      text.replacingOccurrences(of: "topic-bytes", with: "a-new-1").replacingOccurrences(
        of: "TopicBytes", with: "ANew1")
    }
    let made = PluginProject(language: language, name: "a-new-1").files
    #expect(made.map(\.path).sorted() == paths.map(renamed).sorted())
    for path in paths {
      let file = try #require(made.first { $0.path == renamed(path) })
      let source = try #require(FileManager.default.contents(atPath: "\(example)/\(path)"))
      #expect(
        String(decoding: file.bytes, as: UTF8.self) == renamed(String(decoding: source, as: UTF8.self)), "\(path)")
      #expect(file.isExecutable == FileManager.default.isExecutableFile(atPath: "\(example)/\(path)"), "\(path)")
      let text = String(decoding: file.bytes, as: UTF8.self)
      for form in ["topic-bytes", "topic_bytes", "TopicBytes"] { #expect(!text.contains(form), "\(path)") }
    }
  }

  @Test("A name is a kind: lower-case letters, digits and hyphens, a letter first, and no longer than kinds may be")
  func namesAreKinds() {
    for good in ["a", "my-counter", "x2", "a--b-", String(repeating: "k", count: 64)] {
      #expect(PluginProject.fault(of: good) == nil, "\(good)")
    }
    for bad in ["", "-a", "1a", "A", "a_b", "a/b", "..", "ä", "a b", String(repeating: "k", count: 65)] {
      #expect(PluginProject.fault(of: bad) != nil, "\(bad)")
    }
    #expect(PluginProject(language: .c, name: "a--b2-c").typeName == "AB2C")
  }

  @Test("A folder with something in it is left alone, an empty one is taken")
  func onlyEmptyFoldersAreTaken() throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "plugin-project-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    let project = PluginProject(language: .rust, name: "it")
    try project.write(to: folder)
    let made = try files(below: folder).sorted()
    #expect(made == project.files.map(\.path).sorted())
    let fault = #expect(throws: FileFault.self) { try PluginProject(language: .c, name: "it").write(to: folder) }
    #expect(fault?.text == "\(folder) is not empty; choose another folder with --directory")
    #expect(try files(below: folder).sorted() == made)
  }
}
