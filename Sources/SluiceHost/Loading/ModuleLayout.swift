// Whether a module is whole. The dynamic loader maps what the program headers promise without asking how long the file
// is: of one that was cut short (a copy that is still under way, a full disk) it touches pages that are not there, and
// the SIGBUS ends the daemon.
//
//   ELF header, 64 bit, little-endian:  e_phoff u64 at 32, e_phentsize u16 at 54, e_phnum u16 at 56
//   program header:                     p_offset u64 at 8, p_filesz u64 at 32
//
//   whole  ⇔  the program headers lie in the file, and so does what each of them names
//
// A file that is no such ELF is left to the loader, which says why it can't be loaded. Not promised: anything about
// what the bytes mean.

enum ModuleLayout {
  private static let headerBytes = 64
  private static let programHeaderBytes = 56

  /// Bytes that the file must have at least to be mapped; nil if it is no 64-bit little-endian ELF. Bad numbers end up
  /// as more than any file has.
  static func neededBytes(_ file: UnsafeRawBufferPointer) -> UInt64? {
    guard file.count >= headerBytes, file.starts(with: [0x7F, 0x45, 0x4C, 0x46, 2, 1]) else { return nil }
    let table = UInt64(littleEndian: file.loadUnaligned(fromByteOffset: 32, as: UInt64.self))
    let size = UInt64(UInt16(littleEndian: file.loadUnaligned(fromByteOffset: 54, as: UInt16.self)))
    let count = UInt64(UInt16(littleEndian: file.loadUnaligned(fromByteOffset: 56, as: UInt16.self)))
    guard size >= UInt64(programHeaderBytes) else { return nil }
    var needed = sum(table, size * count)
    guard needed <= UInt64(file.count) else { return needed }
    for index in 0..<Int(count) {
      let at = Int(table) + index * Int(size)
      let offset = UInt64(littleEndian: file.loadUnaligned(fromByteOffset: at + 8, as: UInt64.self))
      let bytes = UInt64(littleEndian: file.loadUnaligned(fromByteOffset: at + 32, as: UInt64.self))
      needed = max(needed, sum(offset, bytes))
    }
    return needed
  }

  private static func sum(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let (sum, overflow) = left.addingReportingOverflow(right)
    return overflow ? .max : sum
  }
}
