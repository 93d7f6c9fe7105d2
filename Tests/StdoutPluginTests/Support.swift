import CSluice
import Glibc
import PluginTestSupport
import SluiceCore
import SluicePluginKit
import StdoutSubscriber

private let module = SubscriberModule(name: "stdout", version: "0", [Redirected.self])

/// The stdout subscriber onto a descriptor that the test has.
final class Redirected: Subscriber {
  static let kind = "redirected"
  static let summary = ""
  /// Of the next instance that this task makes.
  @TaskLocal static var descriptor: Int32 = -1

  private let stdout: StdoutSubscriber

  init(_ config: StdoutConfig, host: Host) throws {
    stdout = try StdoutSubscriber(config, host: host, descriptor: Redirected.descriptor)
  }

  func start(deadline: Deadline) throws { try stdout.start(deadline: deadline) }
  func deliver(_ batch: borrowing Batch) throws -> Delivery { try stdout.deliver(batch) }
  func interrupt() { stdout.interrupt() }
}

/// A subscriber that writes to `descriptor`, driven through the C tables.
final class Output {
  let host = FakeHost()
  let instance: DrivenInstance

  init(to descriptor: Int32, _ config: String = "{}") {
    // A write to a pipe that nobody reads must answer EPIPE, as in the daemon.
    signal(SIGPIPE, SIG_IGN)
    guard let kind = module.table.pointee.subscribers[0] else { preconditionFailure("no kind") }
    instance = DrivenInstance(kind, host: host)
    let created = Redirected.$descriptor.withValue(descriptor) { instance.create(config) }
    precondition(created == SLU_OK, "\(instance.error)")
  }

  func end() {
    _ = instance.stop()
    instance.destroy()
  }
}

/// A pipe with room for one page.
final class SmallPipe {
  let reader: Int32
  private(set) var writer: Int32

  init() {
    guard let ends = LinuxCalls.pipe() else { preconditionFailure("no pipe: errno \(errno)") }
    (reader, writer) = ends
    // F_SETPIPE_SZ
    _ = fcntl(writer, 1031, 4096)
  }

  deinit {
    close(reader)
    closeWriter()
  }

  func closeWriter() {
    if writer >= 0 { close(writer) }
    writer = -1
  }
}
