// What the daemon and a plugin's process say to each other, on one stream socket.
//
//   packet   u32 length of the payload · u16 kind · u16 zero · payload            little-endian
//   text     u32 length · bytes                                                   also for other bytes
//
//   daemon → process: one call at a time; the next only after the reply
//     describe  text path · text name · text user
//     validate  text path · text name · text kind · text user · text config
//     create    text path · text name · text kind · text host version · text instance · text state directory · text user ·
//               u64 memory · u64 slot bytes · u32 slots · text config
//     start, flush, drain   i64 deadline
//     deliver   u32 slot · u32 flags · u32 count · u64 lease · u64 lease bytes · u64 first · u64 last LSN · i64 ack deadline ·
//               u32 where the messages begin · text stream · 16 bytes log
//     gap       u32 reason · u64 first · u64 last LSN · text stream · 16 bytes log
//     reconfigure  text config
//     stop, destroy
//
//   process → daemon: any number of events, then the reply to the call; events of threads of the plugin's come at any time
//     base      u64 where the shared memory is mapped there        once, before the reply to create
//     phase     text                                               what of a first look begins
//     finding   u32 severity · text pointer · text text
//     settle    u32 count · count × (u64 token · u32 count · u32 verdict · u32 delay · u32 code · text reason)
//     log       u32 level · text message · u32 count · count × (text name · text value)
//     credit    u32 messages
//     health    u32 state · text why
//     register  u64 own number · u32 kind · text name, unit, help · u32 n · n × (text, text) · u32 n · n × f64
//     add, set  u64 own number · f64
//     release   u32 slot
//     publish   u32 count · count × (u32 output · u64 token · u64 ordinal · i64 event time · text topic, key, headers, payload)
//     reply     i32 rc · u32 code · text message · call's own part:
//                 describe → the description (DescriptionPackets.swift); deliver → u8 whether the slot is retained;
//                 stop → u32 leases that were not released
//
// A publication is answered with an i32 on a socket of its own: threads of the plugin's may ask while its own thread is in a
// call. One at a time; the process waits for each answer.
//
// Order: what the threads of the plugin's say is sent in the order in which it was said, replies included, so that a verdict is
// never overtaken by the return that would acknowledge its record, nor a release by the retaining of another batch.
//
// The process is not believed: every length is checked against the packet and the packet against a limit, and what an event
// asks for goes through the same functions, with the same checks, that a plugin in the daemon's process calls. A packet that
// does not parse ends the process. Records and messages are never read back from the shared memory.

import SluiceCore

enum PacketKind: UInt16, CaseIterable {
  case describe = 1, validate, create, start, flush, drain, deliver, gap, reconfigure, stop, destroy
  case base = 64, phase, finding, settle, log, credit, health, register, add, set, release, publish, reply
}

/// A packet that is not one, or that is out of place.
struct PacketFault: Error {
  /// For people: what was said.
  let what: String

  init(_ what: String) { self.what = what }

  static let broken = PacketFault("a packet that is none")
}

/// Puts packets together, one after the other.
struct PacketWriter {
  private(set) var bytes: [UInt8] = []
  private var start = 0

  static let headerBytes = 8

  mutating func begin(_ kind: PacketKind) {
    start = bytes.count
    put(UInt32(0))
    put(kind.rawValue)
    put(UInt16(0))
  }

  mutating func end() {
    let length = UInt32(bytes.count - start - PacketWriter.headerBytes)
    withUnsafeBytes(of: length.littleEndian) { source in
      for index in 0..<4 { bytes[start + index] = source[index] }
    }
  }

  mutating func put(_ value: some FixedWidthInteger) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func put(_ value: Double) { put(value.bitPattern) }

  mutating func put(_ raw: UnsafeRawBufferPointer) {
    put(UInt32(raw.count))
    bytes.append(contentsOf: raw)
  }

  mutating func put(_ text: String) {
    var text = text
    text.withUTF8 { put(UnsafeRawBufferPointer($0)) }
  }

  mutating func put(fixed raw: UnsafeRawBufferPointer) { bytes.append(contentsOf: raw) }

  mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
    start = 0
  }
}

/// Takes the payload of one packet apart.
struct PacketReader {
  private let bytes: ArraySlice<UInt8>
  private var at: Int

  init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    at = bytes.startIndex
  }

  private mutating func take(_ count: Int) throws(PacketFault) -> ArraySlice<UInt8> {
    guard count >= 0, count <= bytes.endIndex - at else { throw PacketFault.broken }
    defer { at += count }
    return bytes[at..<at + count]
  }

  mutating func number<Number: FixedWidthInteger>(_ type: Number.Type = Number.self) throws(PacketFault) -> Number {
    let source = try take(MemoryLayout<Number>.size)
    var value = Number.zero
    withUnsafeMutableBytes(of: &value) { $0.copyBytes(from: source) }
    return Number(littleEndian: value)
  }

  mutating func double() throws(PacketFault) -> Double { Double(bitPattern: try number(UInt64.self)) }

  mutating func raw() throws(PacketFault) -> ArraySlice<UInt8> { try take(Int(try number(UInt32.self))) }

  mutating func fixed(_ count: Int) throws(PacketFault) -> [UInt8] { Array(try take(count)) }

  /// Where the next text's bytes are, for `withBytes`.
  mutating func place() throws(PacketFault) -> Range<Int> {
    let source = try raw()
    return source.startIndex - bytes.startIndex..<source.endIndex - bytes.startIndex
  }

  /// The whole payload.
  func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result { bytes.withUnsafeBytes(body) }

  /// Invalid UTF-8 is repaired.
  mutating func text(limit: Int = .max) throws(PacketFault) -> String {
    String(decoding: try raw().prefix(limit), as: UTF8.self)
  }

  /// How many of what takes at least `least` bytes each.
  mutating func count(least: Int) throws(PacketFault) -> Int {
    let count = Int(try number(UInt32.self))
    guard count <= (bytes.endIndex - at) / least else { throw PacketFault.broken }
    return count
  }

  func end() throws(PacketFault) { guard at == bytes.endIndex else { throw PacketFault.broken } }
}
