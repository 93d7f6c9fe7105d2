// Takes one message after the other. What begins with r is retried once, what begins with x is rejected.

import CSluice
import Glibc
import SluicePluginKit

final class MessageFixture: MessageSubscriber {
  static let kind = "swift-messages"
  static let summary = "Throws verdicts."

  private let seen: UnsafeMutablePointer<FILE>?

  init(_: NoConfiguration, host: Host) throws { seen = fopen(host.stateDirectory + "/seen", "a") }

  func handle(_ message: borrowing Message) throws(Verdict) {
    let payload = String(decoding: message.payload, as: UTF8.self)
    fputs("\(message.lsn) \(message.attempt) \(payload)\n", seen)
    if payload.hasPrefix("r"), message.attempt == 1 { throw .retry(reason: "once more") }
    if payload.hasPrefix("x") { throw .reject(code: 5, reason: "begins with x") }
  }

  func stop() throws {
    if let seen { fclose(seen) }
  }
}

private let module = SubscriberModule(name: "swift-messages", version: "1", [MessageFixture.self])

/// The one symbol that the plugin exports.
@c @implementation
public func sluice_module_v1(_ hostMinor: UInt32) -> UnsafePointer<slu_module>! { module.table }
