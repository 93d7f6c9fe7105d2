import SluiceCore

/// Every definition that the log remembers, in the form it has on disk, each producer's epoch and high-water mark
/// kept current in place: the head of a segment is a copy of it. The commit thread's own, so nothing here is locked.
///
/// The raw memory is private to the value, freed with it, and reached only through offsets that `append` gave out.
struct DefinitionImage: ~Copyable {
  /// Ids per page of `pages`.
  private static let pageBits = 12
  private static let pageIDs = 1 << pageBits

  private var memory: UnsafeMutableRawBufferPointer
  private(set) var count = 0
  /// The current segment has the definitions up to here.
  private var writtenCount = 0
  /// By producer id: where its entry is, in units of 8 bytes, plus one; 0 = there is none.
  private var pages: [UnsafeMutablePointer<UInt32>?] = []
  private var forgotten: Set<UInt32> = []

  init(_ definitions: [Definition]) {
    memory = .allocate(byteCount: Limits.groupAlignment, alignment: 8)
    for definition in definitions { append(definition) }
  }

  deinit {
    for page in pages { page?.deallocate() }
    memory.deallocate()
  }

  // MARK: Names

  mutating func append(_ definition: Definition) {
    var entry: [UInt8] = []
    DefinitionCodec.append(definition, to: &entry)
    if count + entry.count > memory.count {
      let larger = UnsafeMutableRawBufferPointer.allocate(
        byteCount: max(2 * memory.count, count + entry.count), alignment: 8)
      larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: memory[..<count]))
      memory.deallocate()
      memory = larger
    }
    UnsafeMutableRawBufferPointer(rebasing: memory[count...]).copyBytes(from: entry)
    if definition.kind == .producer { setPlace(of: definition.id, count) }
    count += entry.count
  }

  /// These leave with the next segment.
  mutating func forget(_ producers: [UInt32]) { forgotten.formUnion(producers) }

  private mutating func setPlace(of id: UInt32, _ offset: Int) {
    let page = Int(id) >> Self.pageBits
    while pages.count <= page { pages.append(nil) }
    let entries: UnsafeMutablePointer<UInt32>
    if let known = pages[page] {
      entries = known
    } else {
      entries = .allocate(capacity: Self.pageIDs)
      entries.initialize(repeating: 0, count: Self.pageIDs)
      pages[page] = entries
    }
    entries[Int(id) & (Self.pageIDs - 1)] = UInt32(offset / 8 + 1)
  }

  // MARK: Marks

  /// A record of the producer is about to be written. An id without a definition has no mark.
  mutating func note(producer id: UInt32, epoch: UInt16, sequence: UInt64) {
    let page = Int(id) >> Self.pageBits
    guard page < pages.count, let entries = pages[page] else { return }
    let place = entries[Int(id) & (Self.pageIDs - 1)]
    guard place > 0, let entry = memory.baseAddress.map({ $0 + Int(place - 1) * 8 }) else { return }
    if sequence > entry.loadLE(DefinitionCodec.highWaterOffset) as UInt64 {
      entry.storeLE(sequence, DefinitionCodec.highWaterOffset)
    }
    if epoch > entry.loadLE(DefinitionCodec.epochOffset) as UInt16 {
      entry.storeLE(epoch, DefinitionCodec.epochOffset)
    }
  }

  // MARK: Writing

  /// What the next group must carry: everything at the head of a segment, else what is new.
  var due: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[writtenCount..<count]) }

  /// A group with all that was due is written.
  mutating func wrote() { writtenCount = count }

  /// The next group is the first of its segment.
  mutating func beginSegment() {
    writtenCount = 0
    guard !forgotten.isEmpty, let base = memory.baseAddress else { return }
    for page in pages { page?.deallocate() }
    pages = []
    var from = 0
    var to = 0
    while from < count {
      let entry = base + from
      let bytes = DefinitionCodec.fixedBytes + RecordLayout.padded(Int(entry.loadLE(2) as UInt16))
      let id: UInt32 = entry.loadLE(4)
      let isProducer = entry.loadLE(0) as UInt16 == Definition.Kind.producer.rawValue
      if !isProducer || !forgotten.contains(id) {
        if to != from { (base + to).copyMemory(from: entry, byteCount: bytes) }
        if isProducer { setPlace(of: id, to) }
        to += bytes
      }
      from += bytes
    }
    count = to
    forgotten = []
  }
}
