import SluiceCore

extension TopologyReader {
  static let streamKeys = [
    "durability", "ring", "segment", "retain", "when_full", "block_timeout", "max_record", "commit", "on_corruption",
  ]

  static let retainKeys = ["bytes", "age", "cursors"]

  /// One entry of `streams:`.
  func stream(_ entry: YAMLPair, _ path: String) -> StreamSettings? {
    guard
      let section = Section(
        entry.value, path: path, at: entry.keyPosition, known: Self.streamKeys, allowsNothing: true, sink: sink)
    else { return nil }
    var settings = StreamSettings(name: entry.key, position: entry.keyPosition)
    settings.durability = section.choice("durability") ?? settings.durability
    settings.whenFull = section.choice("when_full") ?? settings.whenFull
    settings.onCorruption = section.choice("on_corruption") ?? settings.onCorruption
    if let timeout = section.duration("block_timeout", in: Limits.blockTimeoutNanoseconds) {
      settings.blockTimeoutNanoseconds = timeout
    }
    let records = Limits.minMaxRecordBytes...Limits.maxMaxRecordBytes
    settings.maxRecordBytes = section.size("max_record", in: records) ?? settings.maxRecordBytes
    // A slab holds two records, a ring two slabs.
    let ring = max(Limits.minRingBytes, 4 * settings.maxRecordBytes)
    settings.ringBytes = section.size("ring", in: ring...Limits.maxRingBytes) ?? max(settings.ringBytes, ring)
    let segment = max(Limits.minSegmentBytes, 2 * settings.maxRecordBytes)
    settings.segmentBytes =
      section.size("segment", in: segment...Limits.maxSegmentBytes) ?? max(settings.segmentBytes, segment)
    if let retain = section["retain"] { readRetention(retain, path, into: &settings) }
    if let commit = section["commit"],
      let inner = Section(commit, path: "\(path).commit", known: ["linger"], sink: sink)
    {
      settings.commitLingerNanoseconds = inner.duration("linger", in: 0...Limits.maxCommitLingerNanoseconds) ?? 0
    }
    return settings
  }

  private func readRetention(_ node: YAMLNode, _ path: String, into settings: inout StreamSettings) {
    guard let section = Section(node, path: "\(path).retain", known: Self.retainKeys, sink: sink) else { return }
    // One segment is written while another is kept.
    let least = 2 * settings.segmentBytes
    settings.retainBytes = section.size("bytes", in: least...Int.max) ?? max(settings.retainBytes, least)
    settings.retainAgeNanoseconds = section.duration("age", in: 1_000_000_000...Int64.max)
    let expiry = section.duration("cursors", in: Limits.minCursorExpiryNanoseconds...Int64.max)
    settings.cursorExpiryNanoseconds = expiry ?? settings.cursorExpiryNanoseconds
  }

  /// The stream that takes dead records when a subscriber names none and the file declares none of that name.
  func builtinDead(for subscribers: [SubscriberSettings], beside streams: [StreamSettings]) -> StreamSettings? {
    guard !streamNames.contains(Topology.defaultDeadLetter),
      let first = subscribers.first(where: { subscriber in
        subscriber.deadLetter == Topology.defaultDeadLetter || subscriber.streams.contains(Topology.defaultDeadLetter)
      })
    else { return nil }
    var dead = StreamSettings(name: Topology.defaultDeadLetter, position: first.position.value)
    dead.isBuiltin = true
    // So that a letter has room for the largest record.
    let largest = streams.reduce(dead.maxRecordBytes) { max($0, $1.maxRecordBytes) }
    dead.maxRecordBytes = min(largest + Limits.minDeadLetterRecordBytes, Limits.maxMaxRecordBytes)
    dead.ringBytes = max(Limits.minRingBytes, 4 * dead.maxRecordBytes)
    dead.segmentBytes = Limits.deadSegmentBytes
    dead.retainBytes = Limits.deadRetainBytes
    return dead
  }

  /// A stream that is to take dead letters has room for one without its payload.
  func checkDeadLetters(_ subscribers: [SubscriberSettings], _ streams: [StreamSettings], _ root: YAMLNode) {
    for subscriber in subscribers {
      guard let stream = streams.first(where: { $0.name == subscriber.deadLetter }),
        stream.maxRecordBytes < Limits.minDeadLetterRecordBytes
      else { continue }
      let node = root["subscribers"]?[subscriber.name]?["dead_letter"]
      sink.error(
        at: node?.position ?? subscriber.position.value,
        "the stream \(quoted(stream.name)) can't take the dead letters of \(quoted(subscriber.name)): its max_record is "
          + "less than \(Limits.minDeadLetterRecordBytes >> 10)KiB")
    }
  }
}
