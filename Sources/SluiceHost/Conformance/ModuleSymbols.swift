// What a shared object exports: the defined, global, visible symbols of its dynamic symbol table.
//
//   ELF header       e_shoff u64 at 40, e_shentsize u16 at 58, e_shnum u16 at 60
//   section header   sh_type u32 at 4, sh_offset u64 at 24, sh_size u64 at 32, sh_link u32 at 40
//   symbol, 24 B     st_name u32 at 0, st_info u8 at 4 (binding in the upper half), st_other u8 at 5, st_shndx u16 at 6

import Glibc

enum ModuleSymbols {
  private static let dynamicSymbols: UInt32 = 11
  /// Global, weak and unique.
  private static let bindings: Set<UInt8> = [1, 2, 10]
  /// Default and protected.
  private static let visible: Set<UInt8> = [0, 3]
  /// What linkers put there by themselves.
  private static let linkers: Set<String> = ["_init", "_fini", "_edata", "_end", "__bss_start"]

  /// The names, sorted; nil when the file can't be read as one that has a table of sections.
  static func exported(by path: String) -> [String]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    let length = Int(lseek(descriptor, 0, SEEK_END))
    guard length >= 64, let map = mmap(nil, length, PROT_READ, MAP_PRIVATE, descriptor, 0), map != MAP_FAILED else {
      return nil
    }
    defer { munmap(map, length) }
    return exported(UnsafeRawBufferPointer(start: map, count: length))
  }

  static func exported(_ file: UnsafeRawBufferPointer) -> [String]? {
    guard file.count >= 64, file.prefix(6).elementsEqual([0x7F, 0x45, 0x4C, 0x46, 2, 1]),
      let sections = number(file, 40, UInt64.self), let size = number(file, 58, UInt16.self),
      let count = number(file, 60, UInt16.self), size >= 64
    else { return nil }
    func section(_ index: Int) -> (type: UInt32, offset: Int, size: Int, link: Int)? {
      guard index < Int(count), let start = Int(exactly: sections), start < file.count else { return nil }
      let at = start + index * Int(size)
      guard let type = number(file, at + 4, UInt32.self), let offset = number(file, at + 24, UInt64.self),
        let bytes = number(file, at + 32, UInt64.self), let link = number(file, at + 40, UInt32.self),
        offset <= UInt64(file.count), bytes <= UInt64(file.count) - offset
      else { return nil }
      return (type, Int(offset), Int(bytes), Int(link))
    }
    for index in 0..<Int(count) {
      guard let table = section(index), table.type == dynamicSymbols, let names = section(table.link) else { continue }
      return symbols(file, table.offset..<table.offset + table.size, names.offset..<names.offset + names.size)
    }
    return nil
  }

  private static func symbols(_ file: UnsafeRawBufferPointer, _ table: Range<Int>, _ names: Range<Int>) -> [String] {
    var all: [String] = []
    for at in stride(from: table.lowerBound, through: table.upperBound - 24, by: 24) {
      guard let name = number(file, at, UInt32.self), let place = number(file, at + 6, UInt16.self), place != 0,
        bindings.contains(file[at + 4] >> 4), visible.contains(file[at + 5] & 3), Int(name) < names.count
      else { continue }
      let bytes = file[(names.lowerBound + Int(name))..<names.upperBound].prefix { $0 != 0 }
      let text = String(decoding: bytes, as: UTF8.self)
      if !linkers.contains(text) { all.append(text) }
    }
    return all.sorted()
  }

  private static func number<Number: FixedWidthInteger>(
    _ file: UnsafeRawBufferPointer, _ at: Int, _ type: Number.Type
  ) -> Number? {
    guard at >= 0, at <= file.count - MemoryLayout<Number>.size else { return nil }
    return file.loadUnaligned(fromByteOffset: at, as: type)
  }
}
