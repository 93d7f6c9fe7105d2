internal import CSluiceSystem

/// Calls of Linux that Swift's Glibc module does not have.
package enum LinuxCalls {
  /// An anonymous file in memory, closed on exec; -1 and errno when there is none to be had.
  package static func memoryFile(_ name: String) -> Int32 { csluice_memory_file(name) }

  /// Bytes that the C library's allocator has given out and not got back.
  package static var heapBytes: Int { Int(csluice_heap_bytes()) }

  /// Asks the kernel to begin writing these bytes of a file to the device. A hint: nothing is durable by it.
  package static func startWriteback(_ descriptor: Int32, at offset: Int, count: Int) {
    csluice_start_writeback(descriptor, Int64(offset), Int64(count))
  }

  /// The kernel kills this process when the thread that started it ends; neither it nor its children can gain privileges.
  /// False, and errno, if it can't be had.
  package static func bindToParent() -> Bool { csluice_bind_to_parent() == 0 }
}
