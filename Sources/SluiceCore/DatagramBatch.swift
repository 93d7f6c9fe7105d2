internal import CSluiceSystem
import Glibc

/// What one look at a UDP socket brought. Confined to the thread that made it.
package final class DatagramBatch {
  private let bytes: UnsafeMutableRawBufferPointer
  private let slots: UnsafeMutableBufferPointer<csluice_datagram>
  private let slotBytes: Int
  package private(set) var count = 0
  /// What the kernel says it dropped in the socket's life, modulo 2³².
  package private(set) var overflow: UInt32

  /// Room for `Limits.datagramBatch` datagrams of any size. `overflow`: what the socket is known to have dropped before; the
  /// kernel says it only with a datagram that comes behind dropped ones.
  package init(overflow: UInt32 = 0) {
    self.overflow = overflow
    slotBytes = Limits.maxDatagramBytes + 1
    bytes = .allocate(byteCount: slotBytes * Limits.datagramBatch, alignment: 16)
    slots = .allocate(capacity: Limits.datagramBatch)
    slots.initialize(repeating: csluice_datagram())
  }

  deinit {
    slots.deallocate()
    bytes.deallocate()
  }

  /// Receives without waiting. `EAGAIN` when there is nothing; 0 when something came.
  package func receive(from descriptor: Int32) -> Int32 {
    let received = csluice_receive_datagrams(
      descriptor, bytes.baseAddress, slotBytes, slots.baseAddress, UInt32(slots.count), &overflow)
    count = max(0, Int(received))
    return received < 0 ? errno : 0
  }

  /// The bytes of one, and the text of its sender's address; both until the next `receive`.
  package func withDatagram(
    _ index: Int,
    _ body: (_ bytes: UnsafeRawBufferPointer, _ sender: UnsafeRawBufferPointer, _ isTruncated: Bool) -> Void
  ) {
    precondition(index < count, "only what was received")
    let start = index * slotBytes
    let length = min(Int(slots[index].length), slotBytes)
    let isTruncated = slots[index].is_truncated != 0
    withUnsafeBytes(of: &slots[index].sender) { sender in
      let end = sender.firstIndex(of: 0) ?? sender.count
      body(
        UnsafeRawBufferPointer(rebasing: bytes[start..<start + length]),
        UnsafeRawBufferPointer(rebasing: sender[..<end]), isTruncated)
    }
  }

  /// Asks for a receive buffer, and for word of what is dropped. Returns the bytes that the kernel granted; nil with
  /// `errno`.
  package static func prepare(_ descriptor: Int32, receiveBufferBytes: Int) -> Int? {
    let granted = csluice_prepare_datagrams(descriptor, Int32(clamping: receiveBufferBytes))
    return granted < 0 ? nil : Int(granted)
  }
}
