import CPluginTemplates
import Glibc
import SluiceCore

/// A language that `sluice plugin new` has a project for.
enum PluginLanguage: String, CaseIterable {
  case c, swift, rust
}

/// A plugin's project: the example of a language, under another name.
struct PluginProject {
  /// One file of it.
  struct File {
    /// Below the project's folder.
    var path: String
    var bytes: [UInt8]
    var isExecutable: Bool
  }

  let language: PluginLanguage
  /// `[a-z][a-z0-9-]*`
  let name: String

  /// What is wrong with a name for a kind; nil if it is good.
  static func fault(of name: String) -> String? {
    let isKind =
      name.utf8.first.map { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) } == true
      && name.utf8.allSatisfy {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
          || $0 == UInt8(ascii: "-")
      }
    guard isKind else {
      return "'\(name)' is no name for a plugin: lower-case letters, digits and hyphens, and a letter first"
    }
    guard name.utf8.count <= Limits.maxPluginKindBytes else {
      return "'\(name)' is longer than the \(Limits.maxPluginKindBytes) bytes that a kind may have"
    }
    return nil
  }

  /// The name without hyphens, each part beginning with a capital: for types and modules.
  var typeName: String {
    name.split(separator: "-").map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
  }

  /// Its files, in the order in which they are listed.
  var files: [File] {
    var files: [File] = []
    var index = 0
    while let template = plugin_template_at(index)?.pointee {
      index += 1
      guard String(cString: template.language) == language.rawValue else { continue }
      let text = String(decoding: UnsafeBufferPointer(start: template.bytes, count: template.length), as: UTF8.self)
      files.append(
        File(
          path: renamed(String(cString: template.path)), bytes: Array(renamed(text).utf8),
          isExecutable: template.is_executable != 0))
    }
    return files
  }

  /// The example's name is written in two ways, and in no other sense.
  private func renamed(_ text: String) -> String {
    text.replacing("topic-bytes", with: name).replacing("TopicBytes", with: typeName)
  }

  /// Puts the files into `directory`, which is made unless it is there and empty.
  func write(to directory: String) throws(FileFault) {
    try Self.makeEmpty(directory)
    for file in files {
      let path = "\(directory)/\(file.path)"
      try Self.makeFolders(of: file.path, in: directory)
      let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file.isExecutable ? 0o755 : 0o644)
      guard descriptor >= 0 else { throw FileFault("make", path) }
      defer { close(descriptor) }
      var rest = file.bytes[...]
      while !rest.isEmpty {
        let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { throw FileFault("write", path) }
        rest = rest.dropFirst(count)
      }
    }
  }

  private static func makeEmpty(_ directory: String) throws(FileFault) {
    if mkdir(directory, 0o755) == 0 { return }
    guard errno == EEXIST else { throw FileFault("make", directory) }
    guard let entries = opendir(directory) else { throw FileFault("look into", directory) }
    defer { closedir(entries) }
    while let entry = readdir(entries) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard name == "." || name == ".." else {
        throw FileFault(text: "\(directory) is not empty; choose another folder with --directory")
      }
    }
  }

  private static func makeFolders(of path: String, in directory: String) throws(FileFault) {
    var folder = directory
    for part in path.split(separator: "/").dropLast() {
      folder += "/\(part)"
      guard mkdir(folder, 0o755) == 0 || errno == EEXIST else { throw FileFault("make", folder) }
    }
  }
}

/// Why a file could not be made.
struct FileFault: Error {
  var text: String

  init(text: String) { self.text = text }

  /// What the last call failed with.
  init(_ action: String, _ path: String) {
    text = "cannot \(action) \(path): \(String(cString: strerror(errno)))"
  }
}
