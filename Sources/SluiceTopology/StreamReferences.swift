import SluiceCore

/// Who names which stream, and what flows from where to where: checked when everything is declared.
struct StreamReferences {
  struct Reference {
    var stream: String
    var position: SourcePosition
    /// "sources.api.stream"
    var from: String
  }

  /// Records of `from` come out of a subscriber into `to`.
  struct Flow {
    var from: String
    var to: String
    var subscriber: String
    var position: SourcePosition
  }

  private var references: [Reference] = []
  private var flows: [Flow] = []

  mutating func add(_ stream: String, at position: SourcePosition, from: String) {
    references.append(Reference(stream: stream, position: position, from: from))
  }

  mutating func addFlow(from: String, to: String, subscriber: String, at position: SourcePosition) {
    flows.append(Flow(from: from, to: to, subscriber: subscriber, position: position))
  }

  func check(declared: [String], sink: DiagnosticSink) {
    for reference in references where !declared.contains(reference.stream) {
      let nearest = nearestName(to: reference.stream, in: declared)
      var help: String?
      if nearest == nil {
        help = declared.isEmpty ? "no streams are declared" : "the streams are \(declared.joined(separator: ", "))"
      }
      sink.error(
        at: reference.position, "\(reference.from) names the stream \(quoted(reference.stream)), which is not declared",
        suggestion: nearest, help: help)
    }
    checkCycles(sink)
  }

  /// A record that could come back to a stream it was in would go round for ever. Each circle is told once, at the
  /// flow that closes it.
  private func checkCycles(_ sink: DiagnosticSink) {
    var done: Set<String> = []
    var path: [Flow] = []
    func visit(_ stream: String) {
      for flow in flows where flow.from == stream {
        if let start = path.firstIndex(where: { $0.from == flow.to }) ?? (flow.to == stream ? path.count : nil) {
          report(Array(path[start...]) + [flow], sink)
        } else if !done.contains(flow.to) {
          path.append(flow)
          visit(flow.to)
          path.removeLast()
        }
      }
      done.insert(stream)
    }
    for flow in flows where !done.contains(flow.from) { visit(flow.from) }
  }

  private func report(_ circle: [Flow], _ sink: DiagnosticSink) {
    let way = circle.map { "\($0.from) → \($0.subscriber) → " }.joined() + circle[0].from
    let last = circle[circle.count - 1]
    sink.error(
      at: last.position, "streams in a circle: \(way)",
      help: "a record must not come back to a stream it was in; let \(last.subscriber) write to another stream")
  }
}
