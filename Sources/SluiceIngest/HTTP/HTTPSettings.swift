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
  package var lingerSeconds = Limits.defaultLingerSeconds
  package var maxPipelinedRequests = Limits.maxPipelinedRequests
  /// Of all loops together; one more is turned away, and counted.
  package var maxConnections = Limits.defaultMaxConnections
  /// Bytes of unfinished requests that all connections together may make the source hold, and as many of waiting ones.
  package var maxHeldBytes = Limits.maxHeldBytes
  package var authentication = SourceAuthentication.none
  /// The admin listener: what this machine's own clients are shown is not shown to web pages of others. Nil elsewhere; else
  /// the name that it listens on.
  package var checkedHost: String?
  /// With `when_full: block`: how long a request waits for room. Nil: it is refused at once.
  package var blockNanoseconds: Int64?
  /// Nil: connections are plain.
  package var tls: TLSMaterial?
  /// That of the source whose place this one takes.
  package var load = SourceLoad()
  package var clock = SourceClock.system

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
  /// Where data doesn't flow.
  func health() -> [String]
  /// Which streams and subscribers are not up.
  func readiness() -> [String]
  func metricFamilies() -> [MetricFamily]
}

/// What all loops of one source share.
///
/// `@unchecked Sendable`: constant after `init` but for an atomic; the topic's bytes are written once there and freed
/// with the last reference.
final class HTTPSettings: @unchecked Sendable {
  let name: String
  let options: HTTPSourceOptions
  let limits: HTTPLimits
  let stream: (any IngestStream)?
  let endpoints: any ControlEndpoints
  let defaultTopic: UnsafeRawBufferPointer
  /// Whether a request has to be looked at before it is served.
  let isGuarded: Bool
  /// Of this source alone, without the one before.
  let openConnections = Atomic<Int>(0)
  var load: SourceLoad { options.load }
  private let expandsGzip: Bool
  private let expandsZstd: Bool

  init(_ options: HTTPSourceOptions, stream: (any IngestStream)?, endpoints: any ControlEndpoints) {
    name = options.name
    self.options = options
    self.stream = stream
    self.endpoints = endpoints
    isGuarded =
      options.authentication.authority != nil || options.authentication.demand == .required
      || options.checkedHost != nil
    limits = HTTPLimits(
      requestLineBytes: Limits.maxRequestLineBytes, headerBytes: Limits.maxHeaderBytes,
      headerCount: Limits.maxHeaderCount, bodyBytes: options.maxBodyBytes, trailerBytes: Limits.maxTrailerBytes)
    // Asked here, where no loop waits for the files that this may read.
    expandsGzip = BodyExpander.expands(.gzip)
    expandsZstd = BodyExpander.expands(.zstd)
    let topic = UnsafeMutableRawBufferPointer.allocate(byteCount: options.defaultTopic.utf8.count, alignment: 1)
    topic.copyBytes(from: options.defaultTopic.utf8)
    defaultTopic = UnsafeRawBufferPointer(topic)
  }

  deinit { defaultTopic.deallocate() }

  func expands(_ coding: HTTPCoding) -> Bool {
    switch coding {
    case .identity: true
    case .gzip: expandsGzip
    case .zstd: expandsZstd
    case .other: false
    }
  }

  /// Those that `expands`, as `Accept-Encoding` has them.
  var codings: String { (expandsGzip ? "gzip, " : "") + (expandsZstd ? "zstd, " : "") + "identity" }
}
