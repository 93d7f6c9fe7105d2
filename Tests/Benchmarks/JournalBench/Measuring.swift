import Glibc
import SluiceCore
import Synchronization

final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  var isSet: Bool { value.load(ordering: .acquiring) }
  func set() { value.store(true, ordering: .releasing) }
}

final class Counter: Sendable {
  private let value = Atomic<Int>(0)
  func add(_ count: Int) { value.add(count, ordering: .relaxed) }
  var total: Int { value.load(ordering: .relaxed) }
}

/// CPU seconds of this process by the first word of each thread's name.
enum ThreadCPU {
  static func now() -> [String: Double] {
    var sums: [String: Double] = [:]
    guard let tasks = opendir("/proc/self/task") else { return sums }
    defer { closedir(tasks) }
    while let entry = readdir(tasks) {
      let id = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      guard let name = content("/proc/self/task/\(id)/comm"), let times = content("/proc/self/task/\(id)/schedstat"),
        let nanoseconds = times.split(separator: " ").first.flatMap({ Double($0) })
      else { continue }
      let group = name.split(whereSeparator: { $0 == " " || $0 == "\n" }).first.map(String.init) ?? "other"
      sums[group, default: 0] += nanoseconds / 1e9
    }
    return sums
  }

  static func content(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var buffer = [UInt8](repeating: 0, count: 8192)
    let count = fread(&buffer, 1, buffer.count, file)
    return String(decoding: buffer[..<count], as: UTF8.self)
  }

  /// As JSON, what was used since `before`.
  static func json(since before: [String: Double]) -> String {
    let after = now()
    let members = after.keys.sorted().map { "\"\($0)\": \((after[$0] ?? 0) - (before[$0] ?? 0))" }
    return "{" + members.joined(separator: ", ") + "}"
  }
}

/// Resident memory in bytes, and of it what is in files and shared memory.
enum Memory {
  static func resident() -> (all: Int, shared: Int) {
    var values: [String: Int] = [:]
    for line in (ThreadCPU.content("/proc/self/status") ?? "").split(separator: "\n") {
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      if words.count > 1, let kilobytes = Int(words[1]) { values[String(words[0])] = kilobytes << 10 }
    }
    return (values["VmRSS:"] ?? 0, values["RssShmem:"] ?? 0)
  }
}
