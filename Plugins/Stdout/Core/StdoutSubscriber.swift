// Records as lines on the daemon's standard output.
//
// Order    gather the batch's lines → write all of them → return, which acknowledges it.
// Pieces   what is behind descriptor 1 decides how much goes into one write: a regular file takes all there is; a pipe, a
//          terminal or a socket may block, and is therefore polled and given no more than PIPE_BUF bytes, which fit
//          when poll says so. The descriptor's flags are left alone: it is shared with whoever started the daemon.
// Failure  a write that fails or is interrupted: the batch is retried whole, so its lines may come twice, the last one
//          of the first time cut off; a newline then ends it before anything else is written.
//
// Not promised: that what was written is safe from a crash of the machine or of the reader; that lines stay whole when
// somebody else writes to descriptor 1 as well. The daemon's own log does by default: set `daemon.log.to: stderr`.

import Glibc
import RecordLines
import SluicePluginKit

/// What the topology says under `config`.
package struct StdoutConfig: SubscriberConfiguration {
  package var format: LineFormat

  package enum CodingKeys: CodingKey { case format }
  package static let fields = FieldTable(CodingKeys.self, [.format: LineFormat.field])
}

/// The kind `stdout`.
package final class StdoutSubscriber: Subscriber {
  package static let kind = "stdout"
  package static let summary = "Writes records as lines (ndjson or raw) to standard output."
  /// There is one standard output.
  package static let traits: SubscriberTraits = .exclusive

  private let format: LineFormat
  private let written: Counter
  private let interruption: Interruption
  private let output: LineOutput
  private var health: HealthReport

  package convenience init(_ configuration: StdoutConfig, host: Host) throws {
    try self.init(configuration, host: host, descriptor: 1)
  }

  /// The same, onto another descriptor, which stays the caller's.
  package init(_ configuration: StdoutConfig, host: Host, descriptor: Int32) throws {
    format = configuration.format
    health = HealthReport(host)
    written = host.counter("stdout_written", unit: "bytes", help: "Bytes written by the stdout subscriber.")
    interruption = try Interruption()
    output = LineOutput(descriptor: descriptor, interruption: interruption)
  }

  package func start(deadline: Deadline) throws { try output.check() }

  package func deliver(_ batch: borrowing Batch) throws -> Delivery {
    do {
      try batch.forEach { message throws(SubscriberError) in try output.append(message, as: format) }
      written.add(try output.flush())
    } catch {
      output.discard()
      health.say(.down, error.message)
      throw error
    }
    health.say(.ok)
    return .done
  }

  package func interrupt() { interruption.interrupt() }
}
