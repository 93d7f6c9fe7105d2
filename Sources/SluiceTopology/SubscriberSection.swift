import SluiceCore

extension TopologyReader {
  static let subscriberKeys = [
    "plugin", "streams", "match", "batch", "retry", "order", "max_lag", "ack_deadline", "publish", "dead_letter",
    "isolation", "start", "config",
  ]

  /// One entry of `subscribers:`.
  func subscriber(_ entry: YAMLPair, _ path: String) -> SubscriberSettings? {
    guard
      let section = Section(
        entry.value, path: path, at: entry.keyPosition, known: Self.subscriberKeys, sink: sink)
    else { return nil }
    let plugin = section.required("plugin", "a kind, or a path to a .so").flatMap { self.plugin($0, path, section) }
    let streams = self.streams(section, path)
    var settings = SubscriberSettings(
      name: entry.key, plugin: plugin ?? "", streams: streams.map(\.text), position: entry.keyPosition)
    settings.match = section["match"].flatMap { match($0, "\(path).match") }
    if let batch = section["batch"] { readBatch(batch, "\(path).batch", into: &settings.batch) }
    if let retry = section["retry"] { readRetry(retry, "\(path).retry", into: &settings.retry) }
    settings.order = section.choice("order") ?? settings.order
    settings.maxLag = section["max_lag"].flatMap { maxLag($0, "\(path).max_lag") }
    settings.ackDeadlineNanoseconds = section.duration("ack_deadline", in: Limits.ackDeadlineNanoseconds)
    settings.publish = section["publish"].map { publications($0, path, streams: streams, entry) } ?? []
    settings.deadLetter = deadLetter(section, path, streams: streams, entry)
    let errors = sink.errorCount
    if let isolation = section["isolation"] {
      settings.isolation = self.isolation(isolation, "\(path).isolation", section) ?? .automatic
    }
    let isIsolationKnown = sink.errorCount == errors
    settings.start = section["start"].flatMap { start($0, "\(path).start") } ?? .oldest
    // The plugin is asked for its schema as whom `isolation` says, so where that can't be read it is not asked.
    if let plugin, isIsolationKnown, let node = section["plugin"] {
      readConfig(
        section["config"], keyPosition: section.keyPosition("config"), plugin: plugin, named: node.position,
        into: &settings)
    } else if let config = section["config"] {
      blank(config)
    }
    return plugin == nil || streams.isEmpty ? nil : settings
  }

  private func plugin(_ node: YAMLNode, _ path: String, _ section: Section) -> String? {
    guard let name = section.text(node, "\(path).plugin", expected: "a kind such as disk, or a path to a .so") else {
      return nil
    }
    return name.contains("/") || name.hasSuffix(".so") ? FileReading.resolve(name, from: node.position.file) : name
  }

  private func streams(_ section: Section, _ path: String) -> [(text: String, node: YAMLNode)] {
    guard section.required("streams", "[ … ]") != nil else { return [] }
    guard let names = section.strings("streams", example: "[ events ]") else { return [] }
    if names.isEmpty, let node = section["streams"], case .sequence(let items) = node.content, items.isEmpty {
      sink.error(at: node.position, "\(path).streams is empty", expected: "at least one stream, such as [ events ]")
    }
    for (index, name) in names.enumerated() {
      if names[..<index].contains(where: { $0.text == name.text }) {
        sink.error(at: name.node.position, "\(path).streams names \(quoted(name.text)) twice")
      } else if name.text != Topology.defaultDeadLetter {
        references.add(name.text, at: name.node.position, from: "\(path).streams")
      }
    }
    return names
  }

  private func readBatch(_ node: YAMLNode, _ path: String, into batch: inout SubscriberSettings.Batch) {
    guard let section = Section(node, path: path, known: ["records", "bytes", "wait"], sink: sink) else { return }
    batch.records = section.integer("records", in: 1...Limits.maxBatchRecords) ?? batch.records
    batch.bytes = section.size("bytes", in: 1...Limits.maxBatchBytes) ?? batch.bytes
    batch.waitNanoseconds = section.duration("wait", in: Limits.batchWaitNanoseconds) ?? batch.waitNanoseconds
  }

  private func readRetry(_ node: YAMLNode, _ path: String, into retry: inout SubscriberSettings.Retry) {
    guard let section = Section(node, path: path, known: ["first", "max", "attempts"], sink: sink) else { return }
    retry.firstNanoseconds = section.duration("first", in: Limits.retryNanoseconds) ?? retry.firstNanoseconds
    if let most = section.duration("max", in: Limits.retryNanoseconds) {
      retry.maxNanoseconds = most
      if most < retry.firstNanoseconds, let node = section["max"] {
        sink.error(
          at: node.position, "\(path).max is less than first",
          expected: "at least \(Units.describe(nanoseconds: retry.firstNanoseconds))")
      }
    } else {
      retry.maxNanoseconds = max(retry.maxNanoseconds, retry.firstNanoseconds)
    }
    if let attempts = section["attempts"], !isWord(attempts, "unlimited") {
      if case .scalar(let scalar) = attempts.content, case .string = scalar.value {
        _ = section.word(attempts, "\(path).attempts", of: ["unlimited", "an integer from 1"])
      } else {
        retry.attempts = section.integer("attempts", in: 1...Limits.maxRetryAttempts)
      }
    }
  }

  private func isWord(_ node: YAMLNode, _ word: String) -> Bool {
    if case .scalar(let scalar) = node.content { return scalar.value == .string(word) }
    return false
  }

  private func maxLag(_ node: YAMLNode, _ path: String) -> LagBound? {
    let known = ["bytes", "records", "age", "then"]
    guard let section = Section(node, path: path, known: known, sink: sink) else { return nil }
    var lag = LagBound(then: section.choice("then") ?? .reject)
    lag.bytes = section.size("bytes", in: 1...Int.max)
    lag.records = section.integer("records", in: 1...Int.max)
    lag.ageNanoseconds = section.duration("age", in: 1_000_000...Int64.max)
    if section["bytes"] == nil && section["records"] == nil && section["age"] == nil {
      sink.error(at: node.position, "\(path) has no bound", expected: "bytes, records or age")
    }
    return lag
  }

  private func publications(
    _ node: YAMLNode, _ path: String, streams: [(text: String, node: YAMLNode)], _ entry: YAMLPair
  ) -> [SubscriberSettings.Publication] {
    guard let section = Section(node, path: "\(path).publish", known: [], sink: sink) else { return [] }
    return section.entries.compactMap { pair in
      if !isValidName(pair.key) {
        sink.error(at: pair.keyPosition, "\(quoted(pair.key)) is not a name of an output")
      }
      let what = "\(path).publish.\(pair.key)"
      guard let stream = section.text(pair.value, what, expected: "the name of a stream") else { return nil }
      references.add(stream, at: pair.value.position, from: what)
      for from in streams {
        references.addFlow(from: from.text, to: stream, subscriber: entry.key, at: pair.value.position)
      }
      return SubscriberSettings.Publication(output: pair.key, stream: stream, at: pair.keyPosition)
    }
  }

  private func deadLetter(
    _ section: Section, _ path: String, streams: [(text: String, node: YAMLNode)], _ entry: YAMLPair
  ) -> String {
    guard let node = section["dead_letter"] else {
      for from in streams {
        references.addFlow(
          from: from.text, to: Topology.defaultDeadLetter, subscriber: entry.key, at: from.node.position)
      }
      return Topology.defaultDeadLetter
    }
    guard let stream = section.text(node, "\(path).dead_letter", expected: "the name of a stream") else {
      return Topology.defaultDeadLetter
    }
    if stream != Topology.defaultDeadLetter {
      references.add(stream, at: node.position, from: "\(path).dead_letter")
    }
    for from in streams {
      references.addFlow(from: from.text, to: stream, subscriber: entry.key, at: node.position)
    }
    return stream
  }

  private func isolation(_ node: YAMLNode, _ path: String, _ section: Section) -> SubscriberSettings.Isolation? {
    guard case .mapping = node.content else {
      guard let word = section.word(node, path, of: ["thread", "process", "{ process: … }"]) else { return nil }
      return word == "thread" ? .thread : .process(user: nil, memoryBytes: nil)
    }
    guard let outer = Section(node, path: path, known: ["process"], sink: sink),
      let process = outer.required("process", "{ user: …, memory: … }"),
      let inner = Section(
        process, path: "\(path).process", known: ["user", "memory"], allowsNothing: true, sink: sink)
    else { return nil }
    return .process(
      user: inner["user"].flatMap { inner.text($0, "\(path).process.user", expected: "a user's name") },
      memoryBytes: inner.size("memory", in: Limits.minIsolatedMemoryBytes...Int.max))
  }

  private func start(_ node: YAMLNode, _ path: String) -> StartPosition? {
    if case .scalar(let scalar) = node.content {
      if scalar.text == "oldest" { return .oldest }
      if scalar.text == "newest" { return .newest }
      if let time = Timestamp.nanoseconds(scalar.text) { return .time(time) }
    }
    sink.error(
      at: node.position, "\(path) can't be \(node.describedKind)",
      expected: "oldest, newest, or a time such as 2026-08-01 or 2026-08-01T10:00:00Z")
    return nil
  }
}
