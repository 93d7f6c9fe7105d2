import SluiceCore
import Synchronization

/// What a framed TCP source is told by the topology.
package struct TCPSourceOptions: Sendable {
  package var name: String
  /// `when_full: block`: records that find no room wait, and their connection is not read.
  package var blocksWhenFull = false
  package var handshakeSeconds = Limits.tcpHandshakeSeconds
  package var idleSeconds = Limits.httpIdleSeconds
  /// Of all loops together; one more is told so and closed.
  package var maxConnections = Limits.defaultMaxConnections
  /// Bytes of unfinished frames that all connections together may make the source hold.
  package var maxHeldBytes = Limits.maxHeldBytes
  /// The server's name and version, as WELCOME gives it.
  package var software = "sluice"

  package init(name: String) { self.name = name }
}

/// What all loops of one source share.
final class TCPSettings: Sendable {
  let options: TCPSourceOptions
  let stream: any IngestStream
  let terms: TCPTerms
  /// The largest producer part, and the largest frame, that are taken.
  let maxPart: Int
  let maxFrame: Int
  /// What a connection may have under way without an answer.
  let window: WireCredit
  let openConnections = Atomic<Int>(0)
  let heldBytes = Atomic<Int>(0)

  init(_ options: TCPSourceOptions, stream: any IngestStream) {
    self.options = options
    self.stream = stream
    terms = TCPTerms(stream: stream.streamName)
    maxPart = stream.maxRecordBytes - Limits.serverPartBytes
    maxFrame = max(Limits.tcpMinMaxFrameBytes, RecordLayout.padded(maxPart + WireLayout.maxFrameOverhead))
    window = WireCredit(
      bytes: UInt64(max(Limits.tcpWindowBytes, 2 * maxFrame)), records: UInt64(Limits.tcpWindowRecords))
  }
}
