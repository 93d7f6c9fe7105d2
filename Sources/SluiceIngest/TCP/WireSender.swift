import NIOCore
import SluiceCore
import SluiceIdentity

/// One direction of a connection, as its sender writes it: each call appends one frame to a buffer. Frames are counted
/// when they are written, so they must be sent in the order of the calls, and all of them.
package struct WireSender: Sendable {
  /// Frames written so far.
  package private(set) var counter: UInt64 = 0
  private let direction: WireDirection
  private var sealer: FrameSealer?
  /// What each frame has behind its body.
  package var tagBytes: Int { sealer == nil ? 0 : FrameSealer.tagBytes }

  package init(_ direction: WireDirection) { self.direction = direction }

  /// From the next frame on each has a tag.
  package mutating func seal(with sealer: FrameSealer) { self.sealer = sealer }

  // MARK: From the client

  package mutating func hello(_ hello: WireHello, to buffer: inout ByteBuffer) {
    frame(.hello, to: &buffer) { buffer in
      buffer.word(WireLayout.magic)
      buffer.numbers(UInt16(WireHello.fixedBytes), hello.versionMin, hello.versionMax)
      buffer.numbers(hello.integrity, hello.authentication, hello.epoch)
      buffer.numbers(hello.featuresWanted, hello.featuresRequired, hello.maxFrame)
      let names = [hello.stream, hello.producer, hello.identity]
      for name in names { buffer.length(of: name.utf8.count, limit: Limits.maxWireNameBytes) }
      buffer.length(of: hello.credential.count, limit: Limits.maxWireCredentialBytes)
      for name in [hello.fingerprint, hello.software] {
        buffer.length(of: name.utf8.count, limit: Limits.maxWireNameBytes)
      }
      buffer.bytes(hello.clientNonce)
      for name in names { buffer.writeString(name) }
      buffer.writeBytes(hello.credential)
      buffer.writeString(hello.fingerprint)
      buffer.writeString(hello.software)
    }
  }

  package mutating func proof(_ proof: WireProof, to buffer: inout ByteBuffer) {
    frame(.proof, to: &buffer) { $0.fixed(proof) }
  }

  package mutating func open(_ open: WireOpen, channel: UInt16, to buffer: inout ByteBuffer) {
    frame(.open, channel: channel, to: &buffer) { buffer in
      buffer.numbers(UInt16(WireOpen.fixedBytes), open.epoch)
      buffer.length(of: open.producer.utf8.count, limit: Limits.maxWireNameBytes)
      buffer.numbers(UInt16(0))
      buffer.writeString(open.producer)
    }
  }

  // MARK: From the server

  package mutating func challenge(_ challenge: WireProof, to buffer: inout ByteBuffer) {
    frame(.challenge, to: &buffer) { $0.fixed(challenge) }
  }

  package mutating func welcome(_ welcome: WireWelcome, to buffer: inout ByteBuffer) {
    guard let durability = WireWelcome.durabilities.firstIndex(of: welcome.durability) else {
      preconditionFailure("every durability has its number")
    }
    frame(.welcome, to: &buffer) { buffer in
      buffer.numbers(UInt16(WireWelcome.fixedBytes), welcome.version, UInt8(durability + 1))
      buffer.numbers(welcome.integrity, UInt8(0), welcome.maxChannels)
      buffer.numbers(welcome.features, welcome.maxFrame, welcome.maxPart)
      buffer.numbers(welcome.idleTimeoutMilliseconds)
      buffer.word(welcome.lastSequence)
      buffer.word(UInt64(bitPattern: welcome.serverTime))
      buffer.word(welcome.credit.bytes)
      buffer.word(welcome.credit.records)
      buffer.length(of: welcome.stream.utf8.count, limit: Limits.maxWireNameBytes)
      buffer.length(of: welcome.software.utf8.count, limit: Limits.maxWireNameBytes)
      buffer.numbers(UInt32(0))
      buffer.word(welcome.logUUID.high.byteSwapped)
      buffer.word(welcome.logUUID.low.byteSwapped)
      buffer.bytes(welcome.serverSignature)
      buffer.writeString(welcome.stream)
      buffer.writeString(welcome.software)
    }
  }

  package mutating func opened(_ opened: WireOpened, channel: UInt16, to buffer: inout ByteBuffer) {
    frame(.opened, channel: channel, to: &buffer) { buffer in
      buffer.numbers(UInt16(WireOpened.fixedBytes), opened.epoch, UInt32(0))
      buffer.word(opened.lastSequence)
    }
  }

  package mutating func ack(_ sequence: UInt64, channel: UInt16, to buffer: inout ByteBuffer) {
    frame(.ack, channel: channel, to: &buffer) { $0.word(sequence) }
  }

  package mutating func nack(_ nack: WireNack, channel: UInt16, to buffer: inout ByteBuffer) {
    frame(.nack, channel: channel, to: &buffer) { buffer in
      buffer.numbers(UInt16(WireNack.fixedBytes), nack.code)
      buffer.numbers(UInt8(nack.isPermanent ? 2 : 1), UInt8(0))
      buffer.length(of: nack.text.utf8.count, limit: Limits.maxWireTextBytes)
      buffer.word(nack.sequence)
      buffer.word(nack.expected)
      buffer.numbers(nack.retryAfterMilliseconds, UInt32(0))
      buffer.writeString(nack.text)
    }
  }

  package mutating func credit(_ credit: WireCredit, to buffer: inout ByteBuffer) {
    frame(.credit, to: &buffer) { buffer in
      buffer.word(credit.bytes)
      buffer.word(credit.records)
    }
  }

  // MARK: From both

  package mutating func close(channel: UInt16, to buffer: inout ByteBuffer) {
    frame(.close, channel: channel, to: &buffer) { _ in }
  }

  package mutating func ping(_ token: UInt64, to buffer: inout ByteBuffer) {
    frame(.ping, to: &buffer) { $0.word(token) }
  }

  package mutating func pong(_ token: UInt64, to buffer: inout ByteBuffer) {
    frame(.pong, to: &buffer) { $0.word(token) }
  }

  /// A GOAWAY, BYE or ERROR. `channel` is for an ERROR whose scope is the channel.
  package mutating func end(
    _ type: WireFrameType, _ end: WireEnd, channel: UInt16 = 0, to buffer: inout ByteBuffer
  ) {
    precondition(type == .goaway || type == .bye || type == .error, "ends are GOAWAY, BYE and ERROR")
    frame(type, channel: channel, to: &buffer) { buffer in
      buffer.numbers(UInt16(WireEnd.fixedBytes), end.code, end.scope.rawValue, UInt8(0))
      buffer.length(of: end.text.utf8.count, limit: Limits.maxWireTextBytes)
      buffer.numbers(end.retryAfterMilliseconds, UInt32(0))
      buffer.word(end.value)
      buffer.writeString(end.text)
    }
  }

  // MARK: Frames

  /// Begins a DATA frame at the end of `buffer`; `finishData` completes it.
  package func beginData(channel: UInt16, firstSequence: UInt64, in buffer: inout ByteBuffer) -> WireDataBuilder {
    WireDataBuilder(
      channel: channel, firstSequence: firstSequence, tagBytes: tagBytes, in: &buffer)
  }

  /// Completes and counts a DATA frame that has records.
  package mutating func finishData(_ data: WireDataBuilder, in buffer: inout ByteBuffer) {
    precondition(data.count > 0, "a DATA frame has at least one record")
    precondition(
      data.start + data.bytes - data.tagBytes == buffer.writerIndex, "nothing else is written while a frame is built")
    writeHeader(
      .data, channel: data.channel, count: data.count, length: data.bytes, bodyCRC: data.checksum, at: data.start,
      in: &buffer)
  }

  private mutating func frame(
    _ type: WireFrameType, channel: UInt16 = 0, to buffer: inout ByteBuffer, body: (inout ByteBuffer) -> Void
  ) {
    let start = buffer.writerIndex
    buffer.writeRepeatingByte(0, count: WireLayout.headerBytes)
    body(&buffer)
    let written = buffer.writerIndex - start
    buffer.writeRepeatingByte(0, count: RecordLayout.padded(written) - written)
    let length = buffer.writerIndex - start + tagBytes
    let bodyStart = start - buffer.readerIndex + WireLayout.headerBytes
    let checksum = buffer.withUnsafeReadableBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[bodyStart...])) }
    writeHeader(type, channel: channel, count: 0, length: length, bodyCRC: checksum, at: start, in: &buffer)
  }

  private mutating func writeHeader(
    _ type: WireFrameType, channel: UInt16, count: Int, length: Int, bodyCRC: UInt32, at start: Int,
    in buffer: inout ByteBuffer
  ) {
    let first = UInt64(UInt32(length)) | UInt64(type.rawValue) << 32 | UInt64(channel) << 48
    let second = UInt64(UInt32(count)) | UInt64(bodyCRC) << 32
    let seed = WireChecksum.seed(direction, counter)
    let checksum = withUnsafeBytes(of: (first.littleEndian, second.littleEndian, UInt32(0))) {
      CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[..<WireLayout.headCRC]), seed: seed)
    }
    buffer.setInteger(first, at: start, endianness: .little)
    buffer.setInteger(second, at: start + WireLayout.count, endianness: .little)
    buffer.setInteger(UInt64(checksum) << 32, at: start + WireLayout.reserved, endianness: .little)
    if let sealer {
      let from = start - buffer.readerIndex
      let tag = buffer.withUnsafeReadableBytes {
        sealer.tag(of: UnsafeRawBufferPointer(rebasing: $0[from...]), direction: direction.rawValue, counter: counter)
      }
      buffer.writeBytes(tag)
    }
    counter += 1
  }
}

/// A DATA frame that is being written to the end of a buffer.
package struct WireDataBuilder: Sendable {
  package private(set) var count = 0
  /// Of the frame so far.
  package private(set) var bytes: Int
  /// Of which this many are its tag, which comes last.
  package let tagBytes: Int
  let channel: UInt16
  let start: Int
  private(set) var checksum: UInt32

  fileprivate init(channel: UInt16, firstSequence: UInt64, tagBytes: Int, in buffer: inout ByteBuffer) {
    self.channel = channel
    self.tagBytes = tagBytes
    bytes = WireLayout.headerBytes + WireLayout.dataFixedBytes + tagBytes
    start = buffer.writerIndex
    checksum = withUnsafeBytes(of: firstSequence.littleEndian) { CRC32C.of($0) }
    buffer.writeRepeatingByte(0, count: WireLayout.headerBytes)
    buffer.word(firstSequence)
  }

  /// What a record whose producer part has `partBytes` adds to a frame.
  package static func recordBytes(partBytes: Int) -> Int { WireLayout.recordPrefixBytes + partBytes }

  /// Encodes a record, whose `sequence` is the frame's first plus its place in it, or 0 of an anonymous producer.
  package mutating func append(_ record: RecordFields, to buffer: inout ByteBuffer) {
    let length = record.producerPartBytes
    let total = Self.recordBytes(partBytes: length)
    var prefix: UInt64 = 0
    buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: total) { target in
      guard let base = target.baseAddress else { preconditionFailure("there is room for a record") }
      let crc = record.encodeProducerPart(to: base + WireLayout.recordPrefixBytes)
      prefix = UInt64(UInt32(length)) | UInt64(crc) << 32
      base.storeLE(prefix, 0)
      return total
    }
    count(prefix, total)
  }

  /// Adds a producer part that was encoded before, with its checksum.
  package mutating func append(part: UnsafeRawBufferPointer, crc: UInt32, to buffer: inout ByteBuffer) {
    precondition(part.count % 8 == 0, "a producer part is padded")
    let prefix = UInt64(UInt32(part.count)) | UInt64(crc) << 32
    buffer.word(prefix)
    buffer.writeBytes(part)
    count(prefix, Self.recordBytes(partBytes: part.count))
  }

  private mutating func count(_ prefix: UInt64, _ total: Int) {
    checksum = withUnsafeBytes(of: prefix.littleEndian) { CRC32C.of($0, seed: checksum) }
    bytes += total
    count += 1
  }
}

extension ByteBuffer {
  fileprivate mutating func word(_ word: UInt64) { writeInteger(word, endianness: .little) }

  fileprivate mutating func numbers<each Number: FixedWidthInteger>(_ numbers: repeat each Number) {
    repeat (_ = writeInteger(each numbers, endianness: .little))
  }

  /// 32 bytes; nothing stands for zeros.
  fileprivate mutating func bytes(_ bytes: [UInt8]) {
    precondition(
      bytes.isEmpty || bytes.count == Limits.identityKeyBytes, "nonces, proofs and signatures are of 32 bytes")
    if bytes.isEmpty { writeRepeatingByte(0, count: Limits.identityKeyBytes) } else { writeBytes(bytes) }
  }

  fileprivate mutating func fixed(_ proof: WireProof) {
    numbers(UInt16(WireProof.fixedBytes), UInt16(0), UInt32(0))
    bytes(proof.bytes)
  }

  fileprivate mutating func length(of count: Int, limit: Int) {
    precondition(count <= limit, "who makes a message keeps its texts short")
    numbers(UInt16(count))
  }
}
