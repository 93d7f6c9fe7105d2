// Records as rows of PostgreSQL's binary COPY format, big-endian:
//
//   u16 number of columns, then for each: i32 length, or -1 for NULL · value
//
//   time, ingest_time   i64 µs since 2000-01-01, rounded down
//   lsn                 i64
//   log_uuid            16 bytes
//   payload             as it is
//   source, topic, key  as they are
//   body                the payload if it is JSON, with a version byte 1 before it in jsonb; else NULL
//   message             the payload's member `message` if the payload is JSON: NULL when there is none or it is no string.
//                       Otherwise the payload itself
//
// What can't be a value of its column is refused here, with the SQLSTATE that the server would give: text that is not
// UTF-8 or has a NUL, and \u0000 in jsonb.

import Glibc
import SluicePluginKit

/// The rows of one batch. Allocates only when a batch is larger than all before it.
package final class RowBuffer {
  /// A record that became a row.
  package struct Row {
    package var token: UInt64
    package var lsn: UInt64
    /// Offset behind its bytes; they begin where the row before ends.
    package var end: Int
  }

  /// A record that can't be a row.
  package struct Refused {
    package var token: UInt64
    package var error: ServerError
  }

  /// µs from 1970 to 2000.
  private static let epoch: Int64 = 946_684_800_000_000
  /// A column's length field and the longest value of fixed size, with room to spare for a version byte.
  private static let fixedBytes = 24

  package private(set) var rows: [Row] = []
  package private(set) var refused: [Refused] = []
  private var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 8)
  private var used = 0

  package init() {}

  deinit { buffer.deallocate() }

  /// Forgets all rows, and makes room for those of a batch of `count`.
  package func begin(_ count: Int) {
    used = 0
    rows.removeAll(keepingCapacity: true)
    refused.removeAll(keepingCapacity: true)
    rows.reserveCapacity(count)
  }

  /// The bytes of some rows. Valid until the next `append`.
  package func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer {
    guard !range.isEmpty else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let start = range.lowerBound == 0 ? 0 : rows[range.lowerBound - 1].end
    return UnsafeRawBufferPointer(rebasing: buffer[start..<rows[range.upperBound - 1].end])
  }

  /// Adds the message as a row, or to `refused`.
  package func append(_ message: borrowing Message, of log: LogUUID, as shape: TableShape) {
    let start = used
    reserve(
      2 + shape.columns.count * RowBuffer.fixedBytes + message.source.count + message.topic.count
        + message.key.count + 3 * message.payload.count)
    do throws(ServerError) {
      try write(message, of: log, as: shape)
      rows.append(Row(token: message.token, lsn: message.lsn, end: used))
    } catch {
      used = start
      refused.append(Refused(token: message.token, error: error))
    }
  }

  private func write(_ message: borrowing Message, of log: LogUUID, as shape: TableShape) throws(ServerError) {
    let payload = message.payload
    var json: JSONText?
    if shape.columns.contains(.body) || shape.columns.contains(.message) {
      try check(payload, "payload")
      json = JSONText(payload)
    }
    put(UInt16(shape.columns.count))
    for index in shape.columns.indices {
      switch shape.columns[index] {
      case .time: time(message.eventTime)
      case .ingestTime: time(message.ingestTime)
      case .source: try text(message.source, "source")
      case .topic: try text(message.topic, "topic")
      case .key: try text(message.key, "key")
      case .payload: value(payload)
      case .message: try self.message(payload, json)
      case .body: try body(payload, json, shape.types[index])
      case .lsn:
        put(UInt32(8))
        put(message.lsn)
      case .logUUID:
        put(UInt32(16))
        put(log.high)
        put(log.low)
      }
    }
  }

  // MARK: Values

  private func time(_ nanoseconds: Int64) {
    let (quotient, remainder) = nanoseconds.quotientAndRemainder(dividingBy: 1000)
    put(UInt32(8))
    put(UInt64(bitPattern: quotient - (remainder < 0 ? 1 : 0) - RowBuffer.epoch))
  }

  private func text(_ bytes: UnsafeRawBufferPointer, _ what: StaticString) throws(ServerError) {
    try check(bytes, what)
    value(bytes)
  }

  private func body(
    _ payload: UnsafeRawBufferPointer, _ json: JSONText?, _ type: ColumnType
  ) throws(ServerError) {
    guard let json else { return null() }
    guard type == .jsonb else { return value(payload) }
    guard !json.hasEscapedNUL else {
      throw ServerError(sqlstate: "22P05", message: "the payload has \\u0000 in it, which jsonb can't hold")
    }
    put(UInt32(payload.count + 1))
    put(UInt8(1))
    copy(payload)
  }

  private func message(_ payload: UnsafeRawBufferPointer, _ json: JSONText?) throws(ServerError) {
    guard let json else { return value(payload) }
    guard let range = json.message else { return null() }
    let escaped = UnsafeRawBufferPointer(rebasing: payload[range])
    guard json.isMessageEscaped else { return value(escaped) }
    let start = used
    put(UInt32(0))
    let target = UnsafeMutableRawBufferPointer(rebasing: buffer[used..<(used + escaped.count)])
    let count = JSONString.unescape(escaped, into: target)
    if json.hasEscapedNUL { try check(UnsafeRawBufferPointer(rebasing: target[0..<count]), "message") }
    used += count
    buffer.storeBytes(of: UInt32(count).bigEndian, toByteOffset: start, as: UInt32.self)
  }

  private func check(_ bytes: UnsafeRawBufferPointer, _ what: StaticString) throws(ServerError) {
    switch TextBytes.fault(in: bytes) {
    case nil: return
    case .notUTF8: throw ServerError(sqlstate: "22021", message: "the \(what) is not UTF-8")
    case .hasNUL: throw ServerError(sqlstate: "22021", message: "the \(what) has a NUL in it, which text can't hold")
    }
  }

  private func value(_ bytes: UnsafeRawBufferPointer) {
    put(UInt32(bytes.count))
    copy(bytes)
  }

  private func null() { put(UInt32.max) }

  // MARK: Bytes

  private func copy(_ bytes: UnsafeRawBufferPointer) {
    UnsafeMutableRawBufferPointer(rebasing: buffer[used..<(used + bytes.count)]).copyMemory(from: bytes)
    used += bytes.count
  }

  private func put<Integer: FixedWidthInteger>(_ integer: Integer) {
    buffer.storeBytes(of: integer.bigEndian, toByteOffset: used, as: Integer.self)
    used += MemoryLayout<Integer>.size
  }

  /// Room for `bytes` more. Grows by doubling, so that a batch is moved a few times at most.
  private func reserve(_ bytes: Int) {
    guard bytes > buffer.count - used else { return }
    let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: max(2 * buffer.count, used + bytes), alignment: 8)
    larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[0..<used]))
    buffer.deallocate()
    buffer = larger
  }
}
