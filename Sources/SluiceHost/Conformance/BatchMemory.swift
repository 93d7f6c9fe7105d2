// A batch in memory of its own, so that it can be made read-only, or be taken away.
//
//   tables   slu_batch, then the array of messages, whose end is the end of the pages
//   bytes    the names of sources and producers, then the records' producer parts, the last of which ends with the pages
//
// Behind each lies a page that nobody may touch: what reads past the end of a batch that is tight ends the process.

import CSluice
import Glibc
import SluiceCore

/// One message of a rule's batch.
struct RuleMessage {
  var payload: [UInt8]
  var topic: [UInt8] = Array("check".utf8)
  var key: [UInt8] = Array("key".utf8)
  /// In the raw form, well-formed or not.
  var headers: [UInt8] = []
  var source = "api"
  var producer = ""
  var eventTime: Int64 = 1_700_000_000_123_456_789
  var attempt: UInt32 = 1

  init(_ payload: String) { self.payload = Array(payload.utf8) }
  init(bytes: [UInt8]) { payload = bytes }

  /// `count` different ones, as most producers send them.
  static func some(_ count: Int) -> [RuleMessage] {
    (0..<count).map { RuleMessage(#"{"message":"record \#($0)"}"#) }
  }
}

/// How a batch is given.
struct BatchShape {
  var firstLSN: UInt64 = 1
  /// From one message's LSN to the next one's.
  var step: UInt64 = 1
  var flags: UInt32 = 0
  /// Bytes that a later minor version might have appended to each struct.
  var appended = 0
  var ackDeadline: Int64 = 0
  /// What lies behind the batch can't be touched; else there is some room, as there is in the log's own buffers.
  var isTight = false
}

/// `@unchecked Sendable`: what `init` has written is only read from then on, and how the memory is protected is the
/// kernel's to keep.
final class BatchMemory: @unchecked Sendable {
  /// Pages with one that can't be touched behind them.
  private struct Pages {
    let base: UnsafeMutableRawPointer
    let count: Int

    init(_ bytes: Int) {
      let page = Int(sysconf(Int32(_SC_PAGESIZE)))
      count = (max(bytes, 1) + page - 1) / page * page
      let map = mmap(nil, count + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      guard let map, map != MAP_FAILED else { fatalError("no memory for a batch of \(bytes) bytes") }
      base = map
      mprotect(base + count, page, PROT_NONE)
    }

    func protect(_ protection: Int32) { mprotect(base, count, protection) }
    func unmap() { munmap(base, count + Int(sysconf(Int32(_SC_PAGESIZE)))) }
  }

  private static let room = 256

  let description: String
  let firstToken: UInt64
  let count: Int
  let lease: UInt64
  let ackDeadline: Int64
  private let tables: Pages
  private let bytes: Pages
  private let stream = CText("events")

  var table: UnsafePointer<slu_batch> { UnsafePointer(tables.base.assumingMemoryBound(to: slu_batch.self)) }

  init(
    _ messages: [RuleMessage], _ shape: BatchShape = BatchShape(), firstToken: UInt64, lease: UInt64, as name: String
  ) {
    description = name
    self.firstToken = firstToken
    self.lease = lease
    count = messages.count
    ackDeadline = shape.ackDeadline
    let stride = MemoryLayout<slu_message>.size + shape.appended
    let head = RecordLayout.padded(MemoryLayout<slu_batch>.size + shape.appended)
    let room = shape.isTight ? 0 : BatchMemory.room
    tables = Pages(head + stride * messages.count + room)
    let names = messages.reduce(0) { $0 + RecordLayout.padded($1.source.utf8.count + $1.producer.utf8.count) }
    let parts = messages.reduce(0) { $0 + BatchMemory.partBytes($1) }
    bytes = Pages(names + parts + room)
    // What a later host appends is not to be looked at.
    tables.base.initializeMemory(as: UInt8.self, repeating: 0xA5, count: tables.count)
    let array = tables.base + tables.count - room - stride * messages.count
    var name = bytes.base + bytes.count - room - parts - names
    var part = bytes.base + bytes.count - room - parts
    for (index, message) in messages.enumerated() {
      var made = BatchMemory.message(message, names: &name, part: &part)
      made.token = firstToken + UInt64(index)
      made.lsn = shape.firstLSN + UInt64(index) * shape.step
      (array + index * stride).storeBytes(of: made, as: slu_message.self)
    }
    var batch = slu_batch()
    batch.struct_size = UInt32(MemoryLayout<slu_batch>.size + shape.appended)
    batch.flags = shape.flags
    batch.count = UInt32(messages.count)
    batch.message_stride = UInt32(stride)
    batch.messages = UnsafePointer(array.assumingMemoryBound(to: slu_message.self))
    batch.lease = lease
    batch.lease_bytes = UInt64(bytes.count)
    batch.first_lsn = shape.firstLSN
    batch.last_lsn = shape.firstLSN + UInt64(messages.count) * shape.step - 1
    batch.stream = stream.bytes
    batch.ack_deadline_ns = shape.ackDeadline
    withUnsafeMutableBytes(of: &batch.log_uuid) { for index in 0..<16 { $0[index] = UInt8(index) * 0x11 } }
    tables.base.storeBytes(of: batch, as: slu_batch.self)
  }

  deinit {
    tables.unmap()
    bytes.unmap()
  }

  /// Nobody writes into it any more.
  func makeReadOnly() {
    tables.protect(PROT_READ)
    bytes.protect(PROT_READ)
  }

  /// The batch and its messages are gone; their bytes too, unless they are leased.
  func takeAway(isLeased: Bool) {
    tables.protect(PROT_NONE)
    if !isLeased { bytes.protect(PROT_NONE) }
  }

  private static func partBytes(_ message: RuleMessage) -> Int {
    Limits.producerFixedBytes + RecordLayout.padded(message.topic.count + message.key.count + message.headers.count)
      + RecordLayout.padded(message.payload.count)
  }

  /// Writes the record and the names where they are to be, moves both places on, and points to them.
  private static func message(
    _ message: RuleMessage, names: inout UnsafeMutableRawPointer, part: inout UnsafeMutableRawPointer
  ) -> slu_message {
    func put(_ text: String) -> slu_bytes {
      let utf8 = Array(text.utf8)
      names.copyMemory(from: utf8, byteCount: utf8.count)
      defer { names += utf8.count }
      return slu_bytes(ptr: utf8.isEmpty ? nil : UnsafeRawPointer(names), len: UInt64(utf8.count))
    }
    var made = slu_message()
    made.source = put(message.source)
    made.producer = put(message.producer)
    if !message.producer.isEmpty { (made.producer_sequence, made.producer_epoch) = (1, 1) }
    names +=
      RecordLayout.padded(message.source.utf8.count + message.producer.utf8.count)
      - message.source.utf8.count - message.producer.utf8.count
    made.ingest_time_ns = 1_700_000_001_000_000_000
    made.event_time_ns = message.eventTime
    made.attempt = message.attempt
    message.topic.withUnsafeBytes { topic in
      message.key.withUnsafeBytes { key in
        message.headers.withUnsafeBytes { headers in
          message.payload.withUnsafeBytes { payload in
            let fields = RecordFields(
              eventTime: message.eventTime, sequence: made.producer_sequence, topic: topic, key: key, headers: headers,
              payload: payload)
            made.crc32c = fields.encodeProducerPart(to: part)
          }
        }
      }
    }
    let sizes = [message.topic.count, message.key.count, message.headers.count]
    let metadata = UnsafeRawPointer(part) + Limits.producerFixedBytes
    made.topic = slu_bytes(ptr: metadata, len: UInt64(sizes[0]))
    made.key = slu_bytes(ptr: metadata + sizes[0], len: UInt64(sizes[1]))
    made.headers = slu_bytes(ptr: metadata + sizes[0] + sizes[1], len: UInt64(sizes[2]))
    made.payload = slu_bytes(
      ptr: metadata + RecordLayout.padded(sizes.reduce(0, +)), len: UInt64(message.payload.count))
    let bytes = partBytes(message)
    made.covered = slu_bytes(ptr: UnsafeRawPointer(part), len: UInt64(bytes))
    part += bytes
    return made
  }
}
