import CSluice
import DiskSubscriber
import Glibc
import PluginTestSupport
import SluicePluginKit
import Synchronization

private let module = SubscriberModule(
  name: "disk", version: "0", [DiskSubscriber.self, BreakableDisk.self])

/// A disk subscriber in a directory of its own, driven through the C tables.
final class Disk {
  let directory: TemporaryDirectory
  let host = FakeHost()
  let instance: DrivenInstance
  private let sub: String
  private let members: String

  /// `members`: what the config has beside `path`, with a comma before it.
  init(
    _ members: String = "", in directory: TemporaryDirectory = TemporaryDirectory(), at sub: String = "out",
    breakable: Bool = false
  ) {
    self.directory = directory
    self.sub = sub
    self.members = members
    guard let kind = module.table.pointee.subscribers[breakable ? 1 : 0] else { preconditionFailure("no kind") }
    instance = DrivenInstance(kind, host: host)
  }

  var path: String { "\(directory.path)/\(sub)" }
  var names: [String] { directory.names(in: sub) }
  func text(_ name: String = "current.ndjson") -> String? { PluginTestSupport.text(of: "\(path)/\(name)") }

  /// Creates and starts; the code of whichever failed.
  func start() -> slu_rc {
    let created = instance.create("{\"path\":\"\(path)\"\(members)}")
    return created == SLU_OK ? instance.start() : created
  }

  func deliver(_ payloads: [String], firstLSN: UInt64 = 1) -> slu_rc {
    instance.deliver(FakeBatch(payloads, firstLSN: firstLSN))
  }

  func end() {
    _ = instance.stop()
    instance.destroy()
  }
}

/// The disk subscriber over calls that fail when they are told to.
final class BreakableDisk: Subscriber {
  static let kind = "breakable"
  static let summary = ""
  /// What the next instance made on this thread uses: instances of tests that run at once don't share it.
  @TaskLocal static var calls = BreakableCalls()

  private let disk: DiskSubscriber

  init(_ config: DiskConfig, host: Host) throws {
    disk = try DiskSubscriber(config, host: host, calls: BreakableDisk.calls)
  }

  func start(deadline: Deadline) throws { try disk.start(deadline: deadline) }
  func deliver(_ batch: borrowing Batch) throws -> Delivery { try disk.deliver(batch) }
  func stop() throws { try disk.stop() }
}

/// Calls that fail once for each error they are given, and write no more at a time than they may.
final class BreakableCalls: FileCalls {
  struct Plan: Sendable {
    /// Bytes that may still be written before ENOSPC; nil: any.
    var room: Int?
    /// At most this many bytes in one call.
    var most = Int.max
    var writeErrors: [Int32] = []
    var syncErrors: [Int32] = []
    var truncateErrors: [Int32] = []
    var renameErrors: [Int32] = []
    var writes = 0
    var syncs = 0
  }

  let plan = Mutex(Plan())

  func writev(_ fd: Int32, _ pieces: UnsafePointer<iovec>, _ count: Int32) -> Int {
    let allowed = plan.withLock { plan -> Result<Int, Refused> in
      plan.writes += 1
      if !plan.writeErrors.isEmpty { return .failure(Refused(code: plan.writeErrors.removeFirst())) }
      if plan.room == 0 { return .failure(Refused(code: ENOSPC)) }
      return .success(min(plan.most, plan.room ?? Int.max))
    }
    switch allowed {
    case .failure(let refused):
      errno = refused.code
      return -1
    case .success(let limit):
      return writeAtMost(limit, fd, pieces, Int(count))
    }
  }

  private func writeAtMost(_ limit: Int, _ fd: Int32, _ pieces: UnsafePointer<iovec>, _ count: Int) -> Int {
    var bytes: [UInt8] = []
    for index in 0..<count where bytes.count < limit {
      let piece = UnsafeRawBufferPointer(start: pieces[index].iov_base, count: pieces[index].iov_len)
      bytes += piece.prefix(limit - bytes.count)
    }
    let written = Glibc.write(fd, bytes, bytes.count)
    plan.withLock { if let room = $0.room { $0.room = room - written } }
    return written
  }

  func fdatasync(_ fd: Int32) -> Int32 {
    plan.withLock { $0.syncs += 1 }
    return refused(\.syncErrors) ?? Glibc.fdatasync(fd)
  }
  func ftruncate(_ fd: Int32, _ length: Int) -> Int32 { refused(\.truncateErrors) ?? Glibc.ftruncate(fd, length) }
  func rename(_ old: String, _ new: String) -> Int32 { refused(\.renameErrors) ?? Glibc.rename(old, new) }

  private func refused(_ errors: WritableKeyPath<Plan, [Int32]>) -> Int32? {
    guard let code = plan.withLock({ $0[keyPath: errors].isEmpty ? nil : $0[keyPath: errors].removeFirst() }) else {
      return nil
    }
    errno = code
    return -1
  }

  private struct Refused: Error { var code: Int32 }
}
