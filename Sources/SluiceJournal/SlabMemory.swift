import Glibc
import SluiceCore

/// The memory of a ring's slabs: one anonymous file, each slab at `index × slabBytes` of it, so that another process
/// which is given the descriptor can map what subscribers read, in place.
///
/// `Sendable`: a descriptor and two numbers that never change. What is in the memory is the slabs' business.
final class SlabMemory: Sendable {
  let descriptor: Int32
  private let slabBytes: Int

  /// The kernel's word is final: without memory for its ring a stream can't be opened.
  init(slabBytes: Int) {
    self.slabBytes = slabBytes
    descriptor = LinuxCalls.memoryFile("sluice-ring")
    precondition(descriptor >= 0, "no memory file for a stream's ring: \(ErrorCode.text(errno))")
  }

  deinit { _ = close(descriptor) }

  func offset(of index: Int) -> Int { index * slabBytes }

  /// Maps slab `index`, which is the next one. Until it is written to it costs nothing.
  func map(_ index: Int) -> UnsafeMutableRawPointer {
    let isLarger = ftruncate(descriptor, offset(of: index + 1)) == 0
    let memory = mmap(nil, slabBytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, offset(of: index))
    guard isLarger, let memory, memory != MAP_FAILED else {
      preconditionFailure("no memory for a slab of \(slabBytes) bytes: \(ErrorCode.text(errno))")
    }
    _ = madvise(memory, slabBytes, MADV_HUGEPAGE)
    return memory
  }

  func unmap(_ memory: UnsafeMutableRawPointer) { munmap(memory, slabBytes) }

  /// Gives the pages of a slab back; it reads as zeros then.
  func release(_ memory: UnsafeMutableRawPointer) { _ = madvise(memory, slabBytes, MADV_REMOVE) }
}
