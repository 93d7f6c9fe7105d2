// Where the children of a subscriber's unsettled records begin in each stream that it publishes to: what is looked through
// after a restart, so that no child is stored twice. One small text file for each subscriber,
// `<data>/published/<subscriber>`:
//
//   sluice-published 1
//   read <log UUID of a stream that it is given> <its cursor>      once for each
//   into <log UUID of a target> <LSN>                              once for each
//
// It is replaced as a whole, after the cursors that it goes with were written: a child below the LSN has a parent below
// the cursor of its log. So the LSNs hold for who begins at those cursors or behind them. For a subscriber that begins
// before one of them (it was forgotten, say, or is given a stream once more), and without the file or a line for a log, a
// target is looked through from its beginning: that takes longer and comes to the same. A torn or foreign file counts as
// none.

import Glibc
import SluiceCore

struct PublishedFloors: Equatable {
  private static let head = "sluice-published 1"

  /// By the log that is read.
  var cursors: [LogUUID: UInt64] = [:]
  /// By target.
  var lsns: [LogUUID: UInt64] = [:]

  /// From where on `target` has children of records at or above these cursors.
  func floor(of target: LogUUID, reading logs: some Sequence<(log: LogUUID, cursor: UInt64)>) -> UInt64 {
    for (log, cursor) in logs {
      guard let noted = cursors[log], cursor >= noted else { return 1 }
    }
    return lsns[target] ?? 1
  }

  // MARK: The file

  static func path(dataDirectory: String, subscriber: String) -> String { "\(dataDirectory)/published/\(subscriber)" }

  init() {}

  /// What is there; nothing if that is no such file.
  init(readingFrom path: String) {
    guard let file = fopen(path, "r") else { return }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: Limits.maxFloorsFileBytes)
    let count = fread(&bytes, 1, bytes.count, file)
    let lines = String(decoding: bytes[..<count], as: UTF8.self).split(
      separator: "\n", omittingEmptySubsequences: false)
    // The last line ends as the others do.
    guard lines.first.map(String.init) == PublishedFloors.head, lines.last == "" else { return }
    var found = PublishedFloors()
    for line in lines.dropFirst().dropLast() {
      let parts = line.split(separator: " ")
      guard parts.count == 3, let log = LogUUID(canonical: String(parts[1])), let lsn = UInt64(parts[2]) else { return }
      switch parts[0] {
      case "read": found.cursors[log] = lsn
      case "into": found.lsns[log] = lsn
      default: return
      }
    }
    self = found
  }

  private var text: String {
    func lines(_ word: String, _ places: [LogUUID: UInt64]) -> [String] {
      places.map { "\(word) \($0) \($1)\n" }.sorted()
    }
    // Cut off behind a line it says too little, never too much.
    return PublishedFloors.head + "\n" + (lines("read", cursors) + lines("into", lsns)).joined()
  }

  /// Returns errno, 0 if they are durable.
  func write(to path: String) -> Int32 {
    let directory = Paths.split(path).directory
    let made = Paths.makePrivate(directory)
    guard made == 0 else { return made }
    let temporary = path + ".new"
    let file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard file >= 0 else { return errno }
    var text = text
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
