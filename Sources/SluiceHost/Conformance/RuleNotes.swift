// The memory that a rule's process shares with the one that started it, so that what was written down is there however the
// process ended.
//
//      0  u32  bytes of what it is doing, then the text
//   2048  u32  status: 0 none yet, else 1 + the index in RuleStatus.allCases
//   2052  u32  bytes of the reason, then the text
//  16384       what is asked: JSON, up to the end
//
// Each side writes its own part only. The reader checks lengths: a plugin may have written over them.

import Glibc
import SluiceCore

/// One thread's own.
final class RuleNotes {
  private static let status = 2048
  private static let request = 16 << 10

  let descriptor: Int32
  private let base: UnsafeMutableRawPointer
  private let count: Int

  /// New memory, with what is asked in it; nil, and errno, when there is none to be had.
  init?(request: String) {
    var request = request
    count = RuleNotes.request + request.utf8.count
    descriptor = LinuxCalls.memoryFile("rule")
    guard descriptor >= 0 else { return nil }
    guard ftruncate(descriptor, off_t(count)) == 0,
      let base = mmap(nil, count, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), base != MAP_FAILED
    else {
      close(descriptor)
      return nil
    }
    self.base = base
    request.withUTF8 { (base + RuleNotes.request).copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
  }

  /// Somebody else's memory; nil when it is none.
  init?(descriptor: Int32) {
    var about = stat()
    guard fstat(descriptor, &about) == 0, about.st_size > RuleNotes.request,
      let base = mmap(nil, Int(about.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), base != MAP_FAILED
    else { return nil }
    self.descriptor = descriptor
    self.base = base
    count = Int(about.st_size)
  }

  deinit {
    munmap(base, count)
    close(descriptor)
  }

  var request: String {
    String(
      decoding: UnsafeRawBufferPointer(start: base + RuleNotes.request, count: count - RuleNotes.request), as: UTF8.self
    )
  }

  /// What the process is doing, for the case that it is the last thing it does.
  var phase: String {
    get { text(at: 0, limit: Limits.conformancePhaseBytes) }
    set { put(newValue, at: 0, limit: Limits.conformancePhaseBytes) }
  }

  var verdict: RuleVerdict? {
    get {
      let number = Int((base + RuleNotes.status).load(as: UInt32.self))
      guard (1...RuleStatus.allCases.count).contains(number) else { return nil }
      return RuleVerdict(
        status: RuleStatus.allCases[number - 1],
        reason: text(at: RuleNotes.status + 4, limit: Limits.conformanceReasonBytes))
    }
    set {
      guard let newValue, let index = RuleStatus.allCases.firstIndex(of: newValue.status) else { return }
      put(newValue.reason, at: RuleNotes.status + 4, limit: Limits.conformanceReasonBytes)
      (base + RuleNotes.status).storeBytes(of: UInt32(index + 1), as: UInt32.self)
    }
  }

  private func text(at offset: Int, limit: Int) -> String {
    let bytes = Int(min((base + offset).load(as: UInt32.self), UInt32(limit)))
    return String(decoding: UnsafeRawBufferPointer(start: base + offset + 4, count: bytes), as: UTF8.self)
  }

  private func put(_ text: String, at offset: Int, limit: Int) {
    var text = text
    text.withUTF8 { bytes in
      let bytes = bytes.prefix(limit)
      if let first = bytes.baseAddress { (base + offset + 4).copyMemory(from: first, byteCount: bytes.count) }
      (base + offset).storeBytes(of: UInt32(bytes.count), as: UInt32.self)
    }
  }
}

extension Slice<UnsafeBufferPointer<UInt8>> {
  fileprivate var baseAddress: UnsafePointer<UInt8>? { UnsafeBufferPointer(rebasing: self).baseAddress }
}
