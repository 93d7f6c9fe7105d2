// Where the children of a subscriber's unsettled records begin in each stream that it publishes to: what is looked through
// after a restart, so that no child is stored twice. One small text file for each subscriber,
// `<data>/published/<subscriber>`:
//
//   sluice-published 1
//   <log UUID of the target> <LSN>          once for each target
//
// It is replaced as a whole, after the cursors that it goes with were written: a child below the LSN has a parent below
// its durable cursor. Without the file, or without a line for a log, the log is looked through from its beginning: that
// takes longer and comes to the same. A torn or foreign file counts as none.

import Glibc
import SluiceCore

struct PublishedFloors {
  private static let head = "sluice-published 1"
  let path: String

  init(dataDirectory: String, subscriber: String) { path = "\(dataDirectory)/published/\(subscriber)" }

  func read() -> [LogUUID: UInt64] {
    guard let file = fopen(path, "r") else { return [:] }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: Limits.maxFloorsFileBytes)
    let count = fread(&bytes, 1, bytes.count, file)
    let lines = String(decoding: bytes[..<count], as: UTF8.self).split(
      separator: "\n", omittingEmptySubsequences: false)
    // The last line ends as the others do.
    guard lines.first.map(String.init) == PublishedFloors.head, lines.last == "" else { return [:] }
    var floors: [LogUUID: UInt64] = [:]
    for line in lines.dropFirst().dropLast() {
      let parts = line.split(separator: " ")
      guard parts.count == 2, let log = LogUUID(canonical: String(parts[0])), let lsn = UInt64(parts[1]) else {
        return [:]
      }
      floors[log] = lsn
    }
    return floors
  }

  /// Returns errno, 0 if they are durable.
  func write(_ floors: [LogUUID: UInt64]) -> Int32 {
    let directory = Paths.split(path).directory
    let made = Paths.makePrivate(directory)
    guard made == 0 else { return made }
    var text = PublishedFloors.head + "\n"
    for (log, lsn) in floors.sorted(by: { $0.key.description < $1.key.description }) { text += "\(log) \(lsn)\n" }
    let temporary = path + ".new"
    let file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard file >= 0 else { return errno }
    let written = text.withUTF8 { Glibc.write(file, $0.baseAddress, $0.count) == $0.count } && fdatasync(file) == 0
    let failure = written ? 0 : max(errno, EIO)
    close(file)
    guard written else { return failure }
    guard rename(temporary, path) == 0 else { return errno }
    let parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard parent >= 0 else { return errno }
    defer { close(parent) }
    return fsync(parent) == 0 ? 0 : errno
  }
}
