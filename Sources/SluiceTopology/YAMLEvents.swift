import CYAML

/// libyaml's parser as a source of events with positions. Knows nothing of trees.
final class YAMLEvents {
  struct Mark {
    /// From 1.
    var line: Int
    var column: Int
  }

  enum Kind {
    case streamStart, streamEnd, documentStart, documentEnd
    case alias(String)
    case scalar(YAMLScalar)
    case sequenceStart, sequenceEnd, mappingStart, mappingEnd
  }

  struct Event {
    var kind: Kind
    var anchor: String?
    var tag: String?
    var start: Mark
    var end: Mark
  }

  private let file: String
  // Both live as long as this object: libyaml keeps addresses into them between calls, so they are allocated once
  // and freed in `deinit`, after the parser.
  private let parser: UnsafeMutablePointer<yaml_parser_t>
  private let input: UnsafeMutableBufferPointer<UInt8>

  init(_ bytes: [UInt8], file: String) {
    self.file = file
    input = .allocate(capacity: max(1, bytes.count))
    _ = input.initialize(from: bytes)
    parser = .allocate(capacity: 1)
    precondition(yaml_parser_initialize(parser) == 1, "no memory for a YAML parser")
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
    yaml_parser_set_input_string(parser, input.baseAddress, bytes.count)
  }

  deinit {
    yaml_parser_delete(parser)
    parser.deallocate()
    input.deallocate()
  }

  /// The next event. After `streamEnd` or an error it is not called again.
  func next() throws(Diagnostic) -> Event {
    var event = yaml_event_t()
    guard yaml_parser_parse(parser, &event) == 1 else { throw syntaxError() }
    defer { yaml_event_delete(&event) }
    var result = Event(kind: .streamEnd, start: Self.mark(event.start_mark), end: Self.mark(event.end_mark))
    switch event.type {
    case YAML_STREAM_START_EVENT: result.kind = .streamStart
    case YAML_DOCUMENT_START_EVENT: result.kind = .documentStart
    case YAML_DOCUMENT_END_EVENT: result.kind = .documentEnd
    case YAML_ALIAS_EVENT: result.kind = .alias(Self.string(event.data.alias.anchor) ?? "")
    case YAML_SCALAR_EVENT:
      let scalar = event.data.scalar
      let text = String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
      result.kind = .scalar(YAMLScalar(text: text, style: Self.style(scalar.style)))
      result.anchor = Self.string(scalar.anchor)
      result.tag = Self.string(scalar.tag)
    case YAML_SEQUENCE_START_EVENT:
      result.kind = .sequenceStart
      result.anchor = Self.string(event.data.sequence_start.anchor)
      result.tag = Self.string(event.data.sequence_start.tag)
    case YAML_SEQUENCE_END_EVENT: result.kind = .sequenceEnd
    case YAML_MAPPING_START_EVENT:
      result.kind = .mappingStart
      result.anchor = Self.string(event.data.mapping_start.anchor)
      result.tag = Self.string(event.data.mapping_start.tag)
    case YAML_MAPPING_END_EVENT: result.kind = .mappingEnd
    default: result.kind = .streamEnd
    }
    return result
  }

  private static func mark(_ mark: yaml_mark_t) -> Mark { Mark(line: mark.line + 1, column: mark.column + 1) }

  private static func string(_ text: UnsafeMutablePointer<UInt8>?) -> String? { text.map { String(cString: $0) } }

  private static func style(_ style: yaml_scalar_style_t) -> YAMLScalar.Style {
    switch style {
    case YAML_SINGLE_QUOTED_SCALAR_STYLE, YAML_DOUBLE_QUOTED_SCALAR_STYLE: .quoted
    case YAML_LITERAL_SCALAR_STYLE, YAML_FOLDED_SCALAR_STYLE: .block
    default: .plain
    }
  }

  private func syntaxError() -> Diagnostic {
    let problem = parser.pointee.problem.map { String(cString: $0) } ?? "this is not YAML"
    if parser.pointee.error == YAML_READER_ERROR {
      var offset = min(parser.pointee.problem_offset, input.count)
      // Where a sequence breaks off, its first byte is where it stands.
      if problem.contains("trailing") {
        repeat { offset -= 1 } while offset > 0 && input[offset] & 0xC0 == 0x80
      }
      return Diagnostic(
        at: position(ofByte: offset), "\(Self.readerProblem(problem)) in a YAML file",
        expected: "UTF-8 text without control characters")
    }
    var message = problem
    let context = parser.pointee.context.map { String(cString: $0) }
    if let context {
      message += " \(context)"
      let line = parser.pointee.context_mark.line
      if line != parser.pointee.problem_mark.line { message += " that begins in line \(line + 1)" }
    }
    let mark = Self.mark(parser.pointee.problem_mark)
    return Diagnostic(
      at: SourcePosition(file: file, line: mark.line, column: mark.column), message,
      help: help(for: problem, at: parser.pointee.problem_mark.index))
  }

  private static func readerProblem(_ problem: String) -> String {
    problem.contains("control characters") ? "a control character" : "invalid UTF-8"
  }

  /// What is usually behind libyaml's commonest complaints.
  private func help(for problem: String, at index: Int) -> String? {
    let before = String(decoding: input, as: UTF8.self).unicodeScalars.prefix(index + 1)
    let line = before.reversed().prefix { $0 != "\n" }.reversed()
    if line.last == "\t" || problem.contains("tab character") { return "indent with spaces: YAML allows no tabs there" }
    var text = String.UnicodeScalarView()
    text.append(contentsOf: line)
    if String(text).contains("${"), line.contains("{"), !problem.contains("mapping values") {
      return "between { } or [ ], write \"${NAME}\" in quotes"
    }
    if problem.contains("mapping values") {
      return "': ' begins a mapping; put the value in quotes, or look at the indentation"
    }
    if problem.contains("expected key") || problem.contains("block end") || problem.contains("'-' indicator") {
      return "look at the indentation of this line and of the one before it"
    }
    if problem.contains("cannot start any token") { return "put the value in quotes" }
    return nil
  }

  /// Line and column of a byte, for errors that libyaml gives by offset.
  private func position(ofByte offset: Int) -> SourcePosition {
    var line = 1
    var column = 1
    for byte in input.prefix(offset) {
      if byte == UInt8(ascii: "\n") {
        line += 1
        column = 1
      } else if byte & 0xC0 != 0x80 {
        column += 1
      }
    }
    return SourcePosition(file: file, line: line, column: column)
  }
}
