import CSluice
import Glibc
import SluiceCore
import Synchronization
import Testing

@testable import SluiceHost

/// What a plugin says in a process of its own, as the daemon hears it. Which of two threads is first can't be told from
/// outside, so where that matters they are given many chances to meet.
@Suite struct RunnerHostTests {
  private static let calls: UInt64 = 100_000

  /// A plugin's process with two threads within the test's, and the daemon's end of what leads to it.
  private final class Process: Sendable {
    let daemon: PacketChannel
    private let channel: PacketChannel
    private let host = Mutex<RunnerHost?>(nil)
    private let isOver = Atomic<Bool>(false)
    private let threads = Mutex<[OSThread]>([])

    /// `own`: what the instance's thread does; `other`: what another one does all the time.
    init(
      own: @escaping @Sendable (RunnerHost, PacketChannel) -> Void, other: (@Sendable (RunnerHost) -> Void)? = nil
    ) throws {
      var ends: [Int32] = [0, 0]
      try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
      (daemon, channel) = (PacketChannel(ends[0]), PacketChannel(ends[1]))
      threads.withLock { threads in
        threads.append(
          OSThread(name: "instance") { [self] in
            let made = RunnerHost(channel, hostVersion: "test", instance: "it", stateDirectory: "/nowhere", slots: 2)
            host.withLock { $0 = made }
            own(made, channel)
          })
        guard let other else { return }
        threads.append(
          OSThread(name: "another") { [self] in
            while !isOver.load(ordering: .acquiring) {
              if let host = host.withLock({ $0 }) { other(host) }
            }
          })
      }
    }

    func end() {
      isOver.store(true, ordering: .releasing)
      daemon.shut()
      for thread in threads.withLock({ $0 }) { thread.join() }
    }
  }

  @Test("A verdict comes before the return of the call that it was said in, whatever another thread says meanwhile")
  func verdictsBeforeReturns() throws {
    let process = try Process { host, _ in
      for token in 1...Self.calls {
        host.beginCall()
        var item = slu_settlement()
        (item.first_token, item.count, item.verdict) = (token, 1, UInt32(SLU_REJECT))
        _ = host.table.pointee.settle(host.table.pointee.context, &item, 1)
        host.reply { $0.put(token) }
      }
    } other: {
      $0.table.pointee.metric_add($0.table.pointee.context, 1, 1)
    }
    defer { process.end() }
    var settled: UInt64 = 0
    while settled < Self.calls, var packet = try process.daemon.receive() {
      if packet.kind == .settle { settled += 1 }
      if packet.kind == .reply {
        let returned = try packet.payload.number(UInt64.self)
        try #require(settled >= returned, "the return overtook the verdict")
      }
    }
    #expect(settled == Self.calls)
  }

  @Test("A batch that a thread lets go of is free for the daemon before the instance retains another in its place")
  func releasesBeforeRetains() throws {
    let retained = Mutex<UInt64>(0)
    let process = try Process { host, channel in
      let message = UnsafeMutablePointer<slu_message>.allocate(capacity: 1)
      message.initialize(to: slu_message())
      defer { message.deallocate() }
      var batch = slu_batch()
      (batch.count, batch.messages, batch.lease_bytes) = (1, UnsafePointer(message), 4096)
      while var packet = try? channel.receive(), let slot = try? packet.payload.number(UInt32.self) {
        batch.lease += 1
        host.beginCall()
        host.beginDelivery(batch, slot: slot)
        let rc = host.table.pointee.retain(host.table.pointee.context, batch.lease)
        if rc == SLU_OK { retained.withLock { $0 = batch.lease } }
        let isRetained = host.endDelivery(firstToken: 0, rc: SLU_OK)
        host.reply { $0.put(UInt8(isRetained ? 1 : 0)) }
      }
    } other: { host in
      let lease = retained.withLock { lease in
        defer { lease = 0 }
        return lease
      }
      if lease > 0 { host.table.pointee.release(host.table.pointee.context, lease) }
    }
    defer { process.end() }
    var slots = SlotTable(count: 2)
    for _ in 0..<Self.calls / 4 {
      let taken = slots.take()
      let slot = try #require(taken)
      process.daemon.send(Say.packet(.deliver) { $0.put(UInt32(slot)) })
      var isDelivered = false
      while !isDelivered {
        let received = try process.daemon.receive()
        var packet = try #require(received)
        switch packet.kind {
        case .release: try slots.release(Int(try packet.payload.number(UInt32.self)))
        default:
          try slots.end(isRetained: try packet.payload.number(UInt8.self) == 1)
          isDelivered = true
        }
      }
    }
  }

  @Test(
    "As many verdicts as a plugin gives in one call come in packets that the daemon takes",
    arguments: [
      (300_000, 0), (8192, Limits.maxVerdictReasonBytes),
    ])
  func manyVerdicts(count: Int, reasonBytes: Int) throws {
    let process = try Process { host, _ in
      let reason = [UInt8](repeating: UInt8(ascii: "r"), count: reasonBytes)
      reason.withUnsafeBytes { reason in
        let items = (0..<count).map { index in
          var item = slu_settlement()
          (item.first_token, item.count, item.verdict) = (UInt64(index) + 1, 1, UInt32(SLU_REJECT))
          item.reason = slu_bytes(reason)
          return item
        }
        host.beginCall()
        _ = host.table.pointee.settle(host.table.pointee.context, items, UInt32(count))
        host.reply { _ in }
      }
    }
    defer { process.end() }
    var last: UInt64 = 0
    while var packet = try process.daemon.receive(), packet.kind == .settle {
      for _ in 0..<(try packet.payload.count(least: Limits.isolationSettlementBytes)) {
        last += 1
        #expect(try packet.payload.number(UInt64.self) == last)
        _ = try packet.payload.fixed(16)
        #expect(try packet.payload.raw().count == reasonBytes)
      }
      try packet.payload.end()
    }
    #expect(last == UInt64(count))
  }
}
