import SluiceCore

// The definitions section of a group: entries, one after the other, each a multiple of 8 bytes. Little-endian.
//
//    0  u16  kind           1 = source, 2 = producer
//    2  u16  name_len       1 … 255
//    4  u32  id             a source's fits 16 bits; never 0
//    8  u64  high_water     a producer's highest sequence in the log when this was written; 0 for a source
//   16  u16  epoch          a producer's; 0 for a source
//   18  u16  reserved       zero
//   20  u32  reserved       zero
//   24       name (UTF-8), zeros to a multiple of 8
//
// The first group of every segment carries all that are remembered; another group only what it is the first to use.
// An id's name never changes. Entries take no LSN. A producer's epoch and high_water at any LSN are the highest of those
// in its entries up to there and of those in its records, data and consumed notes alike, behind them.

/// An interned name.
package struct Definition: Equatable, Sendable {
  package enum Kind: UInt16, Sendable { case source = 1, producer = 2 }
  package var kind: Kind
  package var id: UInt32
  package var name: String
  package var epoch: UInt16 = 0
  package var highWater: UInt64 = 0

  package init(kind: Kind, id: UInt32, name: String, epoch: UInt16 = 0, highWater: UInt64 = 0) {
    self.kind = kind
    self.id = id
    self.name = name
    self.epoch = epoch
    self.highWater = highWater
  }
}

/// Why a definitions section is refused.
package enum DefinitionFault: Error, Equatable {
  case truncated
  case badKind(UInt16)
  case badID
  case badName
  case reservedBits
  case badPadding
}

package enum DefinitionCodec {
  package static let fixedBytes = 24
  static let highWaterOffset = 8
  static let epochOffset = 16

  /// What the entry for `name` takes.
  static func bytes(of name: String) -> Int { fixedBytes + RecordLayout.padded(name.utf8.count) }

  /// Appends one entry to `target`.
  package static func append(_ definition: Definition, to target: inout [UInt8]) {
    let name = Array(definition.name.utf8)
    precondition(!name.isEmpty && name.count <= Limits.maxInternedNameBytes && definition.id != 0)
    precondition(definition.kind == .producer || definition.id <= UInt32(UInt16.max))
    let start = target.count
    target.append(contentsOf: repeatElement(0, count: fixedBytes + RecordLayout.padded(name.count)))
    target.withUnsafeMutableBytes { bytes in
      guard let at = bytes.baseAddress.map({ $0 + start }) else { return }
      at.storeLE(definition.kind.rawValue, 0)
      at.storeLE(UInt16(name.count), 2)
      at.storeLE(definition.id, 4)
      at.storeLE(definition.highWater, 8)
      at.storeLE(definition.epoch, 16)
      for (index, byte) in name.enumerated() { bytes[start + fixedBytes + index] = byte }
    }
  }

  /// Calls `visit` with each entry; throws at the first that is malformed.
  package static func decode(
    _ bytes: UnsafeRawBufferPointer, visit: (Definition) -> Void
  ) throws(DefinitionFault) {
    var cursor = 0
    while cursor < bytes.count {
      guard bytes.count - cursor >= fixedBytes, let at = bytes.baseAddress.map({ $0 + cursor }) else {
        throw .truncated
      }
      let kindCode: UInt16 = at.loadLE(0)
      guard let kind = Definition.Kind(rawValue: kindCode) else { throw .badKind(kindCode) }
      let nameBytes = Int(at.loadLE(2) as UInt16)
      let id: UInt32 = at.loadLE(4)
      guard id != 0, kind == .producer || id <= UInt32(UInt16.max) else { throw .badID }
      guard nameBytes > 0, nameBytes <= Limits.maxInternedNameBytes else { throw .badName }
      let definition = Definition(
        kind: kind, id: id,
        name: try name(at + fixedBytes, nameBytes, available: bytes.count - cursor - fixedBytes),
        epoch: at.loadLE(16), highWater: at.loadLE(8))
      guard at.loadLE(18) as UInt16 == 0, at.loadLE(20) as UInt32 == 0,
        kind == .producer || (definition.epoch == 0 && definition.highWater == 0)
      else { throw .reservedBits }
      visit(definition)
      cursor += fixedBytes + RecordLayout.padded(nameBytes)
    }
  }

  private static func name(
    _ at: UnsafeRawPointer, _ count: Int, available: Int
  ) throws(DefinitionFault) -> String {
    guard RecordLayout.padded(count) <= available else { throw .truncated }
    let bytes = UnsafeRawBufferPointer(start: at, count: RecordLayout.padded(count))
    for index in count..<bytes.count where bytes[index] != 0 { throw .badPadding }
    guard let name = String(validating: bytes.prefix(count), as: UTF8.self) else { throw .badName }
    return name
  }
}

/// Every name that a log has interned, and how far each producer is. No id is given twice.
package struct DefinitionTable: Equatable, Sendable {
  /// Names by id; index 0 is the daemon itself.
  package private(set) var sources: [String?] = ["sluice"]
  package private(set) var producers: [UInt32: Definition] = [:]
  package private(set) var highestProducer: UInt32 = 0
  /// Producers whose records were seen and whose names were not: their definition is damaged.
  private var nameless: [UInt32: Mark] = [:]

  private struct Mark: Equatable {
    var epoch: UInt16
    var sequence: UInt64
  }

  package init() {}

  package mutating func insert(_ definition: Definition) {
    switch definition.kind {
    case .source:
      let id = Int(definition.id)
      while sources.count <= id { sources.append(nil) }
      sources[id] = definition.name
    case .producer:
      let before = producers.updateValue(definition, forKey: definition.id)
      highestProducer = max(highestProducer, definition.id)
      if let before { note(producer: definition.id, epoch: before.epoch, sequence: before.highWater) }
      if let mark = nameless.removeValue(forKey: definition.id) {
        note(producer: definition.id, epoch: mark.epoch, sequence: mark.sequence)
      }
    }
  }

  /// A record of the producer is in the log.
  package mutating func note(producer id: UInt32, epoch: UInt16, sequence: UInt64) {
    if let known = producers[id] {
      if sequence > known.highWater { producers[id]?.highWater = sequence }
      if epoch > known.epoch { producers[id]?.epoch = epoch }
    } else {
      let known = nameless[id] ?? Mark(epoch: 0, sequence: 0)
      nameless[id] = Mark(epoch: max(epoch, known.epoch), sequence: max(sequence, known.sequence))
      highestProducer = max(highestProducer, id)
    }
  }

  package mutating func merge(_ other: DefinitionTable) {
    for definition in other.all { insert(definition) }
    for (id, mark) in other.nameless { note(producer: id, epoch: mark.epoch, sequence: mark.sequence) }
  }

  /// The id of `source` and, when it is new, its definition; nil when all 65,535 ids are taken.
  package mutating func intern(source: String) -> (id: UInt16, new: Definition?)? {
    if let id = sources.dropFirst().firstIndex(of: source) { return (UInt16(id), nil) }
    guard sources.count <= Int(UInt16.max) else { return nil }
    let definition = Definition(kind: .source, id: UInt32(sources.count), name: source)
    insert(definition)
    return (UInt16(definition.id), definition)
  }

  /// A definition for a producer that has none; nil when all ids are taken.
  package mutating func intern(producer name: String) -> Definition? {
    guard highestProducer < .max else { return nil }
    let definition = Definition(kind: .producer, id: highestProducer + 1, name: name)
    insert(definition)
    return definition
  }

  /// Of several producers of one name only the newest is remembered. The others were forgotten before it came back, and
  /// only the head of the segment that was next would have said so.
  package mutating func dropForgotten() {
    var newest: [String: UInt32] = [:]
    for producer in producers.values { newest[producer.name] = max(producer.id, newest[producer.name] ?? 0) }
    producers = producers.filter { newest[$0.value.name] == $0.key }
  }

  package mutating func removeProducer(_ id: UInt32) { producers[id] = nil }

  package func knows(source: String) -> Bool { sources.dropFirst().contains(source) }

  package func sourceName(_ id: UInt16) -> String? { Int(id) < sources.count ? sources[Int(id)] : nil }

  package func producerName(_ id: UInt32) -> String? { id == 0 ? "" : producers[id]?.name }

  /// Everything but the built-in id 0, sources first, by id: the snapshot at the head of a segment.
  package var all: [Definition] {
    sources.enumerated().dropFirst().compactMap { id, name in
      name.map { Definition(kind: .source, id: UInt32(id), name: $0) }
    } + producers.values.sorted { $0.id < $1.id }
  }
}
