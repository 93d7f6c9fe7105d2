import CSluice
import Foundation
import Glibc
import PluginTestSupport
import SluicePluginKit
import TestSupport
import Testing

/// Takes everything, and looks at it.
private final class Reader: MessageSubscriber {
  static let kind = "reader"
  static let summary = "Looks at everything."
  private var bytes = 0
  init(_: NoConfiguration, host: SluicePluginKit.Host) throws {}
  func handle(_ message: borrowing Message) throws(Verdict) {
    bytes += message.payload.count
    guard message.payload[0] != UInt8(ascii: "!") else { throw .reject(reason: "begins with !") }
  }
}

private let module = SubscriberModule(name: "reader", version: "1", [Reader.self])

@Suite struct AllocationTests {
  private static let variable = "SLUICE_MALLOC_COUNT"

  @Test("A message that is acknowledged costs no allocation")
  func acknowledgedMessages() throws {
    if let counters = ProcessInfo.processInfo.environment[AllocationTests.variable] {
      try measure(counters)
    } else {
      try runCounted()
    }
  }

  /// Runs this test again in a process whose allocations are counted.
  private func runCounted() throws {
    let directory = TemporaryDirectory()
    let library = "\(directory.path)/malloc_count.so"
    let source = "\(repositoryRoot)/Tests/Benchmarks/malloc_count.c"
    let compiled = try Command.run(["cc", "-O2", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", library, source])
    try #require(compiled.status == 0, "\(compiled.output)")
    let counted = try Command.run([
      "env", "LD_PRELOAD=\(library)", "\(AllocationTests.variable)=\(directory.path)/counters",
      CommandLine.arguments[0],
      "--testing-library", "swift-testing", "--filter", "acknowledgedMessages",
    ])
    #expect(counted.status == 0 && counted.output.contains("1 test"), "\(counted.output)")
  }

  private func measure(_ counters: String) throws {
    let file = open(counters, O_RDONLY | O_CLOEXEC)
    try #require(file >= 0)
    defer { close(file) }
    let size = 256 * 64
    let mapped = try #require(mmap(nil, size, PROT_READ, MAP_SHARED, file, 0))
    defer { munmap(mapped, size) }
    let link = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/thread-self")
    let thread = try #require(link.split(separator: "/").last.flatMap { UInt64($0) })
    let slot = try #require(
      (0..<256).first { mapped.load(fromByteOffset: $0 * 64 + 16, as: UInt64.self) == thread })

    let instance = DrivenInstance(try #require(module.table.pointee.subscribers[0]), host: FakeHost())
    #expect(instance.create("{}") == SLU_OK)
    func allocations(_ batch: FakeBatch) -> UInt64 {
      let before = mapped.load(fromByteOffset: slot * 64, as: UInt64.self)
      let code = instance.deliver(batch)
      let after = mapped.load(fromByteOffset: slot * 64, as: UInt64.self)
      #expect(code == SLU_OK)
      return after - before
    }
    let (few, many) = (FakeBatch(["a"]), FakeBatch([String](repeating: "a", count: 1000)))
    _ = allocations(few)
    #expect(allocations(many) == allocations(few))
    let refused = FakeBatch((0..<1000).map { $0 % 2 == 0 ? "!" : "a" })
    #expect(allocations(refused) > allocations(few), "what is refused is counted, so the counting works")
    instance.destroy()
  }
}
