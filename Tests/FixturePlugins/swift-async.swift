// Accepts batches, three at a time, and settles them when their tasks end: each batch is suspended once, some records are
// retried, and those whose payload begins with x are rejected.

import CSluice
import Glibc
import SluicePluginKit

struct AsyncFixtureConfiguration: SubscriberConfiguration {
  /// Records whose LSN is a multiple of it are retried once.
  var n: Int

  enum CodingKeys: CodingKey { case n }
  static let fields = FieldTable(CodingKeys.self, [.n: Field("", default: 7, minimum: 1)])
}

actor AsyncFixture: AsyncSubscriber {
  static let kind = "swift-async"
  static let summary = "Settles batches from tasks."
  static let batchesInFlight = 3

  private let every: UInt64
  private let path: String
  private var seen: UnsafeMutablePointer<FILE>?

  init(_ configuration: AsyncFixtureConfiguration, host: Host) throws {
    every = UInt64(configuration.n)
    path = host.stateDirectory + "/seen"
  }

  func start() async throws { seen = fopen(path, "a") }

  func deliver(_ batch: OwnedBatch) async throws {
    await Task.yield()
    for index in 0..<batch.count {
      let line = batch.withMessage(at: index) { message in
        let payload = String(decoding: message.payload, as: UTF8.self)
        if payload.hasPrefix("x") {
          batch.settle(index..<(index + 1), .reject(code: 5, reason: "begins with x"))
        } else if message.lsn % every == 0, message.attempt == 1 {
          batch.settle(index..<(index + 1), .retry(reason: "once more"))
        }
        return "\(message.lsn) \(message.attempt) \(payload)\n"
      }
      fputs(line, seen)
    }
    fflush(seen)
    await Task.yield()
  }

  func stop() async throws {
    fputs("stopped\n", seen)
    if let seen { fclose(seen) }
  }
}

private let module = SubscriberModule(name: "swift-async", version: "1", [AsyncFixture.self])

/// The one symbol that the plugin exports.
@c @implementation
public func sluice_module_v1(_ hostMinor: UInt32) -> UnsafePointer<slu_module>! { module.table }
