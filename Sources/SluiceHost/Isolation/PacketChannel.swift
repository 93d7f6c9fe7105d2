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
  private var buffer: [UInt8] = []
  private var consumed = 0

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  /// Sends whole packets. False when the other end is gone.
  @discardableResult
  func send(_ bytes: [UInt8]) -> Bool {
    sending.withLock { _ in
      bytes.withUnsafeBytes { bytes in
        var sent = 0
        while sent < bytes.count {
          let count = Glibc.send(descriptor, bytes.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
          if count < 0 && errno == EINTR { continue }
          guard count > 0 else { return false }
          sent += count
        }
        return true
      }
    }
  }

  /// The next packet; nil when the other end is gone. Waits. One thread; what it got is read before the next.
  func receive() throws(PacketFault) -> Packet? {
    while true {
      let ready = buffer.count - consumed
      if ready >= PacketWriter.headerBytes {
        var header = PacketReader(buffer[consumed..<consumed + PacketWriter.headerBytes])
        let length = Int(try header.number(UInt32.self))
        guard length <= Limits.maxIsolationPacketBytes, let kind = PacketKind(rawValue: try header.number(UInt16.self))
        else { throw PacketFault() }
        if ready >= PacketWriter.headerBytes + length {
          let start = consumed + PacketWriter.headerBytes
          consumed = start + length
          return Packet(kind: kind, payload: PacketReader(buffer[start..<consumed]))
        }
      }
      guard fill() else { return nil }
    }
  }

  private func fill() -> Bool {
    buffer.removeSubrange(..<consumed)
    consumed = 0
    let had = buffer.count
    let room = 64 << 10
    buffer.append(contentsOf: repeatElement(0, count: room))
    while true {
      let count = buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress! + had, room, 0) }
      if count < 0 && errno == EINTR { continue }
      buffer.removeSubrange((had + max(count, 0))...)
      return count > 0
    }
  }
}
