import SluiceCore
import Synchronization

/// What a framed TCP source is told by the topology.
package struct TCPSourceOptions: Sendable {
  package var name: String
  /// `when_full: block`: records that find no room wait, and their connection is not read.
  package var blocksWhenFull = false
  package var handshakeSeconds = Limits.tcpHandshakeSeconds
  package var idleSeconds = Limits.httpIdleSeconds
  package var lingerSeconds = Limits.defaultLingerSeconds
  /// Of all loops together; one more is turned away, and counted.
  package var maxConnections = Limits.defaultMaxConnections
  /// Bytes of unfinished frames that all connections together may make the source hold, and as many of waiting ones.
  package var maxHeldBytes = Limits.maxHeldBytes
  /// The server's name and version, as WELCOME gives it.
  package var software = "sluice"
  /// Nil: connections are plain.
  package var tls: TLSMaterial?
  package var tlsHandshakeNanoseconds = Limits.tlsHandshakeNanoseconds
  /// That of the source whose place this one takes.
  package var load = SourceLoad()

  package var authentication = SourceAuthentication.none
  package var clock = SourceClock.system

  package init(name: String) { self.name = name }
}

/// What all loops of one source share.
final class TCPSettings: Sendable {
  let options: TCPSourceOptions
  let stream: any IngestStream
  let terms: TCPTerms
  /// Of this source alone, without the one before.
  let openConnections = Atomic<Int>(0)
  var load: SourceLoad { options.load }

  init(_ options: TCPSourceOptions, stream: any IngestStream) {
    self.options = options
    self.stream = stream
    terms = TCPTerms(
      stream: stream.streamName, demand: options.authentication.demand,
      knowsIdentities: options.authentication.authority != nil)
  }
}

/// What one connection is promised in WELCOME. The stream's `max_record` may be another for the next.
struct TCPPromise {
  /// The largest producer part, and the largest frame, that are taken.
  let maxPart: Int
  let maxFrame: Int
  /// What the connection may have under way without an answer.
  let window: WireCredit

  init(maxRecordBytes: Int) {
    maxPart = maxRecordBytes - Limits.serverPartBytes
    maxFrame = max(Limits.tcpMinMaxFrameBytes, RecordLayout.padded(maxPart + WireLayout.maxFrameOverhead))
    window = WireCredit(
      bytes: UInt64(max(Limits.tcpWindowBytes, 2 * maxFrame)), records: UInt64(Limits.tcpWindowRecords))
  }
}
