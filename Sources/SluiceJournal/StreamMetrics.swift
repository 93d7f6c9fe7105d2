import SluiceCore
import Synchronization

extension StreamLog {
  /// For health, ready and `status`. From any thread; looks at memory only.
  package var status: StreamStatus {
    let reason = core.fullReason
    let isFailed = core.hasFailed.load(ordering: .acquiring)
    let isClosed = core.isClosing.load(ordering: .acquiring)
    let pending = core.ring.pending
    return StreamStatus(
      name: core.options.name, state: isFailed ? .failed : isClosed ? .closed : reason == nil ? .open : .full,
      fullReason: reason, oldestLSN: oldestLSN, committedLSN: committedLSN, durableLSN: durableLSN,
      nextLSN: pending.lastLSN + 1, segments: core.catalog.count, retainedBytes: core.catalog.totalBytes,
      ringBytesInUse: pending.bytes,
      subscribers: core.cursors.all.map { cursor in
        let lsn = cursor.lsn.load(ordering: .acquiring)
        return StreamStatus.Subscriber(
          name: cursor.name, connected: cursor.connected.load(ordering: .acquiring), cursor: lsn,
          lag: core.lag(of: lsn))
      })
  }

  package func metrics() -> [MetricFamily] {
    let status = status
    let stream = [("stream", core.options.name)]
    let counters = core.counters
    func one(_ name: String, _ kind: MetricFamily.Kind, _ help: String, _ value: Double) -> MetricFamily {
      MetricFamily(name, kind, help: help, samples: [.init(stream, value)])
    }
    func counter(_ name: String, _ help: String, _ value: UInt64) -> MetricFamily {
      one(name, .counter, help, Double(value))
    }
    return [
      counter(
        "sluice_stream_records_total", "Records committed.", counters.records.load(ordering: .relaxed)),
      counter(
        "sluice_stream_bytes_total", "Bytes of the records committed.", counters.bytes.load(ordering: .relaxed)),
      counter("sluice_stream_commits_total", "Groups written.", counters.commits.load(ordering: .relaxed)),
      counter(
        "sluice_stream_gap_records_total", "LSNs that subscribers were told are gone.",
        counters.gapRecords.load(ordering: .relaxed)),
      commitLatency(stream),
      rejects(stream),
      one(
        "sluice_stream_ring_bytes", .gauge, "Bytes accepted and not yet written.", Double(status.ringBytesInUse)),
      one(
        "sluice_stream_retained_bytes", .gauge, "Bytes of the stream's segment files in use.",
        Double(status.retainedBytes)),
      one("sluice_stream_segments", .gauge, "Segment files.", Double(status.segments)),
      one("sluice_stream_durable_lsn", .gauge, "Last LSN known to be on the device.", Double(status.durableLSN)),
      one("sluice_stream_next_lsn", .gauge, "LSN that the next record gets.", Double(status.nextLSN)),
    ] + lags(status)
  }

  private func commitLatency(_ labels: [(String, String)]) -> MetricFamily {
    let latency = core.counters.commitLatency
    var cumulative: UInt64 = 0
    var buckets: [(upperBound: Double, cumulative: UInt64)] = []
    for (bucket, count) in latency.counts.enumerated() {
      cumulative += count
      // One bound per power of two is enough to plot; the last bucket has none.
      if bucket % LatencyHistogram.perPower == LatencyHistogram.perPower - 1 {
        buckets.append((Double(LatencyHistogram.upperBound(bucket)) / 1e9, cumulative))
      }
    }
    return MetricFamily(
      "sluice_stream_commit_seconds", .histogram, help: "From taking a group to having made it as durable as asked.",
      samples: [.init(labels, Double(latency.count), buckets: buckets, sum: Double(latency.sum) / 1e9)])
  }

  private func rejects(_ labels: [(String, String)]) -> MetricFamily {
    MetricFamily(
      "sluice_stream_rejected_total", .counter, help: "Appends refused, by reason.",
      samples: RejectReason.allCases.map {
        .init(labels + [("reason", $0.rawValue)], Double(core.counters.rejected($0)))
      })
  }

  private func lags(_ status: StreamStatus) -> [MetricFamily] {
    let labels = { (subscriber: StreamStatus.Subscriber) in
      [("stream", status.name), ("subscriber", subscriber.name)]
    }
    return [
      MetricFamily(
        "sluice_subscriber_lag_records", .gauge, help: "Records between the cursor and the end of the stream.",
        samples: status.subscribers.map { .init(labels($0), Double($0.lag.records)) }),
      MetricFamily(
        "sluice_subscriber_lag_bytes", .gauge, help: "Bytes between the cursor and the end of the stream, about.",
        samples: status.subscribers.map { .init(labels($0), Double($0.lag.bytes)) }),
      MetricFamily(
        "sluice_subscriber_lag_seconds", .gauge, help: "Age of the oldest record that is not settled, about.",
        samples: status.subscribers.map { .init(labels($0), Double($0.lag.ageNanoseconds) / 1e9) }),
    ]
  }
}
