import NIOCore
import SluiceCore
import Synchronization

/// What an HTTP source is told by the topology.
package struct HTTPSourceOptions: Sendable {
  package var name: String
  package var defaultTopic: String
  package var maxBodyBytes: Int
  package var headerSeconds = Limits.httpHeaderSeconds
  package var bodySeconds = Limits.httpBodySeconds
  package var idleSeconds = Limits.httpIdleSeconds
  package var maxPipelinedRequests = Limits.maxPipelinedRequests
  /// Of all loops together; one more is closed at once, and counted.
  package var maxConnections = Limits.defaultMaxConnections
  /// Bytes of unfinished requests that all connections together may make the source hold.
  package var maxHeldBytes = Limits.maxHeldBytes
  /// With `when_full: block`: how long a request waits for room. Nil: it is refused at once.
  package var blockNanoseconds: Int64?

  package init(
    name: String, defaultTopic: String = "", maxBodyBytes: Int = Limits.defaultMaxRecordBytes
  ) {
    precondition(defaultTopic.utf8.count <= Limits.maxTopicBytes, "the topology checks topics")
    precondition(maxBodyBytes > 0 && maxBodyBytes <= Limits.maxMaxBodyBytes, "the topology checks max_body")
    self.name = name
    self.defaultTopic = defaultTopic
    self.maxBodyBytes = maxBodyBytes
  }

  /// A time limit in seconds, as the sweep counts them: never shorter than what was asked for.
  package static func seconds(_ nanoseconds: Int64) -> Int { Int((nanoseconds - 1) / 1_000_000_000) + 1 }
}

/// What `/health`, `/ready` and `/metrics` show. Called on an event loop: must not block.
package protocol ControlEndpoints: Sendable {
  /// Whether the process lives and data flows.
  func health() -> (ok: Bool, json: String)
  /// Whether every stream and subscriber is up.
  func ready() -> (ok: Bool, json: String)
  func metricFamilies() -> [MetricFamily]
}

/// What all loops of one source share.
///
/// `@unchecked Sendable`: constant after `init` but for two atomics; the topic's bytes are written once there and freed
/// with the last reference.
final class HTTPSettings: @unchecked Sendable {
  let name: String
  let options: HTTPSourceOptions
  let limits: HTTPLimits
  let stream: (any IngestStream)?
  let endpoints: any ControlEndpoints
  let defaultTopic: UnsafeRawBufferPointer
  let openConnections = Atomic<Int>(0)
  let heldBytes = Atomic<Int>(0)

  init(_ options: HTTPSourceOptions, stream: (any IngestStream)?, endpoints: any ControlEndpoints) {
    name = options.name
    self.options = options
    self.stream = stream
    self.endpoints = endpoints
    limits = HTTPLimits(
      requestLineBytes: Limits.maxRequestLineBytes, headerBytes: Limits.maxHeaderBytes,
      headerCount: Limits.maxHeaderCount, bodyBytes: options.maxBodyBytes, trailerBytes: Limits.maxTrailerBytes)
    let topic = UnsafeMutableRawBufferPointer.allocate(byteCount: options.defaultTopic.utf8.count, alignment: 1)
    topic.copyBytes(from: options.defaultTopic.utf8)
    defaultTopic = UnsafeRawBufferPointer(topic)
  }

  deinit { defaultTopic.deallocate() }
}
