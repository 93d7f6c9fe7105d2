import Glibc
import SluiceCore
import SluiceTopology
import Testing

@Suite("The file of identities")
struct IdentitiesFileTests {
  static let hex = String(repeating: "ab", count: 32)
  static let nobody = "sluice_identities: 1\nidentities: {}\n"
  static let key = #"{ id: k, stored_key: "\#(hex)", server_key: "\#(hex)" }"#

  private func read(_ text: String) throws -> [IdentityDefinition] {
    switch IdentitiesFile.read(Array(text.utf8), name: "identities.yaml") {
    case .identities(let found): return found
    case .failed(let mistakes): throw Mistakes(all: mistakes)
    }
  }

  private struct Mistakes: Error { var all: [Diagnostic] }

  @Test func everyFieldIsRead() throws {
    let found = try read(
      """
      sluice_identities: 1
      identities:
        press-7:
          kind: module
          scopes: [ "publish:events/press.*", publish:audit, read:metrics, admin ]
          fingerprint: "00:11:22:33:44:55"
          certificate: "\(Self.hex)"
          producers: [ press-7, "gate\\"way/*" ]
          quota: { records: 1000, bytes: 1MiB, burst: 2s }
          keys:
            - { id: "5f3a", stored_key: "\(Self.hex)", server_key: "\(Self.hex)", created: 2026-08-01T10:00:00Z,
                expires: 2026-08-02T10:00:00Z }
        nobody: { kind: user }
      """)
    let bytes = [UInt8](repeating: 0xAB, count: 32)
    let key = IdentityDefinition.Key(
      id: "5f3a", storedKey: bytes, serverKey: bytes, created: 1_785_578_400_000_000_000,
      expires: 1_785_664_800_000_000_000)
    #expect(
      found == [
        IdentityDefinition(
          name: "press-7", kind: .module,
          scopes: [
            .publish(stream: "events", topics: "press.*"), .publish(stream: "audit", topics: nil), .readMetrics, .admin,
          ],
          fingerprint: "00:11:22:33:44:55", certificate: bytes,
          quota: .init(recordsPerSecond: 1000, bytesPerSecond: 1 << 20, burstNanoseconds: 2_000_000_000),
          producers: ["press-7", "gate\"way/*"], keys: [key]),
        IdentityDefinition(name: "nobody", kind: .user),
      ])
    #expect(try read(IdentitiesFile.text(of: found)) == found, "what is written reads back")
  }

  @Test(arguments: [
    ("sluice_identities: 2\nidentities: {}", "format"), ("sluice_identities: 1\n", "no 'identities'"),
    ("sluice_identities: 1\nidentities:\n", "expected a mapping"),
    (
      "sluice_identities: 1\nidentities:\n  a:\n    kind: user\n    keys:\n"
        + (1...5).map { "      - \(key.replacing("k,", with: "k\($0),"))\n" }.joined(), ":10:9"
    ),
    ("identities: {}", "sluice_identities"), ("", "empty"),
    ("sluice_identities: 1\nidentities: { a: { kind: robot } }", "kind"),
    ("sluice_identities: 1\nidentities: { A: { kind: user } }", "not a name"),
    ("sluice_identities: 1\nidentities: { a: { kind: user, scopes: [ root ] } }", "not a scope"),
    ("sluice_identities: 1\nidentities: { a: { kind: user, quota: {} } }", "bounds nothing"),
    ("sluice_identities: 1\nidentities: { a: { kind: user, producers: [ \"\" ] } }", "is an empty string"),
    ("sluice_identities: 1\nidentities: { a: { kind: user, producers: all } }", "a list"),
    ("sluice_identities: 1\nidentities: { a: { kind: user, keys: [ { id: k } ] } }", "stored_key"),
    ("sluice_identities: 1\nidentities: { a: { kind: user, secret: x } }", "unknown key"),
    ("sluice_identities: 1\nidentities: { a: { kind: user }, a: { kind: user } }", "a"),
  ])
  func aMistakeIsNamedWithItsPlace(text: String, words: String) {
    guard case .failed(let mistakes) = IdentitiesFile.read(Array(text.utf8), name: "identities.yaml") else {
      Issue.record("it was taken")
      return
    }
    let rendered = mistakes.map { $0.rendered(colour: false) }.joined()
    #expect(rendered.contains(words) && rendered.contains("identities.yaml:"), "\(rendered)")
  }

  @Test func aFileThatOthersMayReadIsRefusedWithTheRemedy() throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write("identities.yaml", Self.nobody)
    for mode in [0o644, 0o640, 0o602] as [mode_t] {
      try #require(chmod(path, mode) == 0)
      guard case .failed(let mistakes) = IdentitiesFile.load(path) else {
        Issue.record("mode \(mode) was taken")
        continue
      }
      #expect(mistakes.first?.help == "chmod 600 \(path)")
    }
    try #require(chmod(path, 0o600) == 0)
    guard case .identities = IdentitiesFile.load(path) else {
      Issue.record("mode 0600 was refused")
      return
    }
  }

  @Test func manyWhoWriteAtOnceLoseNothingAndLeaveTheFileToItsOwner() async throws {
    let directory = try TemporaryDirectory()
    let path = try directory.write("identities.yaml", Self.nobody)
    try #require(chmod(path, 0o600) == 0)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<16 {
        group.addTask {
          try IdentitiesFile.update(path) { $0.append(IdentityDefinition(name: "n\(number)", kind: .core)) }
        }
      }
      try await group.waitForAll()
    }
    guard case .identities(let found) = IdentitiesFile.load(path) else {
      Issue.record("it can't be read back")
      return
    }
    #expect(Set(found.map(\.name)).count == 16)
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    #expect(access(path + ".new", F_OK) != 0)
    unlink(path + ".lock")
  }

  @Test func theFileMayChangeWhileADaemonRunsAndNotComeOrGo() throws {
    let none = try load(minimal).get()
    let one = try load("identities: ./a.yaml\n" + minimal).get()
    let other = try load("identities: ./b.yaml\n" + minimal).get()
    #expect(ReloadPlan(from: one, to: other).refusals.isEmpty)
    #expect(ReloadPlan(from: none, to: one).refusals.count == 1)
    #expect(ReloadPlan(from: one, to: none).refusals.count == 1)
  }

  @Test func anyBytesAreReadWithoutHarm() throws {
    let good = Array(
      IdentitiesFile.text(of: [
        IdentityDefinition(
          name: "a", kind: .user, scopes: [.admin], fingerprint: "\"\\\u{1}é",
          keys: [.init(id: "k", storedKey: .init(repeating: 1, count: 32), serverKey: .init(repeating: 2, count: 32))])
      ]).utf8)
    #expect(try read(String(decoding: good, as: UTF8.self)).first?.fingerprint == "\"\\\u{1}é")
    for place in good.indices {
      for byte in [0, 0x20, 0x22, 0x3A, 0x7B, 0xFF] as [UInt8] {
        var bytes = good
        bytes[place] = byte
        _ = IdentitiesFile.read(bytes, name: "identities.yaml")
      }
    }
  }
}
