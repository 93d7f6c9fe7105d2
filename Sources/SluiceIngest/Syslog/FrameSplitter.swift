// How a connection's bytes become messages: lines, or with `countsOctets` what RFC 6587 has, both ways mixed.
//
//   "<digits> " up to seven digits, the first not 0      as many bytes as they say, then the next message
//   anything else                                        a line, up to LF
//
// Each message says for itself, as rsyslog takes it. A count of more digits is none, so that its bytes are a line: there the
// next message is found again. A message that is too long is passed over by its count, or up to its LF. Like that of lines,
// the answer does not depend on how the bytes were cut into reads.

import SluiceCore

struct FrameSplitter {
  private enum Start {
    case line
    case counted(first: Int, count: Int)
    /// More bytes will tell.
    case open
  }

  private let countsOctets: Bool
  private var lines: LineSplitter
  /// Bytes of a counted message that are passed over.
  private var toSkip = 0

  init(maxBytes: Int, countsOctets: Bool) {
    self.countsOctets = countsOctets
    lines = LineSplitter(maxBytes: maxBytes)
  }

  /// Of a message; may be another from one call to the next.
  var maxBytes: Int {
    get { lines.maxBytes }
    set { lines.maxBytes = newValue }
  }

  /// As `LineSplitter.next`.
  @inline(__always)
  mutating func next(_ bytes: UnsafeRawBufferPointer, from start: Int) -> LineSplitter.Step {
    guard countsOctets, !lines.isSkipping else { return lines.next(bytes, from: start) }
    return nextMessage(bytes, from: start)
  }

  private mutating func nextMessage(_ bytes: UnsafeRawBufferPointer, from start: Int) -> LineSplitter.Step {
    if toSkip > 0 {
      let there = min(toSkip, bytes.count - start)
      toSkip -= there
      return toSkip == 0 ? .skipped(next: start + there) : .more(keep: start + there)
    }
    switch Self.begin(bytes, start) {
    case .line: return lines.next(bytes, from: start)
    case .open: return .more(keep: start)
    case .counted(let first, let count):
      if count > lines.maxBytes {
        let there = min(count, bytes.count - first)
        toSkip = count - there
        return .tooLong(next: first + there)
      }
      guard first + count <= bytes.count else { return .more(keep: start) }
      return .line(first..<first + count, next: first + count)
    }
  }

  private static func begin(_ bytes: UnsafeRawBufferPointer, _ start: Int) -> Start {
    guard start < bytes.count else { return .open }
    guard bytes[start] != UInt8(ascii: "0") else { return .line }
    var at = start
    var count = 0
    while at < bytes.count, let digit = SyslogReader.digit(bytes[at]) {
      guard at - start < Limits.maxSyslogCountDigits else { return .line }
      count = count * 10 + digit
      at += 1
    }
    guard at < bytes.count else { return .open }
    return at > start && bytes[at] == 0x20 ? .counted(first: at + 1, count: count) : .line
  }

  /// As `LineSplitter.last`. A counted message that is not whole is not taken: it follows the bytes from `keep` on.
  func last(_ bytes: UnsafeRawBufferPointer, from start: Int) -> LineSplitter.Step {
    guard countsOctets, !lines.isSkipping else { return lines.last(bytes, from: start) }
    guard toSkip == 0 else { return .more(keep: bytes.count) }
    if case .counted = Self.begin(bytes, start) { return .more(keep: start) }
    return lines.last(bytes, from: start)
  }
}
