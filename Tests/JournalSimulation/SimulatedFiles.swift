import SluiceCore
import SluiceJournal

// What a disk may hold after power is lost. Pure values: a copy is another disk.
//
// A file has what is durable, and sectors of 512 bytes written since its last sync; a crash keeps any subset of those, and
// either size. A directory has the names that are durable, and what was done to them since its last sync; a crash keeps
// a prefix of that, as journalling file systems do, or any subset, as others may. A file that is synced under a name that
// is not is lost with the name. A sync of a file says nothing of its name.

/// Random numbers that a seed decides (SplitMix64).
package struct SimulationRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64
  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  package mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
  package mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
}

struct SimulatedFile: Sendable {
  static let pageBytes = 4096
  static let sectorBytes = 512

  private struct DirtyPage: Sendable {
    var bytes: [UInt8]
    /// Sectors that were written since the last sync.
    var sectors: UInt8
  }

  private var durable: [Int: [UInt8]] = [:]
  private var durableSize = 0
  private var dirty: [Int: DirtyPage] = [:]
  private(set) var size = 0
  /// The lowest size it was cut to since the last sync: what was durable behind it is gone, unless the cut is lost too.
  private var cut: Int?

  private func page(_ number: Int) -> [UInt8]? {
    if let page = dirty[number] { return page.bytes }
    if let cut, number * Self.pageBytes >= cut { return nil }
    return durable[number]
  }

  func read(into target: UnsafeMutableRawBufferPointer, at offset: Int) -> Int {
    let count = max(0, min(target.count, size - offset))
    var done = 0
    while done < count {
      let at = offset + done
      let within = at % Self.pageBytes
      let part = min(count - done, Self.pageBytes - within)
      let place = UnsafeMutableRawBufferPointer(rebasing: target[done..<(done + part)])
      if let bytes = page(at / Self.pageBytes) {
        bytes.withUnsafeBytes { place.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[within..<(within + part)])) }
      } else {
        place.initializeMemory(as: UInt8.self, repeating: 0)
      }
      done += part
    }
    return count
  }

  mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    var done = 0
    while done < bytes.count {
      let at = offset + done
      let number = at / Self.pageBytes
      let within = at % Self.pageBytes
      let part = min(bytes.count - done, Self.pageBytes - within)
      var page =
        dirty[number] ?? DirtyPage(bytes: page(number) ?? [UInt8](repeating: 0, count: Self.pageBytes), sectors: 0)
      dirty[number] = nil
      page.bytes.withUnsafeMutableBytes {
        UnsafeMutableRawBufferPointer(rebasing: $0[within..<(within + part)])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[done..<(done + part)]))
      }
      for sector in (within / Self.sectorBytes)...((within + part - 1) / Self.sectorBytes) {
        page.sectors |= 1 << sector
      }
      dirty[number] = page
      done += part
    }
    size = max(size, offset + bytes.count)
  }

  mutating func resize(to bytes: Int) {
    if bytes < size {
      cut = min(cut ?? bytes, bytes)
      for number in dirty.keys where number * Self.pageBytes >= bytes { dirty[number] = nil }
      let last = bytes / Self.pageBytes
      let within = bytes % Self.pageBytes
      if within > 0, var page = page(last) {
        for at in within..<Self.pageBytes { page[at] = 0 }
        dirty[last] = DirtyPage(bytes: page, sectors: 0xFF)
      }
    }
    size = bytes
  }

  /// Everything is on the device.
  mutating func sync() {
    applyCut()
    for (number, page) in dirty { durable[number] = page.bytes }
    dirty = [:]
    durableSize = size
  }

  private mutating func applyCut() {
    if let cut { for number in durable.keys where number * Self.pageBytes >= cut { durable[number] = nil } }
    cut = nil
  }

  /// The sync failed: what was dirty can still be read, and will never be written.
  mutating func failSync() { for number in dirty.keys { dirty[number]?.sectors = 0 } }

  /// Power is lost.
  mutating func crash(_ random: inout SimulationRandom) {
    // A journal keeps the order of sizes; here either may be found.
    let keepsSize = random.chance(50)
    let whole = random.chance(20)
    let none = !whole && random.chance(20)
    if keepsSize { applyCut() }
    cut = nil
    for number in dirty.keys.sorted() where !none {
      guard let page = dirty[number] else { continue }
      let lost = whole ? 0 : UInt8(truncatingIfNeeded: random.next()) | (random.chance(30) ? 0xFF : 0)
      let kept = page.sectors & ~lost
      guard kept != 0 else { continue }
      var bytes = durable[number] ?? [UInt8](repeating: 0, count: Self.pageBytes)
      for sector in 0..<8 where kept & (1 << sector) != 0 {
        let range = (sector * Self.sectorBytes)..<((sector + 1) * Self.sectorBytes)
        bytes.replaceSubrange(range, with: page.bytes[range])
      }
      durable[number] = bytes
    }
    dirty = [:]
    if keepsSize { durableSize = size }
    size = durableSize
    for number in durable.keys where number * Self.pageBytes >= size { durable[number] = nil }
  }

  /// Damage: one bit is another.
  mutating func flip(bit: Int, at offset: Int) {
    let number = offset / Self.pageBytes
    var bytes = page(number) ?? [UInt8](repeating: 0, count: Self.pageBytes)
    bytes[offset % Self.pageBytes] ^= 1 << bit
    if dirty[number] != nil { dirty[number]?.bytes = bytes } else { durable[number] = bytes }
  }
}

/// A disk with its directories.
struct SimulatedDisk: Sendable {
  enum Change: Sendable {
    case link(String, Int)
    case rename(String, String, Int)
    case unlink(String)
  }

  var files: [Int: SimulatedFile] = [:]
  var nextFile = 1
  private(set) var names: [String: Int] = [:]
  private var durableNames: [String: Int] = [:]
  /// By directory, in order.
  private var pending: [String: [Change]] = [:]

  static func directory(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "" }
    return String(path[..<slash])
  }

  mutating func create(_ path: String) -> Int {
    let file = nextFile
    nextFile += 1
    files[file] = SimulatedFile()
    names[path] = file
    pending[Self.directory(of: path), default: []].append(.link(path, file))
    return file
  }

  mutating func rename(_ from: String, to: String) -> Bool {
    guard let file = names.removeValue(forKey: from) else { return false }
    names[to] = file
    pending[Self.directory(of: to), default: []].append(.rename(from, to, file))
    return true
  }

  mutating func unlink(_ path: String) -> Bool {
    guard names.removeValue(forKey: path) != nil else { return false }
    pending[Self.directory(of: path), default: []].append(.unlink(path))
    return true
  }

  /// A directory is a name of its parent, and what is in it is lost with it.
  mutating func makeDirectory(_ path: String) {
    if names[path + "/"] == nil {
      names[path + "/"] = 0
      pending[Self.directory(of: path), default: []].append(.link(path + "/", 0))
    }
  }

  mutating func syncDirectory(_ path: String) {
    for change in pending.removeValue(forKey: path) ?? [] { SimulatedDisk.apply(change, to: &durableNames) }
  }

  private static func apply(_ change: Change, to names: inout [String: Int]) {
    switch change {
    case .link(let path, let file): names[path] = file
    case .rename(let from, let to, let file):
      names[from] = nil
      names[to] = file
    case .unlink(let path): names[path] = nil
    }
  }

  mutating func crash(_ random: inout SimulationRandom) {
    for directory in pending.keys.sorted() {
      let changes = pending[directory] ?? []
      let prefix = random.below(changes.count + 1)
      let isOrdered = random.chance(60)
      for (place, change) in changes.enumerated() where isOrdered ? place < prefix : random.chance(50) {
        SimulatedDisk.apply(change, to: &durableNames)
      }
    }
    pending = [:]
    durableNames = durableNames.filter { path, file in
      let directory = Self.directory(of: path)
      return file == 0 || durableNames[directory + "/"] != nil || directory == SimulatedStorage.directory
    }
    names = durableNames
    let kept = Set(names.values)
    files = files.filter { kept.contains($0.key) }
    for file in files.keys.sorted() { files[file]?.crash(&random) }
  }
}

extension SimulatedDisk {
  /// Flips one bit of a segment or of the cursor slots, where something was ever written. False: there is nothing.
  mutating func damage(_ random: inout SimulationRandom) -> Bool {
    let paths = names.keys.filter { $0.hasSuffix(".slog") || $0.hasSuffix(".slot") }.sorted()
    guard !paths.isEmpty else { return false }
    let path = random.chance(90) ? paths[random.below(paths.count)] : paths[paths.count - 1]
    guard let file = names[path], let size = files[file]?.size, size > 0 else { return false }
    let offset = random.chance(20) ? random.below(min(size, 8192)) : random.below(size)
    files[file]?.flip(bit: random.below(8), at: offset)
    return true
  }
}
