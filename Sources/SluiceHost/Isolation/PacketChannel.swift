import Glibc
import SluiceCore
import Synchronization

/// One end of the socket between the daemon and a plugin's process.
///
/// `@unchecked Sendable`: `buffer` and what counts in it belong to the one thread that receives; sending is locked.
final class PacketChannel: @unchecked Sendable {
  struct Packet {
    var kind: PacketKind
    var payload: PacketReader
  }

  let descriptor: Int32
  private let sending = Mutex<Void>(())
  private var buffer = emptyBuffer
  /// Of `buffer`: what packets were made of, and what was received.
  private var consumed = 0
  private var filled = 0

  private static let emptyBuffer = [UInt8](repeating: 0, count: Limits.isolationReceiveBytes)

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  /// Sends the packets that `take` gives. It is asked when nothing else is being sent: what is taken first is sent first. False
  /// when the other end is gone.
  @discardableResult
  func send(taking take: () -> [UInt8]) -> Bool {
    sending.withLock { _ in send(take(), flags: Int32(MSG_NOSIGNAL), unless: nil) }
  }

  /// Sends whole packets. False when the other end is gone, or when `isOver` says so while it does not read: it is asked now
  /// and then, and nothing can be sent any more after it said yes.
  @discardableResult
  func send(_ bytes: [UInt8], unless isOver: (() -> Bool)? = nil) -> Bool {
    let flags = Int32(MSG_NOSIGNAL) | (isOver == nil ? 0 : Int32(MSG_DONTWAIT))
    return sending.withLock { _ in send(bytes, flags: flags, unless: isOver) }
  }

  /// Under `sending`.
  private func send(_ bytes: [UInt8], flags: Int32, unless isOver: (() -> Bool)?) -> Bool {
    bytes.withUnsafeBytes { bytes in
      var sent = 0
      while sent < bytes.count {
        let count = Glibc.send(descriptor, bytes.baseAddress! + sent, bytes.count - sent, flags)
        if count < 0 && errno == EINTR { continue }
        if count < 0, errno == EAGAIN, let isOver {
          guard !isOver() else { return false }
          var room = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
          _ = poll(&room, 1, Int32(Limits.isolationSendLookMilliseconds))
          continue
        }
        guard count > 0 else { return false }
        sent += count
      }
      return true
    }
  }

  /// Nothing is sent or received any more, whoever else has the other end: what has come is received yet.
  func shut() { _ = shutdown(descriptor, Int32(SHUT_RDWR)) }

  /// The next packet; nil when the other end is gone. Waits. One thread; what it got is read before the next.
  func receive() throws(PacketFault) -> Packet? {
    while true {
      let ready = filled - consumed
      if ready >= PacketWriter.headerBytes {
        var header = PacketReader(buffer[consumed..<consumed + PacketWriter.headerBytes])
        let length = Int(try header.number(UInt32.self))
        guard length <= Limits.maxIsolationPacketBytes, let kind = PacketKind(rawValue: try header.number(UInt16.self))
        else { throw PacketFault.broken }
        if ready >= PacketWriter.headerBytes + length {
          let start = consumed + PacketWriter.headerBytes
          consumed = start + length
          return Packet(kind: kind, payload: PacketReader(buffer[start..<consumed]))
        }
      }
      guard fill() else { return nil }
    }
  }

  /// Waits for more, with room for at least half a buffer; a packet that is larger makes the buffer grow until it is read.
  private func fill() -> Bool {
    if consumed == filled {
      (consumed, filled) = (0, 0)
      if buffer.count > Limits.isolationReceiveBytes { buffer = PacketChannel.emptyBuffer }
    }
    if buffer.count - filled < Limits.isolationReceiveBytes / 2 {
      let (first, length) = (consumed, filled - consumed)
      if length > buffer.count / 2 { buffer += [UInt8](repeating: 0, count: buffer.count) }
      buffer.withUnsafeMutableBytes { bytes in
        // `first + length` bytes are filled, which is no more than there are.
        if let base = bytes.baseAddress { memmove(base, base + first, length) }
      }
      (consumed, filled) = (0, length)
    }
    while true {
      let count = buffer.withUnsafeMutableBytes { bytes in
        let room = UnsafeMutableRawBufferPointer(rebasing: bytes[filled...])
        return recv(descriptor, room.baseAddress, room.count, 0)
      }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return false }
      filled += count
      return true
    }
  }
}
