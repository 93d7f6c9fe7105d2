import CSluice
import DiskSubscriber
import Foundation
import PluginTestSupport
import TestSupport
import Testing

@Suite struct DeliveryTests {
  @Test func aBatchStandsInTheActiveFileWhenDeliverReturns() {
    let disk = Disk()
    #expect(disk.start() == SLU_OK)
    #expect(disk.text() == "")
    #expect(disk.deliver(["{\"message\":\"a\"}", "{\"message\":\"b\"}"]) == SLU_OK)
    #expect(disk.text() == "{\"message\":\"a\"}\n{\"message\":\"b\"}\n")
    #expect(disk.deliver(["{\"message\":\"c\"}"], firstLSN: 3) == SLU_OK)
    #expect(disk.text() == "{\"message\":\"a\"}\n{\"message\":\"b\"}\n{\"message\":\"c\"}\n")
    #expect(disk.host.record.metricNames == ["disk_written", "disk_files_sealed"])
    #expect(disk.host.record.metricValues == [48, 0])
    disk.end()
  }

  @Test func rawPayloadsAreWrittenAsTheyAreWithANewline() {
    let disk = Disk(",\"format\":\"raw\"")
    #expect(disk.start() == SLU_OK)
    #expect(disk.deliver(["plain", "", "{\n}"]) == SLU_OK)
    #expect(disk.text("current.raw") == "plain\n\n{\n}\n")
    disk.end()
  }

  @Test func aFullFileIsSealedUnderTheNameOfItsRecordsAndTheNextOneBegins() {
    let disk = Disk(",\"rotate_bytes\":4096,\"file_prefix\":\"audit\"")
    #expect(disk.start() == SLU_OK)
    let line = "{\"message\":\"" + String(repeating: "x", count: 985) + "\"}"
    for batch in 0..<10 {
      #expect(disk.deliver([line, line], firstLSN: UInt64(1 + 2 * batch)) == SLU_OK)
    }
    #expect(
      disk.names == [
        "audit-00000000000000000001-00000000000000000006.ndjson",
        "audit-00000000000000000007-00000000000000000012.ndjson",
        "audit-00000000000000000013-00000000000000000018.ndjson", "current.ndjson",
      ])
    #expect(disk.text(disk.names[0])?.count == 6000)
    #expect(disk.text()?.count == 2000)
    #expect(disk.host.record.metricValues == [20_000, 3])
    disk.end()
  }

  @Test func aSealedFilesNameIsRightAfterARestart() {
    let directory = TemporaryDirectory()
    let first = Disk(",\"rotate_bytes\":4096", in: directory)
    #expect(first.start() == SLU_OK)
    #expect(first.deliver(["{\"n\":1}"], firstLSN: 77) == SLU_OK)
    first.end()
    let second = Disk(",\"rotate_bytes\":4096", in: directory)
    #expect(second.start() == SLU_OK)
    #expect(second.deliver(["{\"m\":\"" + String(repeating: "y", count: 5000) + "\"}"], firstLSN: 90) == SLU_OK)
    #expect(second.names == ["current.ndjson", "records-00000000000000000077-00000000000000000090.ndjson"])
    second.end()
  }

  @Test func aNameThatIsTakenGetsANumber() {
    let disk = Disk(",\"rotate_bytes\":4096")
    #expect(disk.start() == SLU_OK)
    let line = "{\"m\":\"" + String(repeating: "z", count: 5000) + "\"}"
    for _ in 0..<3 { #expect(disk.deliver([line], firstLSN: 5) == SLU_OK) }
    let stem = "records-00000000000000000005-00000000000000000005"
    #expect(disk.names == ["current.ndjson", "\(stem)-2.ndjson", "\(stem)-3.ndjson", "\(stem).ndjson"])
    disk.end()
  }

  @Test(
    "A line that a crash left unfinished is cut off",
    arguments: [
      "{\"mess", "{\"message\":\"c\"}", String(repeating: "x", count: 200_000), String(repeating: "\0", count: 5000),
    ])
  func aTornLineIsCutOff(torn: String) {
    let directory = TemporaryDirectory()
    for whole in ["", "{\"message\":\"a\"}\n{\"message\":\"b\"}\n"] {
      let disk = Disk(in: directory)
      #expect(disk.start() == SLU_OK)
      disk.end()
      write(whole + torn, to: disk.path + "/current.ndjson")
      let next = Disk(in: directory)
      #expect(next.start() == SLU_OK)
      #expect(next.text() == whole)
      #expect(next.host.record.lines.map(\.fields["bytes"]) == ["\(torn.utf8.count)"])
      #expect(next.deliver(["{\"message\":\"d\"}"]) == SLU_OK)
      #expect(next.text() == whole + "{\"message\":\"d\"}\n")
      next.end()
    }
  }

  @Test func aCrashAtAnyByteOfABatchLeavesWholeLines() {
    let disk = Disk()
    #expect(disk.start() == SLU_OK)
    #expect(disk.deliver(["{\"message\":\"a\"}", "{}", "{\"message\":\"ccc\"}"]) == SLU_OK)
    disk.end()
    let whole = disk.text() ?? ""
    for length in 0...whole.utf8.count {
      let prefix = String(whole.prefix(length))
      write(prefix, to: disk.path + "/current.ndjson")
      let next = Disk(in: disk.directory)
      #expect(next.start() == SLU_OK)
      let end = prefix.lastIndex(of: "\n").map { prefix.index(after: $0) } ?? prefix.startIndex
      #expect(next.text() == String(prefix[..<end]), "cut at \(length)")
      next.end()
    }
  }

  @Test func aWholeFileIsLeftAsItIs() {
    let directory = TemporaryDirectory()
    let disk = Disk(in: directory)
    #expect(disk.start() == SLU_OK && disk.deliver(["{}"]) == SLU_OK)
    disk.end()
    let next = Disk(in: directory)
    #expect(next.start() == SLU_OK)
    #expect(next.text() == "{}\n" && next.host.record.lines.isEmpty)
    next.end()
  }

  @Test func aSecondInstanceOnTheSameDirectoryIsRefusedUntilTheFirstStops() {
    let directory = TemporaryDirectory()
    let first = Disk(in: directory)
    let second = Disk(in: directory)
    #expect(first.start() == SLU_OK)
    #expect(second.start() == SLU_E_RETRYABLE)
    #expect(
      second.instance.error == "another disk subscriber writes to \(first.path): give each its own config.path, "
        + "or stop the other one")
    first.end()
    #expect(second.instance.start() == SLU_OK)
    second.end()
  }

  @Test func aStoppedInstanceKeepsNobodyOutByWhatAChildThatHasNotExecdYetHasOfIt() throws {
    let directory = TemporaryDirectory()
    let first = Disk(in: directory)
    #expect(first.start() == SLU_OK)
    let copy = try #require(DescriptorCopy(of: first.path + "/.sluice-disk"))
    first.end()
    let second = Disk(in: directory)
    #expect(second.start() == SLU_OK, "\(second.instance.error)")
    second.end()
    _ = copy
  }

  @Test func missingDirectoriesAreMade() {
    let disk = Disk(at: "a/b/c")
    #expect(disk.start() == SLU_OK && disk.deliver(["{}"]) == SLU_OK)
    #expect(disk.text() == "{}\n")
    disk.end()
  }

  @Test func aPathThatCannotBeADirectoryIsNamedWithTheRemedy() {
    let directory = TemporaryDirectory()
    write("", to: directory.path + "/file")
    for sub in ["file", "file/below"] {
      let disk = Disk(in: directory, at: sub)
      #expect(disk.start() == SLU_E_CONFIG)
      #expect(disk.instance.error.contains("\(directory.path)/file"))
      #expect(disk.instance.error.contains("set config.path to a directory"))
      disk.end()
    }
  }

  @Test func anActiveFileThatSomeoneRemovedIsMadeAnew() {
    let disk = Disk()
    #expect(disk.start() == SLU_OK && disk.deliver(["{\"n\":1}"]) == SLU_OK)
    #expect(unlink(disk.path + "/current.ndjson") == 0)
    #expect(disk.deliver(["{\"n\":2}"], firstLSN: 2) == SLU_OK)
    #expect(disk.text() == "{\"n\":2}\n")
    #expect(
      disk.host.messages(SLU_LOG_WARNING) == ["the active file had been moved or removed; went on with a new one"])
    disk.end()
  }

  @Test func anActiveFileThatSomeoneMovedIsLeftAlone() {
    let disk = Disk()
    #expect(disk.start() == SLU_OK && disk.deliver(["{\"n\":1}"]) == SLU_OK)
    #expect(rename(disk.path + "/current.ndjson", disk.path + "/moved") == 0)
    #expect(disk.deliver(["{\"n\":2}"], firstLSN: 2) == SLU_OK)
    #expect(disk.text("moved") == "{\"n\":1}\n" && disk.text() == "{\"n\":2}\n")
    disk.end()
  }

  @Test func aDirectoryThatSomeoneRemovedIsMadeAndLockedAgain() throws {
    let disk = Disk()
    #expect(disk.start() == SLU_OK && disk.deliver(["{\"n\":1}"]) == SLU_OK)
    try FileManager.default.removeItem(atPath: disk.path)
    #expect(disk.deliver(["{\"n\":2}"], firstLSN: 2) == SLU_OK)
    #expect(disk.text() == "{\"n\":2}\n")
    #expect(throws: (any Error).self) {
      try ActiveFile(directory: disk.path, prefix: "records", ending: "ndjson")
    }
    disk.end()
  }

  @Test func anActiveFileThatSomeoneEmptiedGrowsFromItsNewEnd() {
    let disk = Disk()
    #expect(disk.start() == SLU_OK && disk.deliver(["{\"n\":1}"]) == SLU_OK)
    write("", to: disk.path + "/current.ndjson")
    #expect(disk.deliver(["{\"n\":2}"], firstLSN: 2) == SLU_OK)
    #expect(disk.text() == "{\"n\":2}\n")
    disk.end()
  }

  @Test func onlyTheRotationCanBeReconfigured() {
    let disk = Disk()
    #expect(disk.start() == SLU_OK)
    #expect(disk.instance.reconfigure("{\"path\":\"\(disk.path)\",\"rotate_bytes\":4096}") == SLU_OK)
    #expect(disk.instance.reconfigure("{\"path\":\"\(disk.path)\",\"format\":\"raw\"}") == SLU_E_UNSUPPORTED)
    #expect(disk.instance.reconfigure("{\"path\":\"/elsewhere\"}") == SLU_E_UNSUPPORTED)
    #expect(disk.deliver(["{\"m\":\"" + String(repeating: "z", count: 5000) + "\"}"]) == SLU_OK)
    #expect(disk.names.count == 2, "the new size holds")
    disk.end()
  }
}

@Suite struct DiskConfigTests {
  @Test(
    "A config that makes no sense is refused with the place",
    arguments: [
      ("{}", "/path: is required"), ("{\"path\":\"\"}", "/path: names no directory"),
      ("{\"path\":\"/x\",\"format\":\"csv\"}", "/format: \"csv\" is none of \"ndjson\", \"raw\""),
      ("{\"path\":\"/x\",\"rotate_bytes\":10}", "/rotate_bytes: 10 is not between 4096 and 9223372036854775807"),
      ("{\"path\":\"/x\",\"file_prefix\":\"../y\"}", "/file_prefix"),
      ("{\"path\":\"/x\",\"file_prefix\":\"\"}", "/file_prefix"),
      ("{\"path\":\"/x\",\"file_prefix\":\"a b\"}", "/file_prefix"),
    ])
  func aConfigThatMakesNoSenseIsRefused(config: String, message: String) {
    let disk = Disk()
    #expect(disk.instance.create(config) == SLU_E_CONFIG)
    #expect(disk.instance.error.contains(message), "\(disk.instance.error)")
  }

  @Test func theSchemaIsJSON() throws {
    let schema = try #require(
      JSONSerialization.jsonObject(with: Data(Disk().instance.kind.pointee.config_schema.string.utf8))
        as? [String: Any])
    #expect(
      (schema["properties"] as? [String: Any])?.keys.sorted() == ["file_prefix", "format", "path", "rotate_bytes"])
  }
}
