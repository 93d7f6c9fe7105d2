import SluiceCore
import Testing

@testable import SluiceJournal

@Suite("The log's bytes are those of the golden files")
struct GoldenFormatTests {
  static let uuid = LogUUID(high: 0x0123_4567_89ab_4def, low: 0x8123_4567_89ab_cdef)
  static let salt: UInt64 = 0x1122_3344_5566_7788

  static func golden(_ name: String) throws -> [UInt8] {
    let directory = #filePath.split(separator: "/").dropLast(2).map { "/" + $0 }.joined()
    let file = try LogFile("\(directory)/Golden/log/\(name).hex", .read, on: LinuxStorage())
    var text = [UInt8](repeating: 0, count: try file.size())
    _ = try text.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
    let lines = String(decoding: text, as: UTF8.self).split(separator: "\n")
    let length = try #require(lines.first.flatMap { Int($0.dropFirst("length ".count)) })
    var bytes: [UInt8] = []
    for line in lines.dropFirst() {
      var rest = line[...]
      while !rest.isEmpty {
        bytes.append(try #require(UInt8(rest.prefix(2), radix: 16)))
        rest = rest.dropFirst(2)
      }
    }
    return bytes + [UInt8](repeating: 0, count: length - bytes.count)
  }

  static var segmentHeader: SegmentHeader {
    var header = SegmentHeader(uuid: uuid, salt: salt, baseLSN: 1001, createdTime: 1_700_000_000_000_000_000)
    header.flags = .early
    header.previousBaseLSN = 501
    header.previousLastLSN = 1000
    header.previousLinkCRC = 0xCAFE_F00D
    header.supersedesFrom = 1001
    return header
  }

  @Test("segment header")
  func segmentHeader() throws {
    let golden = try Self.golden("segment-header")
    var header = Self.segmentHeader
    var bytes = [UInt8](repeating: 0xFF, count: 4096)
    bytes.withUnsafeMutableBytes { header.encode(to: $0) }
    #expect(bytes == golden)
    #expect(try golden.withUnsafeBytes { try SegmentHeader.decode($0) } == header)
  }

  @Test("definitions")
  func definitions() throws {
    let golden = try Self.golden("definitions")
    let expected = [
      Definition(kind: .source, id: 1, name: "api"), Definition(kind: .source, id: 2, name: "modules"),
      Definition(kind: .producer, id: 9, name: "pump-7", epoch: 3, highWater: 41),
    ]
    var bytes: [UInt8] = []
    for definition in expected { DefinitionCodec.append(definition, to: &bytes) }
    #expect(bytes == golden)
    var decoded: [Definition] = []
    try golden.withUnsafeBytes { try DefinitionCodec.decode($0) { decoded.append($0) } }
    #expect(decoded == expected)
    var table = DefinitionTable()
    for definition in decoded { table.insert(definition) }
    #expect(table.all == expected)
  }

  @Test("group, with its records")
  func group() throws {
    let golden = try Self.golden("group")
    let segment = try Self.golden("segment-header")
    let link: UInt32 = segment.withUnsafeBytes { $0.baseAddress!.loadLE(8) }
    try golden.withUnsafeBytes { bytes in
      let header = try GroupHeader.decode(bytes, salt: Self.salt, offset: 4096)
      #expect(header.firstLSN == 1001 && header.durableLSN == 1000 && header.count == 2 && header.previousCRC == link)
      try GroupBody.verify(header, bytes)
      var again = header
      let room = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 8)
      defer { room.deallocate() }
      again.encode(to: room, salt: Self.salt, offset: 4096)
      #expect(Array(UnsafeRawBufferPointer(start: room, count: 64)) == Array(bytes[..<64]))
      var sequences: [UInt64] = []
      try GroupBody.walk(header, bytes) { _, record, _ in sequences.append(RecordView(trusted: record).sequence) }
      #expect(sequences == [0, 42])
      for (salt, offset) in [(Self.salt, 8192), (Self.salt + 1, 4096)] {
        #expect(throws: GroupFault.checksum, "a group is valid only in its own place and file") {
          try GroupHeader.decode(bytes, salt: salt, offset: offset)
        }
      }
    }
  }

  @Test("record, as a lane writes it")
  func record() throws {
    let golden = try Self.golden("record")
    try golden.withUnsafeBytes { bytes in
      let view = try RecordView(validating: bytes, maxRecord: 1 << 20)
      #expect(view.checksumMatches && view.source == 1 && view.eventTime == -5)
      #expect(String(decoding: view.topic, as: UTF8.self) == "audit.login")
      let room = UnsafeMutableRawPointer.allocate(byteCount: bytes.count, alignment: 8)
      defer { room.deallocate() }
      let fields = RecordFields(
        eventTime: view.eventTime, topic: view.topic, key: view.key, headers: view.headers, payload: view.payload)
      #expect(fields.encodeProducerPart(to: room + 24) == view.crc)
      #expect(Array(UnsafeRawBufferPointer(start: room + 24, count: bytes.count - 24)) == Array(bytes[24...]))
    }
  }

  @Test("consumed sequence, as a lane writes it")
  func consumed() throws {
    let golden = try Self.golden("consumed")
    try golden.withUnsafeBytes { bytes in
      let view = try RecordView(validating: bytes, maxRecord: 1 << 20)
      #expect(view.checksumMatches && view.type == RecordLayout.typeConsumed && view.length == bytes.count)
      #expect(view.producer == 9 && view.epoch == 3 && view.sequence == 43)
      let room = UnsafeMutableRawPointer.allocate(byteCount: bytes.count, alignment: 8)
      defer { room.deallocate() }
      let note = RecordFields(eventTime: view.eventTime, sequence: view.sequence, payload: .empty)
      #expect(note.encodeProducerPart(to: room + 24, type: RecordLayout.typeConsumed) == view.crc)
      #expect(Array(UnsafeRawBufferPointer(start: room + 24, count: bytes.count - 24)) == Array(bytes[24...]))
      var table = DefinitionTable()
      table.insert(Definition(kind: .producer, id: 9, name: "pump-7", epoch: 3, highWater: 42))
      table.note(producer: view.producer, epoch: view.epoch, sequence: view.sequence)
      #expect(table.producers[9]?.highWater == 43)
    }
  }

  @Test("a whole segment is scanned to its seal")
  func segment() throws {
    let storage = MemoryStorage()
    storage.put("s", try Self.golden("segment"))
    let header = try SegmentFile.readHeader("s", on: storage).get()
    var scan = TailScan(header)
    try scan.run(try FileWindow(try LogFile("s", .read, on: storage)), slotWitness: 0)
    #expect(scan.verdict == .sealed && scan.groups == 3 && scan.records == 2 && scan.nextLSN == 1003)
    #expect(scan.definitions.sourceName(2) == "modules" && scan.definitions.producerName(9) == "pump-7")
  }

  @Test("cursor slot")
  func cursorSlot() throws {
    let golden = try Self.golden("cursor-slot")
    let slot = CursorSlot(
      generation: 5, uuid: Self.uuid, durableLSN: 1002, trimLSN: 501, writtenTime: 1_700_000_000_000_000_005,
      entries: [
        CursorEntry(name: "archive", lsn: 1003, updatedTime: 1_700_000_000_000_000_003),
        CursorEntry(name: "pg", lsn: 7, updatedTime: 1_700_000_000_000_000_004),
      ])
    #expect(slot.encoded() == golden && slot.offset == Limits.cursorSlotBytes)
    #expect(try golden.withUnsafeBytes { try CursorSlot.decode($0) } == slot)
  }

  @Test("a piece of a write has the layout of an iovec")
  func pieceLayout() { #expect(WritePieceLayout.matches) }
}
