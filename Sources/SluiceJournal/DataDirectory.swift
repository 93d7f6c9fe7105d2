import Glibc
import SluiceCore
import Synchronization

/// A daemon's data directory as far as its logs go: one process at a time has it; which log belongs to which stream; what
/// lies in it that belongs to none. `StreamRegistry.swift` has the file and the rules.
///
///     DATA/LOCK               held while the daemon runs
///     DATA/streams.registry   which log each stream has
///     DATA/streams/NAME/      a stream's log
package final class DataDirectory: Sendable {
  private struct State: ~Copyable {
    var lock: HeldLock
    var registry: StreamRegistry
    /// Which logs the directories hold, as last looked.
    var held: [String: LogUUID]
  }

  /// A directory under streams/ that no stream owns.
  package struct Orphan: Equatable, Sendable {
    package var name: String
    /// Nil when it holds no log.
    package var uuid: LogUUID?
    package var bytes: Int
  }

  package let path: String
  /// Why the registry had to be made anew from the directories, and is to be saved; nil: it was there, or there was
  /// nothing to register.
  package let remade: String?
  private let storage: any LogStorage
  private let state: Mutex<State>

  /// Takes the directory, which exists, for this process. Of logs that lie in two places when the registry has to be made
  /// anew, one of `streams` is its owner. Blocks on the disk.
  package init(
    _ path: String, streams: Set<String>, storage: any LogStorage = LinuxStorage()
  ) throws(JournalError) {
    let lock = try LockFile.take(in: path, on: storage)
    let held = try DataDirectory.look(path, storage)
    let (known, fault) = try DataDirectory.read(path, storage)
    var registry = known ?? StreamRegistry()
    if known == nil {
      let now = Clock.wall()
      let names = held.keys.sorted()
      for name in names.filter(streams.contains) + names.filter({ !streams.contains($0) }) {
        guard let uuid = held[name], registry.owner(of: uuid) == nil else { continue }
        registry.set(.init(name: name, uuid: uuid, createdTime: now))
      }
    }
    remade = held.isEmpty && fault == nil ? nil : known == nil ? fault ?? "it was not there" : nil
    self.path = path
    self.storage = storage
    state = Mutex(State(lock: lock, registry: registry, held: held))
  }

  package func directory(of stream: String) -> String { "\(path)/streams/\(stream)" }

  // MARK: A stream's log

  /// What is to be known before the stream's log is opened.
  package struct Admission: Equatable, Sendable {
    package var standing: LogStanding
    /// Nobody has anything of the stream, not even a file in its directory.
    package var isFresh: Bool
    /// See `StreamOptions.knownLSN`.
    package var knownLSN: UInt64
  }

  /// Looks at the stream's directory and changes nothing. Throws when the log there must not be this stream's: `streams`
  /// are those that are open or are to be. Blocks on the disk.
  package func admit(
    _ name: String, among streams: Set<String>, onCorruption: OnCorruption
  ) throws(JournalError) -> Admission {
    let found = try LogIdentity.of(directory(of: name), on: storage)
    let (standing, lastLSN) = state.withLock { state in
      state.held[name] = found.uuid
      let standing = state.registry.standing(
        of: name, found: found, elsewhere: state.held.filter { $0.key != name }, streams: streams)
      let owner = found.uuid.flatMap { state.registry.owner(of: $0) }
      return (standing, owner?.lastLSN ?? 0)
    }
    try refuse(name, standing, onCorruption)
    let isFresh = standing == .new && ((try? storage.list(directory(of: name)))?.isEmpty ?? false)
    return Admission(standing: standing, isFresh: isFresh, knownLSN: lastLSN)
  }

  private func refuse(_ name: String, _ standing: LogStanding, _ onCorruption: OnCorruption) throws(JournalError) {
    let own = directory(of: name)
    switch standing {
    case .foreign(let owner, let uuid):
      throw JournalError(
        .foreign,
        "\(own) holds log \(uuid), which is that of stream \(owner): directories were swapped, or one was copied. "
          + "Nothing was changed. Put each log back under its own name, or move \(own) away, and \(name) begins a new log"
      )
    case .wiped(let was, let now) where onCorruption == .halt:
      throw JournalError(
        .damaged,
        "\(own) is empty, but stream \(name) had log \(was.uuid) up to LSN \(was.lastLSN) or more, and on_corruption is "
          + "halt. Nothing was changed. "
          + (now.map { "That log lies in \(directory(of: $0)). " } ?? "")
          + "Put it back, restore a backup, or set `on_corruption: gap` to begin a new log")
    case .replaced(let was, let uuid) where onCorruption == .halt:
      throw JournalError(
        .damaged,
        "\(own) holds log \(uuid), but stream \(name) had log \(was.uuid) up to LSN \(was.lastLSN) or more, and "
          + "on_corruption is halt. Nothing was changed. Put that log back, restore a backup, or set "
          + "`on_corruption: gap` to go on with the log that is there")
    default: break
    }
  }

  /// The stream's log is open. Returns why the registry could not be written; nil: it was, or had nothing new.
  package func opened(_ name: String, _ uuid: LogUUID) -> IOFault? {
    let isNew = state.withLock { state in
      state.held[name] = uuid
      guard state.registry[name]?.uuid != uuid else { return false }
      let before = state.registry.owner(of: uuid)
      state.registry.set(
        .init(
          name: name, uuid: uuid, createdTime: before?.createdTime ?? Clock.wall(), lastLSN: before?.lastLSN ?? 0))
      return true
    }
    return isNew ? save() : nil
  }

  /// The stream's log has come to an orderly end with this LSN. `save` makes that last.
  package func closed(_ name: String, _ uuid: LogUUID, lastLSN: UInt64) {
    state.withLock { state in
      guard var entry = state.registry[name], entry.uuid == uuid else { return }
      entry.lastLSN = max(entry.lastLSN, lastLSN)
      state.registry.set(entry)
    }
  }

  /// Undoes that the stream was made: for one that was fresh and is closed, in whose log there never was a record. Returns
  /// what keeps it from being as if it had not been; what is left then is an orphan. Blocks on the disk.
  package func unmake(_ name: String, _ uuid: LogUUID) -> IOFault? {
    state.withLock { state in
      state.registry.remove(name, uuid)
      state.held[name] = nil
    }
    if let fault = save() { return fault }
    let own = directory(of: name)
    do throws(IOFault) {
      for file in try storage.list(own) { try storage.unlink("\(own)/\(file.name)", .segmentUnlink) }
      try storage.removeDirectory(own)
      return nil
    } catch {
      return error
    }
  }

  /// Writes the registry. One caller at a time.
  package func save() -> IOFault? {
    let bytes = state.withLock { $0.registry.encoded() }
    let target = "\(path)/\(StreamRegistry.fileName)"
    do throws(IOFault) {
      let file = try LogFile(target + ".tmp", .createEmpty, on: storage)
      var fault: IOFault?
      bytes.withUnsafeBytes { raw in
        do throws(IOFault) { try file.write(raw, at: 0, .registryWrite) } catch { fault = error }
      }
      if let fault { throw fault }
      try file.sync(.registrySync)
      try storage.rename(target + ".tmp", to: target, .registryRename)
      try storage.syncDirectory(path, .registryDirectorySync)
      return nil
    } catch {
      return error
    }
  }

  // MARK: What belongs to nobody

  /// The directories that none of `streams` owns, with what they hold. Blocks on the disk.
  package func orphans(besides streams: Set<String>) throws(JournalError) -> [Orphan] {
    var orphans: [Orphan] = []
    for name in try DataDirectory.directories(in: "\(path)/streams") where !streams.contains(name) {
      let own = directory(of: name)
      // What can't be read is listed all the same.
      let files = [own, "\(own)/\(SegmentFile.quarantineName)"].flatMap { (try? storage.list($0)) ?? [] }
      let uuid = (try? LogIdentity.of(own, on: storage))?.uuid
      orphans.append(Orphan(name: name, uuid: uuid, bytes: files.reduce(0) { $0 + $1.bytes }))
    }
    return orphans
  }

  /// Looks again at what the directories hold: before streams are added.
  package func lookAgain() throws(JournalError) {
    let held = try DataDirectory.look(path, storage)
    state.withLock { $0.held = held }
  }

  private static func look(_ path: String, _ storage: any LogStorage) throws(JournalError) -> [String: LogUUID] {
    var held: [String: LogUUID] = [:]
    for name in try directories(in: "\(path)/streams") {
      // One that can't be read is told when its stream is opened.
      held[name] = (try? LogIdentity.of("\(path)/streams/\(name)", on: storage))?.uuid
    }
    return held
  }

  private static func directories(in path: String) throws(JournalError) -> [String] {
    guard let stream = opendir(path) else {
      if errno == ENOENT { return [] }
      throw JournalError(IOFault(.list, path, errno))
    }
    defer { closedir(stream) }
    var names: [String] = []
    errno = 0
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      var info = stat()
      if name != ".", name != "..", fstatat(dirfd(stream), name, &info, 0) == 0, info.st_mode & S_IFMT == S_IFDIR {
        names.append(name)
      }
      errno = 0
    }
    guard errno == 0 else { throw JournalError(IOFault(.list, path, errno)) }
    return names.sorted()
  }

  /// Nil without a reason: there is none.
  private static func read(
    _ path: String, _ storage: any LogStorage
  ) throws(JournalError) -> (registry: StreamRegistry?, fault: String?) {
    let file = "\(path)/\(StreamRegistry.fileName)"
    var bytes = [UInt8](repeating: 0, count: Limits.maxRegistryBytes + 1)
    do throws(IOFault) {
      let count = try read(file, into: &bytes, storage)
      guard count <= Limits.maxRegistryBytes else { return (nil, "it is larger than \(Limits.maxRegistryBytes) bytes") }
      bytes.removeLast(bytes.count - count)
    } catch {
      return (nil, error.code == ErrorCode.notFound ? nil : "\(error)")
    }
    do throws(StreamRegistry.Fault) {
      return (try StreamRegistry(decoding: bytes), nil)
    } catch {
      switch error {
      case .version(let version):
        throw JournalError(
          .incompatible,
          "\(file) has format version \(version): use the newer sluice that wrote it, or move the file away")
      case .checksum: return (nil, "its checksum is wrong")
      case .line(let number): return (nil, "line \(number) is none of its lines")
      }
    }
  }

  private static func read(
    _ file: String, into bytes: inout [UInt8], _ storage: any LogStorage
  ) throws(IOFault) -> Int {
    let file = try LogFile(file, .read, on: storage)
    var result: Result<Int, IOFault> = .success(0)
    bytes.withUnsafeMutableBytes { raw in
      result = Result { () throws(IOFault) in try file.read(into: raw, at: 0) }
    }
    return try result.get()
  }
}
