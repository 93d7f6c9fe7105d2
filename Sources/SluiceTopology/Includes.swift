import SluiceCore

/// A file and everything it includes → one mapping.
///
/// `include:` is a path, a glob or a list of them, relative to the file it stands in. The entries of `streams`, `sources`
/// and `subscribers` of all files are put together; any other key may stand in one file only. A name that two files
/// give is an error that names both places. A file comes in once: a second way to it is an error (a cycle, when it
/// is still being read), so that the number of files is bounded by what exists and by `Limits.maxIncludes`.
struct Includes {
  private static let collections = ["streams", "sources", "subscribers"]

  private(set) var interpolation: Interpolation
  private let sink: DiagnosticSink
  private(set) var files: [String] = []
  private var merged: [YAMLPair] = []
  private var seen: [String: (name: String, isOpen: Bool)] = [:]

  init(environment: [String: String], sink: DiagnosticSink) {
    interpolation = Interpolation(environment: environment, sink: sink)
    self.sink = sink
  }

  /// The root mapping of the topology that begins in these bytes; nil if there is none.
  mutating func root(_ bytes: [UInt8], file: String) -> YAMLNode? {
    if let canonical = FileReading.canonical(file) { seen[canonical] = (file, true) }
    guard let root = read(bytes, file: file, isMain: true) else { return nil }
    var result = root
    result.content = .mapping(merged)
    return result
  }

  private mutating func read(_ bytes: [UInt8], file: String, isMain: Bool) -> YAMLNode? {
    files.append(file)
    let start = SourcePosition(file: file, line: 1, column: 1)
    let before = sink.hasErrors
    guard var root = YAMLReader.read(bytes, file: file, sink: sink) else {
      if isMain && sink.hasErrors == before {
        sink.error(at: start, "the file is empty", expected: "sluice: 1 and more")
      }
      return nil
    }
    if root.isNull && !isMain { return nil }
    root = interpolation.apply(to: root)
    guard case .mapping(let pairs) = root.content else {
      sink.error(
        at: root.position, "expected a mapping for the file, found \(root.describedKind)",
        expected: "keys such as streams:, sources: and subscribers:")
      return nil
    }
    for pair in pairs where pair.key != "include" { merge(pair, isMain: isMain) }
    if let include = root["include"] { self.include(include, from: file) }
    return root
  }

  private mutating func merge(_ pair: YAMLPair, isMain: Bool) {
    guard let index = merged.firstIndex(where: { $0.key == pair.key }) else {
      merged.append(pair)
      return
    }
    let earlier = merged[index]
    if pair.key == "sluice" {
      // Each file may say the version; all have to agree with the first, which is checked like any other key.
      guard case .scalar(let left) = earlier.value.content, case .scalar(let right) = pair.value.content,
        left.text == right.text
      else { return twice(pair, earlier) }
      return
    }
    guard Self.collections.contains(pair.key) else { return twice(pair, earlier) }
    if pair.value.isNull { return }
    if earlier.value.isNull {
      merged[index] = pair
      return
    }
    guard case .mapping(var all) = earlier.value.content, case .mapping(let more) = pair.value.content else {
      merged.append(pair)
      return
    }
    for entry in more {
      if let first = all.first(where: { $0.key == entry.key }) { twice(entry, first) } else { all.append(entry) }
    }
    merged[index].value.content = .mapping(all)
  }

  private func twice(_ pair: YAMLPair, _ earlier: YAMLPair) {
    sink.error(
      at: pair.keyPosition, "\(quoted(pair.key)) is already defined at \(earlier.keyPosition)",
      help: "keep one of them, or give it another name")
  }

  private mutating func include(_ node: YAMLNode, from file: String) {
    let items: [YAMLNode]
    if case .sequence(let list) = node.content { items = list } else { items = [node] }
    for item in items {
      guard case .scalar(let scalar) = item.content, case .string(let pattern) = scalar.value, !pattern.isEmpty,
        !pattern.contains("\0")
      else {
        sink.error(
          at: item.position, "expected a path for include, found \(item.describedKind)",
          expected: "a file or a glob such as conf.d/*.yaml, or a list of them")
        continue
      }
      for path in find(FileReading.resolve(pattern, from: file), isGlob: pattern.contains { "*?[".contains($0) }, item)
      {
        add(path, item)
      }
    }
  }

  private func find(_ pattern: String, isGlob: Bool, _ item: YAMLNode) -> [String] {
    guard isGlob else { return [pattern] }
    do {
      let found = try FileReading.glob(pattern, limit: Limits.maxIncludes)
      if found.isEmpty { sink.warning(at: item.position, "no file matches \(quoted(pattern, limit: .max))") }
      return found
    } catch {
      sink.error(at: item.position, "the pattern \(quoted(pattern, limit: .max)) can't be followed: \(error.message)")
      return []
    }
  }

  private mutating func add(_ path: String, _ item: YAMLNode) {
    guard files.count <= Limits.maxIncludes else {
      sink.error(at: item.position, "more than \(Limits.maxIncludes) files are included")
      return
    }
    let canonical = FileReading.canonical(path) ?? path
    if let earlier = seen[canonical] {
      let what = earlier.isOpen ? "includes itself: a circle of files" : "is included twice"
      sink.error(
        at: item.position, "\(quoted(path, limit: .max)) \(what)",
        help: earlier.isOpen ? "a file can't include the one that includes it" : "remove one of the two")
      return
    }
    seen[canonical] = (path, true)
    defer { seen[canonical] = (path, false) }
    do {
      let bytes = try FileReading.bytes(of: path, limit: Limits.maxTopologyBytes, regularOnly: true)
      _ = read(bytes, file: path, isMain: false)
    } catch {
      sink.error(at: item.position, "the file \(quoted(path, limit: .max)) can't be read: \(error.message)")
    }
  }
}
