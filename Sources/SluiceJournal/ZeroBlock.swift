import Glibc
import SluiceCore

/// 4 KiB of zeros: the padding of every group, and what unwritten space is compared with.
enum ZeroBlock {
  /// `nonisolated(unsafe)`: written once, before anyone sees it, and only read afterwards.
  nonisolated(unsafe) static let bytes: UnsafeRawBufferPointer = {
    let block = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Limits.groupAlignment, alignment: Limits.groupAlignment)
    block.initializeMemory(as: UInt8.self, repeating: 0)
    return UnsafeRawBufferPointer(block)
  }()

  static func matches(_ block: UnsafeRawBufferPointer) -> Bool {
    precondition(block.count <= bytes.count)
    guard let mine = bytes.baseAddress, let theirs = block.baseAddress else { return true }
    return memcmp(mine, theirs, block.count) == 0
  }
}
