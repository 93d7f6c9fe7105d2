import NIOCore
import SluiceCore

/// The one large receive buffer of a loop: each read fills it, and who handled what was read gives it back. So reads are
/// large while data flows, the bytes are in the cache still when the next read overwrites them, and a connection
/// that idles holds no buffer.
///
/// `@unchecked Sendable`: touched on the loop's thread only, by its channels and their handlers.
final class SharedReceiveBuffer: @unchecked Sendable {
  private var spare: ByteBuffer?

  func take(_ allocator: ByteBufferAllocator) -> ByteBuffer {
    guard var buffer = spare else { return allocator.buffer(capacity: Limits.tcpReceiveBytes) }
    spare = nil
    // Somebody may hold what was read last: then this makes a new one.
    buffer.clear()
    return buffer
  }

  func giveBack(_ buffer: ByteBuffer) {
    if buffer.storageCapacity >= Limits.tcpReceiveBytes { spare = buffer }
  }
}

/// Lets a channel read into its loop's buffer. NIO keeps the first buffer that a channel asks for, so that one is small;
/// a later one it hands through, as `record` says each time that the next may be another size.
struct SharedReceiveAllocator: RecvByteBufferAllocator {
  let shared: SharedReceiveBuffer
  private var isFirst = true

  init(_ shared: SharedReceiveBuffer) { self.shared = shared }

  func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
    isFirst ? allocator.buffer(capacity: Limits.tcpFirstReceiveBytes) : shared.take(allocator)
  }

  mutating func record(actualReadBytes: Int) -> Bool {
    isFirst = false
    return true
  }
}
