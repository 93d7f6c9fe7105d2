// Whether a Swift module has retroactive conformances: of a type that is not its own to a protocol that is not its own either.
// When a plugin's file is replaced, its new generation is loaded beside the old one, and for such a conformance the runtime
// takes whichever image came first: the new code would run the old one's. All else of two generations is told apart.
//
// What is read of the ELF file, little-endian, 64 bits; every offset is checked against the file:
//
//   section `swift5_protocol_conformances`   i32 each: from where it stands to a conformance's description
//   a description, 12 bytes on               u32 flags; bit 6: retroactive
//
// A file without that section has none. One that is not as expected counts as having some: then the swap is made in a
// process, which is sound in any case.

import Glibc
import SluiceCore

enum SwiftConformances {
  private static let section = "swift5_protocol_conformances"
  private static let retroactive: UInt32 = 1 << 6
  private static let flagsOffset = 12

  static func mayHaveRetroactive(_ path: String) -> Bool {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return true }
    defer { close(file) }
    var about = stat()
    guard fstat(file, &about) == 0, about.st_size > 0, about.st_size <= Limits.maxModuleBytes,
      let map = mmap(nil, Int(about.st_size), PROT_READ, MAP_PRIVATE, file, 0), map != MAP_FAILED
    else { return true }
    defer { munmap(map, Int(about.st_size)) }
    let image = ELFImage(bytes: UnsafeRawBufferPointer(start: map, count: Int(about.st_size)))
    return mayHaveRetroactive(image)
  }

  static func mayHaveRetroactive(_ image: ELFImage) -> Bool {
    guard let sections = image.sections else { return true }
    guard let found = sections.first(where: { $0.name == section }) else { return false }
    var place = found.address
    while place < found.address + found.size {
      guard let offset: Int32 = image.load(at: place),
        let flags: UInt32 = image.load(at: place &+ UInt64(bitPattern: Int64(offset)) &+ UInt64(flagsOffset))
      else { return true }
      if flags & retroactive != 0 { return true }
      let next = place.addingReportingOverflow(4)
      if next.overflow { return true }
      place = next.partialValue
    }
    return false
  }
}

/// The little of an ELF file that is looked at. Borrows the bytes.
struct ELFImage {
  struct Section {
    var name: String
    var address: UInt64
    var size: UInt64
  }

  let bytes: UnsafeRawBufferPointer

  /// Nil if it is no such file.
  var sections: [Section]? {
    guard bytes.count >= 64, bytes[0] == 0x7F, bytes[1] == 0x45, bytes[2] == 0x4C, bytes[3] == 0x46, bytes[4] == 2,
      bytes[5] == 1, let table: UInt64 = load(file: 0x28), let size: UInt16 = load(file: 0x3A),
      let count: UInt16 = load(file: 0x3C), let names: UInt16 = load(file: 0x3E), size >= 64, names < count
    else { return nil }
    func header(_ index: UInt16) -> UInt64 { table &+ UInt64(index) * UInt64(size) }
    guard let texts: UInt64 = load(file: header(names) &+ 0x18) else { return nil }
    var sections: [Section] = []
    for index in 0..<count {
      let at = header(index)
      guard let name: UInt32 = load(file: at), let address: UInt64 = load(file: at &+ 0x10),
        let size: UInt64 = load(file: at &+ 0x20), let text = text(file: texts &+ UInt64(name)),
        !address.addingReportingOverflow(size).overflow
      else { return nil }
      sections.append(Section(name: text, address: address, size: size))
    }
    return sections
  }

  /// What lies at an address of the loaded image, by the program headers.
  func load<Number: FixedWidthInteger>(at address: UInt64) -> Number? {
    guard let table: UInt64 = load(file: 0x20), let size: UInt16 = load(file: 0x36),
      let count: UInt16 = load(file: 0x38)
    else { return nil }
    for index in 0..<count {
      let at = table &+ UInt64(index) * UInt64(size)
      guard let type: UInt32 = load(file: at), let offset: UInt64 = load(file: at &+ 8),
        let start: UInt64 = load(file: at &+ 16), let length: UInt64 = load(file: at &+ 32)
      else { return nil }
      // PT_LOAD
      guard type == 1, address >= start, address - start < length else { continue }
      return load(file: offset &+ (address - start))
    }
    return nil
  }

  private func load<Number: FixedWidthInteger>(file offset: UInt64) -> Number? {
    let size = MemoryLayout<Number>.size
    guard offset <= UInt64(bytes.count), UInt64(bytes.count) - offset >= UInt64(size) else { return nil }
    return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: Int(offset), as: Number.self))
  }

  private func text(file offset: UInt64) -> String? {
    guard offset < UInt64(bytes.count) else { return nil }
    let rest = bytes[Int(offset)...]
    guard let end = rest.firstIndex(of: 0) else { return nil }
    return String(decoding: rest[..<end], as: UTF8.self)
  }
}
