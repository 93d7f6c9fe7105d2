import Glibc
import SluiceCore
import Testing

@testable import SluiceJournal

private let a = LogUUID(high: 0x0011_2233_4455_4677, low: 0x8899_aabb_ccdd_eeff)
private let b = LogUUID(high: 0x1011_2233_4455_4677, low: 0x8899_aabb_ccdd_eeff)
private let c = LogUUID(high: 0x2011_2233_4455_4677, low: 0x8899_aabb_ccdd_eeff)

@Suite("The registry of streams")
struct StreamRegistryTests {
  private func registry() -> StreamRegistry {
    var registry = StreamRegistry()
    registry.set(.init(name: "events", uuid: a, createdTime: 1_800_000_000_000_000_000, lastLSN: 42))
    registry.set(.init(name: "audit", uuid: b, createdTime: 7))
    return registry
  }

  @Test("has the bytes that docs/log-format.md shows, and they are read back")
  func bytes() throws {
    let text = """
      sluice streams 1
      audit 10112233-4455-4677-8899-aabbccddeeff 7 0
      events 00112233-4455-4677-8899-aabbccddeeff 1800000000000000000 42
      crc32c 15870815

      """
    #expect(String(decoding: registry().encoded(), as: UTF8.self) == text)
    #expect(try StreamRegistry(decoding: Array(text.utf8)) == registry())
    #expect(try StreamRegistry(decoding: StreamRegistry().encoded()) == StreamRegistry())
  }

  @Test("refuses every flipped bit and every cut")
  func damage() {
    let whole = registry().encoded()
    for place in whole.indices {
      for bit in 0..<8 {
        var bytes = whole
        bytes[place] ^= 1 << bit
        #expect(throws: StreamRegistry.Fault.self) { try StreamRegistry(decoding: bytes) }
      }
      #expect(throws: StreamRegistry.Fault.self) { try StreamRegistry(decoding: Array(whole[..<place])) }
    }
  }

  @Test(
    "refuses lines that are no entries, and names that stand twice, by their number",
    arguments: [
      "events", "events x 1 1", "../x \(c) 1 1", "x \(c) 1 -1", "x \(c) 1 1 1", "events \(c) 1 1", "x \(a) 1 1", "",
    ])
  func badLines(_ line: String) {
    var text = "sluice streams 1\nevents \(a) 1 1\n\(line)\n"
    let digits = String(Array(text.utf8).withUnsafeBytes { CRC32C.of($0) }, radix: 16)
    text += "crc32c \(String(repeating: "0", count: 8 - digits.count))\(digits)\n"
    #expect(throws: StreamRegistry.Fault.line(3)) { try StreamRegistry(decoding: Array(text.utf8)) }
  }

  @Test("says how a directory's log stands to its stream, row by row")
  func standings() throws {
    let events = try #require(registry()["events"])
    func standing(
      _ name: String, _ found: LogIdentity, _ elsewhere: [String: LogUUID] = [:], streams: Set<String> = ["events"]
    ) -> LogStanding {
      registry().standing(of: name, found: found, elsewhere: elsewhere, streams: streams.union([name]))
    }
    #expect(standing("other", .none) == .new)
    #expect(standing("other", .log(c)) == .found)
    #expect(standing("events", .log(a)) == .known)
    #expect(standing("events", .log(a), ["copy": a]) == .known, "the copy is refused, not the original")
    #expect(standing("events", .none) == .wiped(was: events, now: nil))
    #expect(standing("events", .none, ["saved": a]) == .wiped(was: events, now: "saved"))
    #expect(standing("events", .log(c)) == .replaced(was: events, by: c))
    #expect(standing("events", .log(b)) == .foreign(owner: "audit", b), "swapped")
    #expect(standing("copy", .log(a), ["events": a]) == .foreign(owner: "events", a), "copied")
    #expect(standing("copy", .log(a)) == .foreign(owner: "events", a), "events is to be opened too, and is wiped")
    #expect(standing("copy", .log(b), ["audit": b]) == .foreign(owner: "audit", b), "copied from an orphan")
    #expect(standing("renamed", .log(b)) == .moved(from: "audit"))
    #expect(standing("x", .log(c), ["y": c], streams: ["y"]) == .foreign(owner: "y", c), "copied, and unknown")
    #expect(standing("x", .log(c), ["y": c]) == .found, "y belongs to nobody")
    #expect(standing("events", .unreadable) == .unreadable(was: events))
  }
}

@Suite("A data directory")
struct DataDirectoryTests {
  private func log(_ directory: TestDirectory, _ name: String, _ payloads: [String] = ["x"]) throws -> StreamLog {
    var options = directory.options()
    options.name = name
    options.directory = "\(directory.path)/streams/\(name)"
    let log = try StreamLog.open(options)
    TestLane(log).commit(payloads)
    return log
  }

  /// Opens the stream as the daemon does, and closes it.
  private func run(
    _ directory: TestDirectory, _ names: [String], onCorruption: OnCorruption = .gap
  ) throws(JournalError) -> [LogStanding] {
    let data = try DataDirectory(directory.path, streams: Set(names))
    var standings: [LogStanding] = []
    for name in names {
      standings.append(try data.admit(name, among: Set(names), onCorruption: onCorruption).standing)
      let log: StreamLog
      do { log = try self.log(directory, name) } catch { throw error as? JournalError ?? JournalError(.io, "\(error)") }
      #expect(data.opened(name, log.uuid) == nil)
      log.close()
      data.closed(name, log.uuid, lastLSN: log.durableLSN)
    }
    #expect(data.save() == nil)
    return standings
  }

  private func move(_ directory: TestDirectory, _ from: String, _ to: String) {
    #expect(rename("\(directory.path)/streams/\(from)", "\(directory.path)/streams/\(to)") == 0)
  }

  private func copy(_ directory: TestDirectory, _ from: String, _ to: String) throws {
    let source = "streams/\(from)"
    try LinuxStorage().makeDirectory("\(directory.path)/streams/\(to)")
    for file in try LinuxStorage().list("\(directory.path)/\(source)") {
      try directory.write("streams/\(to)/\(file.name)", try directory.read("\(source)/\(file.name)"))
    }
  }

  @Test("knows its logs again, and where they ended")
  func knows() throws {
    let directory = TestDirectory()
    #expect(try run(directory, ["a", "b"]) == [.new, .new])
    #expect(try run(directory, ["a", "b"]) == [.known, .known])
    let data = try DataDirectory(directory.path, streams: ["a"])
    #expect(data.remade == nil)
    #expect(
      try data.admit("a", among: ["a"], onCorruption: .halt) == .init(standing: .known, isFresh: false, knownLSN: 2))
    #expect(try data.orphans(besides: ["a"]).map(\.name) == ["b"])
  }

  @Test(
    "a stream that was made for nothing can be unmade, and then nothing is known of it; a foreign file makes it nobody's"
  )
  func unmade() throws {
    let directory = TestDirectory()
    #expect(try run(directory, ["a"]) == [.new])
    let data = try DataDirectory(directory.path, streams: ["a", "b"])
    let before = try directory.read(StreamRegistry.fileName)
    let admission = try data.admit("b", among: ["a", "b"], onCorruption: .halt)
    #expect(admission == .init(standing: .new, isFresh: true, knownLSN: 0))
    var options = directory.options()
    options.directory = data.directory(of: "b")
    let log = try StreamLog.open(options)
    #expect(data.opened("b", log.uuid) == nil)
    #expect(try directory.read(StreamRegistry.fileName) != before)
    log.close()
    #expect(data.unmake("b", log.uuid) == nil)
    #expect(try directory.read(StreamRegistry.fileName) == before)
    #expect(try data.orphans(besides: ["a"]).isEmpty)
    #expect(try data.admit("b", among: ["a", "b"], onCorruption: .halt).isFresh)
    try LinuxStorage().makeDirectory(data.directory(of: "c"))
    try directory.write("streams/c/notes", [1])
    #expect(try !data.admit("c", among: ["a", "c"], onCorruption: .halt).isFresh)
  }

  @Test("belongs to one process at a time")
  func locked() throws {
    let directory = TestDirectory()
    let first = try DataDirectory(directory.path, streams: [])
    let error = #expect(throws: JournalError.self) { try DataDirectory(directory.path, streams: []) }
    #expect(error?.kind == .locked && error?.message.contains("process \(ProcessInfoForTests.pid)") == true)
    _ = first
  }

  @Test("a wiped directory is recognised, told with the log that it was, and refused with halt")
  func wiped() throws {
    let directory = TestDirectory()
    _ = try run(directory, ["a", "b"])
    move(directory, "a", "saved")
    let error = #expect(throws: JournalError.self) { try run(directory, ["a", "b"], onCorruption: .halt) }
    #expect(error?.kind == .damaged && error?.message.contains("streams/saved") == true)
    guard case .wiped(let was, "saved") = try run(directory, ["a", "b"])[0] else {
      Issue.record("not recognised")
      return
    }
    #expect(was.name == "a" && was.lastLSN == 1)
    #expect(try run(directory, ["a", "b"]) == [.known, .known], "told once: the new log is known now")
  }

  @Test("a crash between the opening of a new log and the registry's write is no silence: it is told again")
  func crashBeforeSave() throws {
    let directory = TestDirectory()
    _ = try run(directory, ["a"])
    move(directory, "a", "saved")
    try log(directory, "a").close()
    guard case .replaced(let was, _) = try run(directory, ["a"])[0] else {
      Issue.record("not recognised")
      return
    }
    #expect(was.name == "a")
  }

  @Test("swapped and copied directories are refused with both names, and nothing is changed")
  func swappedAndCopied() throws {
    let directory = TestDirectory()
    _ = try run(directory, ["a", "b"])
    move(directory, "a", "t")
    move(directory, "b", "a")
    move(directory, "t", "b")
    let before = try directory.read("streams/a/cursors.slot")
    let swapped = #expect(throws: JournalError.self) { try run(directory, ["a", "b"]) }
    #expect(swapped?.kind == .foreign && swapped?.message.contains("stream b") == true)
    #expect(swapped?.message.contains("streams/a holds") == true)
    #expect(try directory.read("streams/a/cursors.slot") == before)
    move(directory, "a", "t")
    move(directory, "b", "a")
    move(directory, "t", "b")
    try copy(directory, "a", "c")
    let copied = #expect(throws: JournalError.self) { try run(directory, ["a", "b", "c"]) }
    #expect(copied?.kind == .foreign && copied?.message.contains("streams/c holds") == true)
    #expect(try run(directory, ["a", "b"]) == [.known, .known], "a copy that no stream owns is in nobody's way")
  }

  @Test("a log whose stream was renamed together with its directory goes on, under its new name only")
  func moved() throws {
    let directory = TestDirectory()
    _ = try run(directory, ["a"])
    move(directory, "a", "z")
    #expect(try run(directory, ["z"]) == [.moved(from: "a")])
    #expect(try run(directory, ["z", "a"]) == [.known, .new])
  }

  @Test(
    "a registry that can't be written is told, costs no stream, and is whole: the old one or the new one",
    arguments: [StoragePoint.registryWrite, .registrySync, .registryRename, .registryDirectorySync])
  func unwritable(_ point: StoragePoint) throws {
    let directory = TestDirectory()
    _ = try run(directory, ["a"])
    let before = try StreamRegistry(decoding: try directory.read(StreamRegistry.fileName))
    do {
      let data = try DataDirectory(directory.path, streams: ["a", "b"], storage: FailingStorage(point))
      let fault = data.opened("b", b)
      #expect(fault?.code == EIO && data.save()?.code == EIO)
    }
    let after = try StreamRegistry(decoding: try directory.read(StreamRegistry.fileName))
    #expect(after["a"] == before["a"] && after["b"]?.uuid == (point == .registryDirectorySync ? b : nil))
    #expect(try run(directory, ["a"]) == [.known])
  }

  @Test("a registry that is missing or damaged is made anew from the directories, and says so")
  func remade() throws {
    let directory = TestDirectory()
    #expect(try DataDirectory(directory.path, streams: ["a"]).remade == nil, "there is nothing to register yet")
    _ = try run(directory, ["a", "b"])
    try copy(directory, "b", "a-copy")
    #expect(unlink(directory.path + "/" + StreamRegistry.fileName) == 0)
    #expect(try DataDirectory(directory.path, streams: ["a", "b"]).remade?.contains("not there") == true)
    #expect(try run(directory, ["a", "b"]) == [.known, .known], "of two copies the declared one is the stream's")
    try directory.flip(StreamRegistry.fileName, at: 30)
    #expect(try DataDirectory(directory.path, streams: ["a", "b"]).remade?.contains("checksum") == true)
    #expect(try run(directory, ["a", "b"]) == [.known, .known])
    try directory.write(StreamRegistry.fileName, Array("sluice streams 2\n".utf8))
    let newer = #expect(throws: JournalError.self) { try DataDirectory(directory.path, streams: []) }
    #expect(newer?.kind == .incompatible)
  }

  @Test("an older copy of a stream's log is missing what the registry knows, and the LSNs do not come back")
  func restored() throws {
    let directory = TestDirectory()
    _ = try run(directory, ["a"])
    try copy(directory, "a", "backup")
    _ = try run(directory, ["a"])
    _ = try run(directory, ["a"])
    move(directory, "a", "newer")
    move(directory, "backup", "a")
    let data = try DataDirectory(directory.path, streams: ["a"])
    let admission = try data.admit("a", among: ["a"], onCorruption: .gap)
    #expect(admission == .init(standing: .known, isFresh: false, knownLSN: 3))
    var options = directory.options()
    options.directory = data.directory(of: "a")
    options.knownLSN = admission.knownLSN
    let log = try StreamLog.open(options)
    #expect(log.recovery.tail == .corrupt && log.recovery.nextLSN == 4)
    log.close()
  }

  @Test("a log of which nothing can be read any more is told apart from one that is not there")
  func unreadable() throws {
    let directory = TestDirectory()
    _ = try run(directory, ["a"])
    let own = directory.path + "/streams/a"
    let uuid = try #require(try LogIdentity.of(own).uuid)
    for file in try LinuxStorage().list(own).map(\.name) where file.hasSuffix(".slog") {
      try directory.flip("streams/a/\(file)", at: 0)
    }
    #expect(try LogIdentity.of(own) == .log(uuid), "the cursor slots say it")
    try directory.write("streams/a/cursors.slot", [1, 2, 3])
    #expect(try LogIdentity.of(own) == .unreadable && LogIdentity.of(own + "/none") == .none)
    #expect(throws: JournalError.self) {
      var options = directory.options { $0.onCorruption = .halt }
      options.directory = own
      _ = try StreamLog.open(options)
    }
    guard case .unreadable(let was) = try run(directory, ["a"])[0] else {
      Issue.record("not recognised")
      return
    }
    #expect(was?.uuid == uuid)
  }

  @Test("lists what belongs to no stream with its log and bytes, and opens and deletes nothing of it")
  func orphans() throws {
    let directory = TestDirectory()
    _ = try run(directory, ["a", "b"])
    try LinuxStorage().makeDirectory(directory.path + "/streams/junk")
    try directory.write("streams/junk/file", [1, 2, 3])
    let data = try DataDirectory(directory.path, streams: ["a"])
    let before = try directory.read("streams/b/cursors.slot")
    let orphans = try data.orphans(besides: ["a"])
    #expect(orphans.map(\.name) == ["b", "junk"])
    #expect(orphans[0].uuid != nil && orphans[0].bytes > 2 * Limits.cursorSlotBytes)
    #expect(orphans[1] == .init(name: "junk", uuid: nil, bytes: 3))
    #expect(try directory.read("streams/b/cursors.slot") == before)
  }
}

/// The real file system, on which everything at one point fails.
private struct FailingStorage: LogStorage {
  private let real = LinuxStorage()
  private let point: StoragePoint

  init(_ point: StoragePoint) { self.point = point }

  private func check(_ now: StoragePoint, _ operation: IOFault.Operation) throws(IOFault) {
    if now == point { throw IOFault(operation, "here", EIO) }
  }

  func open(_ path: String, _ mode: OpenMode) throws(IOFault) -> Int32 { try real.open(path, mode) }
  func close(_ handle: Int32) { real.close(handle) }
  func read(_ handle: Int32, into target: UnsafeMutableRawBufferPointer, at offset: Int) throws(IOFault) -> Int {
    try real.read(handle, into: target, at: offset)
  }
  func write(
    _ handle: Int32, _ pieces: UnsafeMutableBufferPointer<WritePiece>, at offset: Int, _ now: StoragePoint
  ) throws(IOFault) {
    try check(now, .write)
    try real.write(handle, pieces, at: offset, now)
  }
  func sync(_ handle: Int32, _ now: StoragePoint) throws(IOFault) {
    try check(now, .sync)
    try real.sync(handle, now)
  }
  func dropCache(_ handle: Int32) { real.dropCache(handle) }
  func allocate(_ handle: Int32, bytes: Int, _ now: StoragePoint) throws(IOFault) {
    try real.allocate(handle, bytes: bytes, now)
  }
  func truncate(_ handle: Int32, to bytes: Int, _ now: StoragePoint) throws(IOFault) {
    try real.truncate(handle, to: bytes, now)
  }
  func size(_ handle: Int32) throws(IOFault) -> Int { try real.size(handle) }
  func lock(_ handle: Int32) throws(IOFault) -> Bool { try real.lock(handle) }
  func unlock(_ handle: Int32) { real.unlock(handle) }
  func rename(_ from: String, to: String, _ now: StoragePoint) throws(IOFault) {
    try check(now, .rename)
    try real.rename(from, to: to, now)
  }
  func unlink(_ path: String, _ now: StoragePoint) throws(IOFault) { try real.unlink(path, now) }
  func makeDirectory(_ path: String) throws(IOFault) { try real.makeDirectory(path) }
  func syncDirectory(_ path: String, _ now: StoragePoint) throws(IOFault) {
    try check(now, .sync)
    try real.syncDirectory(path, now)
  }
  func list(_ directory: String) throws(IOFault) -> [FileEntry] { try real.list(directory) }
  func freeBytes(_ directory: String) throws(IOFault) -> Int { try real.freeBytes(directory) }
}
