import Glibc
import SluiceCore
import Synchronization
import TestSupport
import Testing

@testable import SluiceTopology

@Suite("Writing the file of identities")
struct IdentitiesWritingTests {
  private struct Stop: Error {}

  private func file(_ directory: TemporaryDirectory, _ text: String = IdentitiesFileTests.nobody) throws -> String {
    let path = try directory.write("identities.yaml", text)
    try #require(chmod(path, 0o600) == 0)
    return path
  }

  private static func names(_ path: String) -> [String]? {
    if case .identities(let found) = IdentitiesFile.load(path) { found.map(\.name) } else { nil }
  }

  @Test("What can't be read back, and more than the file may have, is not written, and the file stays as it was")
  func onlyWhatReadsBack() throws {
    let directory = try TemporaryDirectory()
    let path = try file(directory)
    let wide = (0..<64).map { number in
      IdentityDefinition.Scope.publish(stream: "events", topics: "\(number)" + String(repeating: "x", count: 200))
    }
    let all = (0..<400).map { IdentityDefinition(name: "n\($0)", kind: .user, scopes: wide) }
    for wrong in [all, [IdentityDefinition(name: "No name", kind: .user)]] {
      #expect(throws: IdentitiesFileFault.self) { try IdentitiesFile.update(path) { $0 = wrong } }
      #expect(Self.names(path) == [] && access(path + ".new", F_OK) != 0)
    }
  }

  @Test(
    "Any text reads back as it was written",
    arguments: ["\u{FFFE}", "a\u{1FFFF}\u{2028}b\u{85}", "\u{FEFF}\u{10FFFF}\u{0}"])
  func oddText(_ text: String) throws {
    let directory = try TemporaryDirectory()
    let path = try file(directory)
    try IdentitiesFile.update(path) { $0 = [IdentityDefinition(name: "a", kind: .user, fingerprint: text)] }
    guard case .identities(let found) = IdentitiesFile.load(path) else {
      Issue.record("it can't be read back")
      return
    }
    #expect(found.first?.fingerprint == text)
  }

  @Test("If what is to happen before the change counts fails, nothing is changed")
  func nothingBeforeCommit() throws {
    let directory = try TemporaryDirectory()
    let path = try file(directory)
    #expect(throws: Stop.self) {
      try IdentitiesFile.update(path) {
        $0.append(IdentityDefinition(name: "a", kind: .user))
      } beforeCommit: {
        throw Stop()
      }
    }
    #expect(Self.names(path) == [] && access(path + ".new", F_OK) != 0)
  }

  @Test("Through a symbolic link the file behind it is changed, under its own lock; one that leads nowhere is refused")
  func symbolicLink() throws {
    let directory = try TemporaryDirectory()
    let real = try file(directory)
    let link = real + ".link"
    try #require(symlink("identities.yaml", link) == 0)
    try IdentitiesFile.update(link) { $0.append(IdentityDefinition(name: "a", kind: .user)) }
    var status = stat()
    #expect(lstat(link, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
    #expect(Self.names(real) == ["a"])
    #expect(access(link + ".lock", F_OK) != 0 && access(real + ".lock", F_OK) == 0)
    try #require(unlink(real) == 0)
    #expect(throws: IdentitiesFileFault.self) { try IdentitiesFile.update(link, makesFile: true) { _ in } }
  }

  @Test("A file that is not there is made only by who means to, and nothing is left beside it otherwise")
  func missing() throws {
    let directory = try TemporaryDirectory()
    let path = try file(directory)
    try #require(unlink(path) == 0)
    #expect(throws: IdentitiesFileFault.self) { try IdentitiesFile.update(path) { _ in } }
    #expect(access(path + ".lock", F_OK) != 0)
    try IdentitiesFile.update(path, makesFile: true) { _ in }
    #expect(Self.names(path) == [])
  }

  @Test(
    "Another user's file is refused to a daemon, and taken by who may manage everybody's; one that others may read by none"
  )
  func owners() throws {
    var status = stat()
    status.st_mode = S_IFREG | 0o600
    status.st_uid = geteuid() + 1
    #expect(throws: FileReadError.self) { try IdentitiesFile.checkAccess(status, "f", anyOwner: false) }
    try IdentitiesFile.checkAccess(status, "f", anyOwner: true)
    status.st_mode = S_IFREG | 0o640
    #expect(throws: FileReadError.self) { try IdentitiesFile.checkAccess(status, "f", anyOwner: true) }
  }

  /// Root gives a file to anybody; who is not root has only its own.
  @Test("Who changes another's file leaves it, and its lock, to its owner")
  func keepsItsOwner() throws {
    let directory = try TemporaryDirectory()
    let path = try file(directory)
    let owner: (uid_t, gid_t) = geteuid() == 0 ? (54_321, 54_322) : (geteuid(), getegid())
    try #require(chown(path, owner.0, owner.1) == 0)
    try IdentitiesFile.update(path) { $0.append(IdentityDefinition(name: "a", kind: .user)) }
    for name in [path, path + ".lock"] {
      var status = stat()
      try #require(stat(name, &status) == 0)
      #expect(status.st_uid == owner.0 && status.st_gid == owner.1 && status.st_mode & 0o7777 == 0o600, "\(name)")
    }
    guard case .identities(let found) = IdentitiesFile.load(path, anyOwner: true) else {
      Issue.record("it can't be read back")
      return
    }
    #expect(found.map(\.name) == ["a"])
  }

  @Test("A change that is done keeps nobody out by what a child that has not exec'd yet has of its lock")
  func isUnlocked() throws {
    let directory = try TemporaryDirectory()
    let path = try file(directory)
    let copy = try IdentitiesFile.update(path) { _ in try #require(DescriptorCopy(of: path + ".lock")) }
    let lock = open(path + ".lock", O_RDWR | O_CLOEXEC)
    defer { close(lock) }
    #expect(flock(lock, LOCK_EX | LOCK_NB) == 0)
    _ = copy
  }

  @Test("Who reads while others write sees a whole file, and never an older one than before")
  func readersSeeWholeFiles() throws {
    let directory = try TemporaryDirectory()
    let path = try file(directory)
    let writers = 4
    let each = 16
    let isDone = Atomic<Bool>(false)
    let seen = Mutex<[Int]>([])
    let faults = Mutex<[String]>([])
    // Threads: each of them may wait for the others without end.
    let reader = OSThread(name: "reader", stackBytes: 4 << 20) {
      var isLast = false
      while !isLast {
        isLast = isDone.load(ordering: .acquiring)
        let count = Self.names(path)?.count ?? -1
        seen.withLock { $0.append(count) }
      }
    }
    let threads = (0..<writers).map { writer in
      OSThread(name: "writer", stackBytes: 4 << 20) {
        for number in 0..<each {
          do {
            try IdentitiesFile.update(path) {
              $0.append(IdentityDefinition(name: "n\(writer)-\(number)", kind: .core))
            }
          } catch {
            faults.withLock { $0.append("\(error)") }
          }
        }
      }
    }
    for thread in threads { thread.join() }
    isDone.store(true, ordering: .releasing)
    reader.join()
    let counts = seen.withLock { $0 }
    #expect(faults.withLock { $0 } == [])
    #expect(counts == counts.sorted() && counts.first != -1 && counts.last == writers * each)
  }

  @Test("What is inspected is the file that is read, whatever takes its name meanwhile")
  func inspectsWhatItReads() throws {
    let directory = try TemporaryDirectory()
    let path = try file(directory)
    let other = try directory.write("other", "another")
    let bytes = try FileReading.bytes(of: path, limit: 1000, regularOnly: true) { _ in
      _ = rename(other, path)
    }
    #expect(String(decoding: bytes, as: UTF8.self) == IdentitiesFileTests.nobody)
    #expect(throws: FileReadError.self) {
      try FileReading.bytes(of: path, limit: 1000, regularOnly: true) { _ throws(FileReadError) in
        throw FileReadError(message: "no")
      }
    }
  }
}
