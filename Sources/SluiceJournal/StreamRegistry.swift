import SluiceCore

// Which log each stream of a data directory has: DATA/streams.registry, beside the directory streams/ whose loss it is
// to notice. Text, for people too; docs/log-format.md has an example.
//
//   line 1      sluice streams 1                       the format's version
//   then        NAME UUID CREATED LAST                 one for each stream, by name: the log it has; when that was first
//                                                      seen, ns since 1970; the last LSN known durable at an orderly end
//   last line   crc32c XXXXXXXX                        of all bytes before this line, in lower-case hexadecimal
//
// Valid ⇔ every line has its form ∧ no name and no UUID stands twice ∧ the checksum is right. A new registry is written
// to streams.registry.tmp and synced, then renamed over the old one, and the directory is synced: a crash leaves one of
// the two. Streams that the topology has no longer stay in it: their directories do too.
//
// It is a witness, never an authority: what is in the directories counts. A registry that is missing or damaged is made
// anew from them, which costs only that what was wiped before can't be recognised. It is written after a log is open,
// so a crash may leave a log that it does not know, which is then registered as found.

package struct StreamRegistry: Equatable, Sendable {
  package struct Entry: Equatable, Sendable {
    package var name: String
    package var uuid: LogUUID
    package var createdTime: Int64
    package var lastLSN: UInt64

    package init(name: String, uuid: LogUUID, createdTime: Int64, lastLSN: UInt64 = 0) {
      self.name = name
      self.uuid = uuid
      self.createdTime = createdTime
      self.lastLSN = lastLSN
    }
  }

  /// Why the bytes are no registry.
  package enum Fault: Error, Equatable {
    case version(String)
    case checksum
    /// The number of the line, from 1.
    case line(Int)
  }

  package static let fileName = "streams.registry"
  private static let head = "sluice streams "
  private static let version = "1"

  private var byName: [String: Entry] = [:]

  package init() {}

  package var entries: [Entry] { byName.values.sorted { $0.name < $1.name } }
  package subscript(name: String) -> Entry? { byName[name] }

  /// The stream that is known to have this log.
  package func owner(of uuid: LogUUID) -> Entry? { byName.values.first { $0.uuid == uuid } }

  /// From now on the stream has this log, and no other stream does.
  package mutating func set(_ entry: Entry) {
    if let before = owner(of: entry.uuid) { byName[before.name] = nil }
    byName[entry.name] = entry
  }

  /// The stream never had this log.
  package mutating func remove(_ name: String, _ uuid: LogUUID) {
    if byName[name]?.uuid == uuid { byName[name] = nil }
  }

  // MARK: Bytes

  package func encoded() -> [UInt8] {
    var text = StreamRegistry.head + StreamRegistry.version + "\n"
    for entry in entries { text += "\(entry.name) \(entry.uuid) \(entry.createdTime) \(entry.lastLSN)\n" }
    return Array((text + "crc32c \(StreamRegistry.checksum(of: Array(text.utf8)))\n").utf8)
  }

  package init(decoding bytes: [UInt8]) throws(Fault) {
    guard let text = String(validating: bytes, as: UTF8.self), text.last == "\n" else { throw .checksum }
    let lines = text.dropLast().split(separator: "\n", omittingEmptySubsequences: false)
    guard let first = lines.first, first.hasPrefix(StreamRegistry.head) else { throw .line(1) }
    guard first.dropFirst(StreamRegistry.head.count) == StreamRegistry.version else {
      throw .version(String(first.dropFirst(StreamRegistry.head.count)))
    }
    guard lines.count >= 2, let last = lines.last else { throw .checksum }
    let body = Array(bytes.dropLast(last.utf8.count + 1))
    guard last == "crc32c \(StreamRegistry.checksum(of: body))" else { throw .checksum }
    for (index, line) in lines.dropFirst().dropLast().enumerated() {
      guard let entry = Entry(line: line), byName[entry.name] == nil, owner(of: entry.uuid) == nil else {
        throw .line(index + 2)
      }
      byName[entry.name] = entry
    }
  }

  private static func checksum(of bytes: [UInt8]) -> String {
    let digits = String(bytes.withUnsafeBytes { CRC32C.of($0) }, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}

extension StreamRegistry.Entry {
  /// Nil when the line is no entry.
  fileprivate init?(line: Substring) {
    let fields = line.split(separator: " ", omittingEmptySubsequences: false)
    guard fields.count == 4, !fields[0].isEmpty, !fields[0].contains("/"),
      let uuid = LogUUID(canonical: String(fields[1])), let created = Int64(fields[2]),
      let last = UInt64(fields[3]), last < Limits.maxLSN
    else { return nil }
    self.init(name: String(fields[0]), uuid: uuid, createdTime: created, lastLSN: last)
  }
}

// MARK: - What a directory is to a stream

/// How the log in a stream's directory stands to what is known of that stream.
package enum LogStanding: Equatable, Sendable {
  /// Neither the registry nor the directory has anything.
  case new
  /// The log that the stream had before.
  case known
  /// A log that nobody knew, in the directory of a stream that nobody knew.
  case found
  /// The log of a stream that is no more, whose own directory has it no longer: somebody renamed it.
  case moved(from: String)
  /// Nothing is there, and the stream had a log. `now`: the directory that holds it now, if there is one.
  case wiped(was: StreamRegistry.Entry, now: String?)
  /// A log that nobody knew is in the place of the stream's.
  case replaced(was: StreamRegistry.Entry, by: LogUUID)
  /// The directory has the log of another stream: they were swapped, or one was copied.
  case foreign(owner: String, LogUUID)
  /// Files of a log that do not say of which. `was`: what the stream had.
  case unreadable(was: StreamRegistry.Entry?)
}

extension StreamRegistry {
  /// `elsewhere`: which logs the other directories hold. `streams`: those that are open or are to be.
  package func standing(
    of name: String, found: LogIdentity, elsewhere: [String: LogUUID], streams: Set<String>
  ) -> LogStanding {
    let own = self[name]
    let uuid: LogUUID
    switch found {
    case .unreadable: return .unreadable(was: own)
    case .none:
      guard let own else { return .new }
      return .wiped(was: own, now: elsewhere.filter { $0.value == own.uuid }.keys.min())
    case .log(let held): uuid = held
    }
    if own?.uuid == uuid { return .known }
    let twins = elsewhere.filter { $0.value == uuid }.keys
    if let owner = owner(of: uuid)?.name {
      let isMoved = own == nil && !streams.contains(owner) && !twins.contains(owner)
      return isMoved ? .moved(from: owner) : .foreign(owner: owner, uuid)
    }
    if let twin = twins.filter(streams.contains).min() { return .foreign(owner: twin, uuid) }
    return own.map { .replaced(was: $0, by: uuid) } ?? .found
  }
}
