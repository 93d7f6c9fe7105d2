import CSluice
import Foundation
import PluginTestSupport
import PostgresSubscriber
import PostgresTestSupport
import SluicePluginKit
import Synchronization
import Testing

private let module = SubscriberModule(name: "postgres", version: "0", [PostgresSubscriber.self])

/// One server for all tests that leave it alone. It ends with the process.
private let shared = Result { try PostgresServer() }
func sharedServer() throws -> PostgresServer { try shared.get() }

/// A subscriber, driven through the C tables, and a table of its own.
final class Sink {
  let server: PostgresServer
  let name: String
  let host = FakeHost()
  let instance: DrivenInstance

  /// `table`: SQL of its columns, to make it beforehand.
  init(_ server: PostgresServer, table: String? = nil) throws {
    self.server = server
    name = "t_" + UUID().uuidString.lowercased().filter { $0 != "-" }
    guard let kind = module.table.pointee.subscribers[0] else { preconditionFailure("no kind") }
    instance = DrivenInstance(kind, host: host)
    if let table { try server.sql("CREATE TABLE \(name) (\(table))") }
  }

  static let columns = "time timestamptz, source text, topic text, message text, body jsonb"

  /// Creates and starts; the code of whichever failed. `members`: what the config has beside url and table.
  func start(_ members: String = "", url: String? = nil) -> slu_rc {
    let url = (url ?? server.url()).replacingOccurrences(of: "\"", with: "\\\"")
    let created = instance.create(#"{"url":"\#(url)","table":"\#(name)"\#(members)}"#)
    return created == SLU_OK ? instance.start() : created
  }

  func deliver(_ payloads: [String], firstLSN: UInt64 = 1) -> slu_rc {
    instance.deliver(FakeBatch(payloads, firstLSN: firstLSN))
  }

  /// On a thread of its own.
  func deliverAside(_ payloads: [String], firstLSN: UInt64 = 1) -> Pending<slu_rc> {
    // Nobody else touches the instance until the answer is there.
    nonisolated(unsafe) let instance = instance
    return Pending { instance.deliver(FakeBatch(payloads, firstLSN: firstLSN)) }
  }

  func rows(_ columns: String = "message") throws -> [String] {
    try server.sql("SELECT \(columns) FROM \(name) ORDER BY message").split(separator: "\n").map(String.init)
  }

  func count() throws -> Int { try server.count("SELECT count(*) FROM \(name)") }

  func metric(_ name: String) -> Int {
    let record = host.record
    return record.metricNames.firstIndex(of: name).map { Int(record.metricValues[$0]) } ?? -1
  }

  /// Offset in the batch and reason of each rejected record.
  var rejected: [Int: String] {
    Dictionary(
      host.record.settled.filter { $0.verdict == SLU_REJECT }
        .map { (Int($0.first - FakeBatch.firstToken), $0.reason) }, uniquingKeysWith: { first, _ in first })
  }

  func end() {
    _ = instance.stop()
    instance.destroy()
  }
}

/// What another thread works out.
final class Pending<Value: Sendable>: Sendable {
  private let value = Mutex<Value?>(nil)
  private let done = DispatchSemaphore(value: 0)

  init(_ work: @escaping @Sendable () -> Value) {
    Thread.detachNewThread {
      let result = work()
      self.value.withLock { $0 = result }
      self.done.signal()
    }
  }

  /// Nil if it takes longer than two minutes.
  func get() -> Value? {
    _ = done.wait(timeout: .now() + 120)
    return value.withLock { $0 }
  }
}

/// Asks again and again until it is so; false after two minutes.
func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
  let deadline = Date() + 120
  while Date() < deadline {
    if try condition() { return true }
    _ = poll(nil, 0, 5)
  }
  return try condition()
}

/// A session of somebody else's.
func otherSession(_ server: PostgresServer) throws -> PostgresConnection {
  try PostgresConnection(
    url: server.socketURL(), interruption: try Interruption(), until: Interruption.now + 60_000_000_000)
}

extension PostgresConnection {
  @discardableResult
  func sql(_ text: String) throws -> [[String?]] { try run(text, until: Interruption.now + 60_000_000_000) }
}
