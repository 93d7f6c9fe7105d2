// Plain text, cut into lines.
//
//   line      bytes up to LF; a CR right before the LF is not part of it. It may be empty, and need not be UTF-8.
//   last      what stands behind the last LF when the input ends, if anything does; a CR there is part of it
//   too long  more than `maxBytes`: told once, as soon as it is known, and passed over up to its LF
//
//   taking ──► taking      a line, or one too long whose LF is at hand
//   taking ──► skipping    more than `maxBytes` without LF
//   skipping ──► taking    LF
//
// The splitter is given the bytes of the unfinished line and whatever follows, and never looks at a byte twice. How the
// bytes were cut into reads cannot change what it says.

import Glibc
import SluiceCore

struct LineSplitter {
  enum Step: Equatable {
    case line(Range<Int>, next: Int)
    case tooLong(next: Int)
    /// The end of a line that was called too long.
    case skipped(next: Int)
    /// Nothing more is whole; what comes next follows the bytes from `keep` on.
    case more(keep: Int)
  }

  /// May be another from one call to the next.
  var maxBytes: Int
  private(set) var isSkipping = false
  /// Bytes of the unfinished line that are known to have no LF.
  private var searched = 0

  init(maxBytes: Int) { self.maxBytes = maxBytes }

  /// What stands in `bytes` from `start` on, where a line begins or goes on. A line that could not be used is found again
  /// by the same call.
  @inline(__always)
  mutating func next(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Step {
    let from = start + searched
    guard from < bytes.count, let base = bytes.baseAddress,
      let found = memchr(base + from, 0x0A, bytes.count - from)
    else { return unfinished(bytes.count, from: start) }
    let feed = UnsafeRawPointer(found) - base
    searched = 0
    guard !isSkipping else {
      isSkipping = false
      return .skipped(next: feed + 1)
    }
    let end = feed > start && bytes[feed - 1] == 0x0D ? feed - 1 : feed
    return end - start <= maxBytes ? .line(start..<end, next: feed + 1) : .tooLong(next: feed + 1)
  }

  private mutating func unfinished(_ count: Int, from start: Int) -> Step {
    searched = 0
    if isSkipping { return .more(keep: count) }
    // One byte more may be the CR.
    if count - start > maxBytes + 1 {
      isSkipping = true
      return .tooLong(next: count)
    }
    searched = count - start
    return .more(keep: start)
  }

  /// The input ends behind `bytes`, in which there is no LF from `start` on.
  func last(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Step {
    if isSkipping || start >= bytes.count { return .more(keep: bytes.count) }
    return bytes.count - start <= maxBytes
      ? .line(start..<bytes.count, next: bytes.count) : .tooLong(next: bytes.count)
  }
}

/// How lines become records of one stream.
///
/// `@unchecked Sendable`: constant after `init`; the topic's bytes are freed with the last reference.
final class LineFormat: @unchecked Sendable {
  let topic: UnsafeRawBufferPointer

  init(topic: String) {
    let count = topic.utf8.count
    precondition(count <= Limits.maxTopicBytes, "the topology checks topics")
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
    bytes.copyBytes(from: topic.utf8)
    self.topic = UnsafeRawBufferPointer(bytes)
  }

  deinit { topic.deallocate() }

  /// A line of this length is a record of the largest size.
  func maxLineBytes(maxRecordBytes: Int) -> Int {
    let fixed = Limits.serverPartBytes + Limits.producerFixedBytes + RecordLayout.padded(topic.count)
    return max(0, maxRecordBytes - fixed) & ~7
  }
}
