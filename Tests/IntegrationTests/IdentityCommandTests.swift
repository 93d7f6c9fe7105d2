import DaemonTestSupport
import Foundation
import Testing

/// `sluice identity` as a process: what its outputs are does not lose a token.
@Suite struct IdentityCommandTests {
  private func identity(_ command: String, in folder: TemporaryFolder) -> (status: Int32?, text: String) {
    ChildProcess.run("/bin/sh", ["-c", "'\(Products.sluice)' identity \(command)"], directory: folder.path)
  }

  private func contents(_ folder: TemporaryFolder) -> Data? {
    FileManager.default.contents(atPath: folder.path + "/identities.yaml")
  }

  @Test(
    "A token that nobody can see changes nothing: a full disk, a closed output, an output for reading, a broken pipe")
  func lostToken() throws {
    let folder = TemporaryFolder()
    #expect(identity("add m1 --publish events", in: folder).status == 0)
    let before = try #require(contents(folder))
    for output in [">/dev/full", ">&-", "1</dev/null"] {
      for command in ["rotate m1 --grace 0", "add m2"] {
        let result = identity("\(command) \(output)", in: folder)
        #expect(result.status == 74 && result.text.contains("nothing was changed"), "\(output): \(result.text)")
        #expect(contents(folder) == before, "\(command) \(output)")
      }
    }
    _ = folder.write(
      "broken.py",
      """
      import os, subprocess, sys
      read, write = os.pipe()
      os.close(read)
      sys.exit(subprocess.run(sys.argv[1:], stdout=write).returncode)
      """)
    let broken = ChildProcess.run(
      "/usr/bin/env", ["python3", "broken.py", Products.sluice, "identity", "rotate", "m1"], directory: folder.path)
    #expect(broken.status == 74 && contents(folder) == before, "\(broken.text)")
    #expect(Set(try FileManager.default.contentsOfDirectory(atPath: folder.path)).isSuperset(of: ["identities.yaml"]))
    #expect(!FileManager.default.fileExists(atPath: folder.path + "/identities.yaml.new"))
    let file = identity("rotate m1 >token && grep -c slu1_m1_ token", in: folder)
    #expect(file.status == 0 && contents(folder) != before, "\(file.text)")
  }

  @Test("A list that can't be written is told in the exit status, as text and as JSON")
  func lostList() throws {
    let folder = TemporaryFolder()
    #expect(identity("add m1 --publish events", in: folder).status == 0)
    for command in ["list", "list --json"] {
      for output in [">/dev/full", ">&-"] {
        let result = identity("\(command) \(output)", in: folder)
        #expect(result.status == 74 && result.text.contains("the list can't be shown"), "\(output): \(result.text)")
      }
      let shown = identity(command, in: folder)
      #expect(shown.status == 0 && shown.text.contains("publish:events"), "\(shown.text)")
    }
  }

  @Test("A key that is still good and has to go for a new one is told")
  func droppedKey() throws {
    let folder = TemporaryFolder()
    #expect(identity("add m1 --publish events", in: folder).status == 0)
    for _ in 1...3 {
      let result = identity("rotate m1 --grace 1h", in: folder)
      #expect(result.status == 0 && !result.text.contains("is gone"), "\(result.text)")
    }
    let oldest = try #require(identity("list", in: folder).text.firstMatch(of: #/key (\w+)/#)).1
    let result = identity("rotate m1 --grace 1h", in: folder)
    #expect(
      result.status == 0 && result.text.contains("key \(oldest), which would have been good until"), "\(result.text)")
    #expect(!identity("list", in: folder).text.contains(oldest))
  }

  @Test("Of a symbolic link that leads nowhere every command says the same, and makes nothing")
  func danglingLink() throws {
    let folder = TemporaryFolder()
    try FileManager.default.createSymbolicLink(
      atPath: folder.path + "/identities.yaml", withDestinationPath: "elsewhere.yaml")
    for command in ["add m1", "rotate m1", "revoke m1", "list"] {
      let result = identity(command, in: folder)
      #expect(
        result.status == 66 && result.text.contains("symbolic link to a file that is not there"), "\(result.text)")
      #expect(!result.text.contains("add` makes it"), "\(result.text)")
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["identities.yaml"])
  }

  @Test("What is no text is refused with its code point, and a file that is not there is not locked")
  func wrongWords() throws {
    let folder = TemporaryFolder()
    for (option, code) in [
      (#"--fingerprint "$(printf '\357\277\276')""#, "U+FFFE"), (#"--fingerprint "$(printf '\377')""#, "U+FFFD"),
      (#"--publish "events/$(printf '\357\277\277')""#, "U+FFFF"), (#"--fingerprint "$(printf 'a\001')""#, "U+1"),
    ] {
      let result = identity("add m1 \(option)", in: folder)
      #expect(result.status == 64 && result.text.contains(code), "\(option): \(result.text)")
    }
    for command in ["revoke m1", "rotate m1"] {
      let result = identity(command, in: folder)
      #expect(result.status == 66 && result.text.contains("sluice identity add"), "\(result.text)")
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).isEmpty)
  }
}
