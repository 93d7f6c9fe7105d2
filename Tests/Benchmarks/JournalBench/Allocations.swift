import Glibc

/// Allocations by the first word of each thread's name, when the process runs under malloc_count.so, which has the layout.
enum Allocations {
  private static let slots = 256
  private static let slotBytes = 64

  /// By thread, since a thread that is about to begin has another name yet. Nil without malloc_count.so.
  static func now() -> [UInt64: UInt64]? {
    guard let path = getenv("SLUICE_MALLOC_COUNT"), let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var words = [UInt64](repeating: 0, count: slots * slotBytes / 8)
    guard fread(&words, slotBytes, slots, file) == slots else { return nil }
    var counts: [UInt64: UInt64] = [:]
    for slot in 0..<slots where words[slot * slotBytes / 8 + 2] != 0 {
      counts[words[slot * slotBytes / 8 + 2], default: 0] += words[slot * slotBytes / 8]
    }
    return counts
  }

  /// As JSON, what there was since `before`.
  static func json(since before: [UInt64: UInt64]?) -> String {
    guard let before, let after = now() else { return "null" }
    var sums: [String: UInt64] = [:]
    for (thread, count) in after {
      // One that has ended is counted by nobody, as in ThreadCPU.
      guard let name = ThreadCPU.content("/proc/self/task/\(thread)/comm") else { continue }
      let group = name.split(whereSeparator: { $0 == " " || $0 == "\n" }).first.map(String.init) ?? "other"
      sums[group, default: 0] += count - (before[thread] ?? 0)
    }
    return "{" + sums.keys.sorted().map { "\"\($0)\": \(sums[$0] ?? 0)" }.joined(separator: ", ") + "}"
  }
}
