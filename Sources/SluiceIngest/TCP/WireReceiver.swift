import SluiceCore
import SluiceIdentity

/// One direction of a connection, as its receiver reads it.
package struct WireReceiver: Sendable {
  package enum Outcome {
    /// The frame, or its header, needs this many bytes in all.
    case needMore(Int)
    case frame(WireFrame)
    case fault(WireFault)
  }

  /// Frames received so far.
  package private(set) var counter: UInt64 = 0
  private let direction: WireDirection
  private var maxFrame: Int
  /// What the tags are checked with, once there are any.
  private var sealer: FrameSealer?
  private var hasBegunSealing = false

  /// `maxFrame`: the largest frame that this side has said it takes.
  package init(from direction: WireDirection, maxFrame: Int) {
    self.direction = direction
    self.maxFrame = maxFrame
  }

  /// From here on frames may be this large.
  package mutating func takeFrames(upTo maxFrame: Int) { self.maxFrame = maxFrame }

  /// The handshake is done: from here on frames have tags. An ERROR that comes in place of the first of them has none, since
  /// who refuses may share no key.
  package mutating func expectTags(of sealer: FrameSealer) { self.sealer = sealer }

  /// Looks for the next frame at the beginning of `bytes` and counts it when it is whole and undamaged. A DATA frame's
  /// producer parts are not looked at.
  package mutating func next(_ bytes: UnsafeRawBufferPointer) -> Outcome {
    guard bytes.count >= WireLayout.headerBytes, let base = bytes.baseAddress else {
      return .needMore(WireLayout.headerBytes)
    }
    let header = UnsafeRawBufferPointer(start: base, count: WireLayout.headCRC)
    let seed = WireChecksum.seed(direction, counter)
    guard CRC32C.of(header, seed: seed) == base.loadLE(WireLayout.headCRC) as UInt32 else {
      return .fault(WireFault(.integrity, "head_crc does not match"))
    }
    let length = Int(base.loadLE(WireLayout.length) as UInt32)
    let raw: UInt8 = base.loadLE(WireLayout.type)
    if let fault = faultInHeader(base, length: length, type: raw) { return .fault(fault) }
    guard bytes.count >= length else { return .needMore(length) }
    let type = WireFrameType(rawValue: raw)
    let count = Int(base.loadLE(WireLayout.count) as UInt32)
    let sealer = hasBegunSealing || type != .error ? sealer : nil
    let end = length - (sealer == nil ? 0 : FrameSealer.tagBytes)
    guard end >= WireLayout.headerBytes else { return .fault(WireFault(.integrity, "a frame without its tag")) }
    let body = UnsafeRawBufferPointer(start: base + WireLayout.headerBytes, count: end - WireLayout.headerBytes)
    let checksum = type == .data ? WireChecksum.ofRecords(body, count: count) : CRC32C.of(body)
    guard checksum == base.loadLE(WireLayout.bodyCRC) as UInt32 else {
      return .fault(WireFault(.integrity, "body_crc does not match"))
    }
    if let sealer {
      let tag = UnsafeRawBufferPointer(start: base + end, count: FrameSealer.tagBytes)
      let sealed = UnsafeRawBufferPointer(start: base, count: end)
      guard sealer.isValid(tag, of: sealed, direction: direction.rawValue, counter: counter) else {
        return .fault(WireFault(.integrity, "the tag does not match"))
      }
      hasBegunSealing = true
    }
    counter += 1
    return .frame(
      WireFrame(type: type, channel: base.loadLE(WireLayout.channel), count: count, length: length, body: body))
  }

  /// What is wrong with a header whose checksum is right.
  private func faultInHeader(_ base: UnsafeRawPointer, length: Int, type raw: UInt8) -> WireFault? {
    guard length % 8 == 0, length >= WireLayout.headerBytes else {
      return WireFault(.protocolViolation, "a frame of \(length) bytes")
    }
    let limit = raw == WireFrameType.data.rawValue ? maxFrame : min(maxFrame, Limits.maxWireControlFrameBytes)
    guard length <= limit else {
      return WireFault(.frameTooLarge, value: UInt64(limit), "a frame of \(length) bytes; at most \(limit) are taken")
    }
    let rest: UInt32 = base.loadLE(WireLayout.reserved)
    guard rest == 0, base.loadLE(WireLayout.flags) as UInt8 == 0 else {
      return WireFault(.protocolViolation, "a reserved field of the header is not zero")
    }
    guard let type = WireFrameType(rawValue: raw) else {
      guard raw < WireLayout.firstSkippedType else { return nil }
      return WireFault(.protocolViolation, "a frame of type \(raw)")
    }
    guard type == .data || base.loadLE(WireLayout.count) as UInt32 == 0 else {
      return WireFault(.protocolViolation, "count is for DATA only")
    }
    guard !type.isOfConnection || base.loadLE(WireLayout.channel) as UInt16 == 0 else {
      return WireFault(.protocolViolation, "a frame of the connection that names a channel")
    }
    return nil
  }
}

/// The checksums of frames.
enum WireChecksum {
  /// What every `head_crc` goes on from.
  static func seed(_ direction: WireDirection, _ counter: UInt64) -> UInt32 {
    withUnsafeBytes(of: (direction.rawValue.littleEndian, counter.littleEndian)) { CRC32C.of($0) }
  }

  /// Of `first_sequence` and the records' prefixes; nil if the records don't fit into the body.
  static func ofRecords(_ body: UnsafeRawBufferPointer, count: Int) -> UInt32? {
    guard body.count >= WireLayout.dataFixedBytes, let base = body.baseAddress else { return nil }
    let seed = CRC32C.of(UnsafeRawBufferPointer(start: base, count: WireLayout.dataFixedBytes))
    let records = UnsafeRawBufferPointer(rebasing: body[WireLayout.dataFixedBytes...])
    return CRC32C.ofPrefixes(records, count: count, seed: seed)
  }
}
