import CSluice

/// A batch as a later host might give it: its messages lie further apart than this version's struct is long.
package final class FakeBatch {
  /// One message to be delivered.
  package struct Record {
    package var payload: [UInt8]
    package var topic = Array("web".utf8)
    package var key = ""
    package var source = "api"
    package var headers: [(name: String, value: String)] = []
    package var eventTime: Int64 = 1_700_000_000_123_456_789
    package var attempt: UInt32 = 1
    /// Whether topic, key and payload lie in one producer part, as in a record of the log.
    package var isWhole = false

    package init(_ payload: String) { self.payload = Array(payload.utf8) }
    package init(bytes: [UInt8]) { payload = bytes }
  }

  package static let uuid = "00112233-4455-6677-8899-aabbccddeeff"
  package static let firstToken: UInt64 = 7000

  private let stride = MemoryLayout<slu_message>.size + 24
  private let messages: UnsafeMutableRawPointer
  private let batch: UnsafeMutablePointer<slu_batch>
  private var owned: [slu_bytes] = []

  package init(_ records: [Record], firstLSN: UInt64 = 1, stream: String = "events", flags: UInt32 = 0) {
    messages = .allocate(byteCount: stride * max(1, records.count), alignment: 8)
    messages.initializeMemory(as: UInt8.self, repeating: 0xA5, count: stride * records.count)
    batch = .allocate(capacity: 1)
    batch.initialize(to: slu_batch())
    for (index, record) in records.enumerated() {
      (messages + index * stride).storeBytes(of: message(record, index, firstLSN), as: slu_message.self)
    }
    batch.pointee.struct_size = UInt32(MemoryLayout<slu_batch>.size)
    batch.pointee.flags = flags
    batch.pointee.count = UInt32(records.count)
    batch.pointee.message_stride = UInt32(stride)
    batch.pointee.messages = UnsafePointer(messages.assumingMemoryBound(to: slu_message.self))
    batch.pointee.lease = 99
    batch.pointee.lease_bytes = 1 << 20
    batch.pointee.first_lsn = firstLSN
    batch.pointee.last_lsn = firstLSN + UInt64(records.count) - 1
    batch.pointee.stream = own(Array(stream.utf8))
    withUnsafeMutableBytes(of: &batch.pointee.log_uuid) { bytes in
      for index in 0..<16 { bytes[index] = UInt8(index) * 0x11 }
    }
  }

  package convenience init(_ payloads: [String], firstLSN: UInt64 = 1) {
    self.init(payloads.map { Record($0) }, firstLSN: firstLSN)
  }

  deinit {
    owned.forEach { UnsafeMutableRawPointer(mutating: $0.ptr)?.deallocate() }
    messages.deallocate()
    batch.deallocate()
  }

  package var table: UnsafePointer<slu_batch> { UnsafePointer(batch) }

  private func own(_ bytes: [UInt8]) -> slu_bytes {
    let copy = ownedBytes(bytes)
    owned.append(copy)
    return copy
  }

  private func message(_ record: Record, _ index: Int, _ firstLSN: UInt64) -> slu_message {
    var message = slu_message()
    message.token = FakeBatch.firstToken + UInt64(index)
    message.lsn = firstLSN + UInt64(index)
    message.ingest_time_ns = 1_700_000_001_000_000_000
    message.event_time_ns = record.eventTime
    message.attempt = record.attempt
    message.source = own(Array(record.source.utf8))
    message.topic = own(record.topic)
    message.key = own(Array(record.key.utf8))
    message.payload = own(record.payload)
    if record.isWhole { cover(&message) }
    if !record.headers.isEmpty { message.headers = own(raw(record.headers)) }
    return message
  }

  private func cover(_ message: inout slu_message) {
    let parts = [message.topic, message.key, message.payload].map { bytes in
      Array(UnsafeRawBufferPointer(start: bytes.ptr, count: Int(bytes.len)))
    }
    message.covered = own(Array(parts.joined()))
    guard var at = message.covered.ptr else { return }
    for (path, part) in zip([\slu_message.topic, \.key, \.payload], parts) {
      message[keyPath: path].ptr = at
      at += part.count
    }
  }

  private func raw(_ headers: [(name: String, value: String)]) -> [UInt8] {
    var raw = [UInt8](repeating: 0, count: 16 << 10)
    var length: UInt64 = 0
    for header in headers {
      let fits = header.name.withCString { name in
        header.value.withCString { value in
          slu_headers_append(&raw, UInt64(raw.count), &length, slu_text(name), slu_text(value))
        }
      }
      precondition(fits == 1, "headers are too long for a test")
    }
    return Array(raw[0..<Int(length)])
  }
}
