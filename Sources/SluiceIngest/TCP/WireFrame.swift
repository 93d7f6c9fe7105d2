// The framed wire protocol as bytes; docs/wire-protocol.md is the definition, for both ends of a connection.
//
// A frame is a header of 24 bytes and a body, little-endian, `length` (all of it) a multiple of 8:
//    0  u32  length      4  u8  type     5  u8  flags, zero    6  u16  channel
//    8  u32  count      12  u32 body_crc 16  u32 reserved, zero 20  u32  head_crc
//   head_crc = crc32c(direction ‖ counter ‖ header[0 ..< 20]); body_crc = crc32c(body), in DATA of first_sequence and the
//   eight bytes in front of each producer part.
//
// How it is used, by a server and by a client alike:
//
//   var receiver = WireReceiver(from: .toClient, maxFrame: 65_536)     what the other side sends
//   var sender = WireSender(.toServer)                                 what this side sends; both count frames
//
//   sender.hello(WireHello(stream: "events", producer: "press-7", epoch: 1), to: &buffer)      buffer: ByteBuffer
//   sender.open(…) .close(…) .ping(…) .end(.bye, WireEnd(), to: &buffer) …                     one call, one frame
//   var data = sender.beginData(channel: 0, firstSequence: 41, in: &buffer)
//   data.append(fields, to: &buffer)          encodes and checksums a record: `RecordFields`, whose sequence is set
//   data.append(part: bytes, crc: crc, …)     or: a producer part that was encoded before
//   data.bytes                                size of the frame so far, to hold against credit and `max_frame`
//   sender.finishData(data, in: &buffer)      nothing else may be written to the buffer in between
//
//   switch receiver.next(bytes) {             `bytes` begins where the last frame ended
//   case .needMore(let total)                 come back with at least `total` bytes, the same ones first
//   case .frame(let frame)                    whole and checked; consume `frame.length` bytes
//     switch frame.type {                     nil: a type of a later version, to be skipped
//     case .welcome: try WireWelcome(frame.body)
//     case .ack: try frame.word()             also PING and PONG: the one u64
//     case .nack: try WireNack(frame.body) …  case .error, .goaway, .bye: try WireEnd(frame.body)
//     case .data: try frame.records()         a WireRecords: what is left to take of the frame's records
//   case .fault(let fault)                    the place of the next frame is not known: say so and close
//   }
//
// Nothing is allocated for DATA, ACK, CREDIT, PING and PONG in either direction. A body that was decoded is well formed;
// whether it comes at the right time is for the connection to say. Not promised: that a record in a DATA frame is
// well formed or has its checksum: who takes it looks at each.

import SluiceCore

/// Which way a frame goes; enters every `head_crc`.
package enum WireDirection: UInt64, Sendable {
  case toServer = 1
  case toClient = 2
}

package enum WireFrameType: UInt8, Sendable, CaseIterable {
  case hello = 1
  case challenge, proof, welcome, open, opened, close, data, ack, nack, credit, ping, pong, goaway, bye, error

  /// Whether it belongs to the connection: its channel is zero.
  package var isOfConnection: Bool {
    switch self {
    case .open, .opened, .close, .data, .ack, .nack, .error: false
    case .hello, .challenge, .proof, .welcome, .credit, .ping, .pong, .goaway, .bye: true
    }
  }
}

/// Byte offsets of a frame's header, and what is counted in frames.
package enum WireLayout {
  package static let length = 0
  package static let type = 4
  package static let flags = 5
  package static let channel = 6
  package static let count = 8
  package static let bodyCRC = 12
  package static let reserved = 16
  package static let headCRC = 20
  package static let headerBytes = 24
  /// `first_sequence`, in front of a DATA frame's records.
  package static let dataFixedBytes = 8
  /// `length` and `crc32c`, in front of each producer part.
  package static let recordPrefixBytes = 8
  /// Types from here on that are not known are skipped.
  package static let firstSkippedType: UInt8 = 128
  package static let version: UInt8 = 1
  /// `SLUICE\r\n`.
  package static let magic: UInt64 = 0x0A0D_4543_4955_4C53
  /// What `max_frame` has to leave room for beside the largest producer part, tag included.
  package static let maxFrameOverhead = headerBytes + dataFixedBytes + recordPrefixBytes + 32
}

/// Why what came is no frame, or no body of its type: what the ERROR says that answers it.
package struct WireFault: Error, Equatable, Sendable {
  package var code: WireErrorCode
  package var value: UInt64
  package var detail: String

  package init(_ code: WireErrorCode, value: UInt64 = 0, _ detail: String) {
    self.code = code
    self.value = value
    self.detail = detail
  }
}

/// A whole frame in place, header and body checked. It borrows the bytes that it was found in.
package struct WireFrame {
  /// Nil: not known to this version, and to be skipped.
  package let type: WireFrameType?
  package let channel: UInt16
  /// Records of a DATA frame.
  package let count: Int
  /// Of the whole frame.
  package let length: Int
  package let body: UnsafeRawBufferPointer

  /// Header and body: what handshakes are made of. A frame of a handshake has no tag.
  package var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      start: body.baseAddress.map { $0 - WireLayout.headerBytes }, count: body.count + WireLayout.headerBytes)
  }

  /// The one number of an ACK, PING or PONG.
  package func word() throws(WireFault) -> UInt64 { try WireFields(body, atLeast: 8).u64(0) }

  /// The records of a DATA frame.
  package func records() throws(WireFault) -> WireRecords {
    guard count > 0 else { throw WireFault(.protocolViolation, "a DATA frame without records") }
    let records = WireRecords(firstSequence: try word(), count: count)
    guard records.sequence > 0 else { throw WireFault(.protocolViolation, "first_sequence is 0") }
    guard records.sequence <= UInt64.max - UInt64(count) else {
      throw WireFault(.protocolViolation, "sequences run past their end")
    }
    return records
  }
}

/// What of a DATA frame is still to be taken: offsets into its body, so that it can be kept while the body moves.
package struct WireRecords: Equatable, Sendable {
  /// Of the next record.
  package private(set) var sequence: UInt64
  package private(set) var left: Int
  private var offset = WireLayout.dataFixedBytes

  init(firstSequence: UInt64, count: Int) {
    sequence = firstSequence
    left = count
  }

  /// The next record of a body that `WireReceiver` has walked: its producer part and the checksum that came with it.
  @inline(__always)
  package func peek(in body: UnsafeRawBufferPointer) -> (part: UnsafeRawBufferPointer, crc: UInt32)? {
    guard left > 0, let base = body.baseAddress else { return nil }
    let prefix: UInt64 = (base + offset).loadLE(0)
    let length = Int(UInt32(truncatingIfNeeded: prefix))
    assert(offset + WireLayout.recordPrefixBytes + length <= body.count, "the receiver has walked the records")
    let part = UnsafeRawBufferPointer(start: base + offset + WireLayout.recordPrefixBytes, count: length)
    return (part, UInt32(truncatingIfNeeded: prefix >> 32))
  }

  /// Goes past the record that `peek` showed.
  @inline(__always)
  package mutating func advance(past part: UnsafeRawBufferPointer) {
    offset += WireLayout.recordPrefixBytes + part.count
    sequence += 1
    left -= 1
  }
}
