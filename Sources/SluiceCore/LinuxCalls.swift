internal import CSluiceSystem

/// Calls of Linux that Swift's Glibc module does not have.
package enum LinuxCalls {
  /// An anonymous file in memory, closed on exec; -1 and errno when there is none to be had.
  package static func memoryFile(_ name: String) -> Int32 { csluice_memory_file(name) }

  /// Nobody can change its size any more, nor write to it but through what is mapped already. False, and errno, if that
  /// can't be had.
  package static func sealMemoryFile(_ descriptor: Int32) -> Bool { csluice_seal_memory_file(descriptor) == 0 }

  /// A pipe, closed on exec from the beginning, so that no child that another thread starts gets an end of it; nil and errno
  /// when there is none to be had.
  package static func pipe() -> (read: Int32, write: Int32)? {
    var ends: [Int32] = [-1, -1]
    return csluice_pipe(&ends) == 0 ? (ends[0], ends[1]) : nil
  }

  /// The next connection of a listening socket, closed on exec from the beginning; -1 and errno.
  package static func accept(_ listener: Int32) -> Int32 { csluice_accept(listener) }

  /// A descriptor that is readable once the process has ended, closed on exec; -1 and errno when there is none to be had.
  package static func processEnd(_ pid: Int32) -> Int32 { csluice_process_end(pid) }

  /// A descriptor that only names an entry of a directory, whatever it is; a link is not followed. -1 and errno when there is
  /// none.
  package static func openEntry(_ name: String, of directory: Int32) -> Int32 { csluice_open_entry(directory, name) }

  /// Makes what such a descriptor names another user's.
  package static func give(_ entry: Int32, to user: UInt32, _ group: UInt32) { csluice_give(entry, user, group) }

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
