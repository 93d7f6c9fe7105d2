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
      ringBytesInUse: pending.bytes, ringBytes: core.options.slabBytes * core.options.slabCount,
      durability: core.options.durability, whenFull: core.live.whenFull, retainBytes: core.live.retainBytes,
      unsettledBytes: core.cursors.lowest.map { core.catalog.bytes(from: $0) } ?? 0,
      producers: core.names.producerCount, records: core.counters.records.load(ordering: .relaxed),
      recordBytes: core.counters.bytes.load(ordering: .relaxed),
      commits: core.counters.commits.load(ordering: .relaxed),
      rejected: RejectReason.allCases.reduce(0) { $0 + core.counters.rejected($1) }, subscribers: cursorNames)
  }

  /// Every subscriber that the log keeps a cursor for, connected or not.
  package var cursorNames: [StreamStatus.Subscriber] {
    let now = Clock.wall()
    let neededAnyway = core.cursors.lowestConnected.map { core.catalog.bytes(from: $0) } ?? 0
    return core.cursors.all.map { cursor in
      let isConnected = cursor.connected.load(ordering: .acquiring)
      return StreamStatus.Subscriber(
        name: cursor.name, connected: isConnected, cursor: cursor.lsn.load(ordering: .acquiring),
        lag: core.lag(of: cursor.needed), lastSeen: isConnected ? now : cursor.updatedTime.load(ordering: .relaxed),
        holdsBytes: isConnected ? 0 : max(0, core.catalog.bytes(from: cursor.needed) - neededAnyway))
    }
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
        "sluice_stream_expired_cursors_total", "Cursors forgotten because their subscriber did not come.",
        counters.expiredCursors.load(ordering: .relaxed)),
      counter(
        "sluice_stream_written_bytes_total", "Bytes written to segment files, headers and padding included.",
        counters.diskBytes.load(ordering: .relaxed)),
      histogram(
        "sluice_stream_commit_seconds", "From taking a group to having made it as durable as asked.",
        counters.commitLatency, stream),
      histogram("sluice_stream_sync_seconds", "What a sync of a segment takes.", counters.syncLatency, stream),
      rejects(stream),
      gaps(stream),
      one(
        "sluice_stream_ring_bytes", .gauge, "Bytes accepted and not yet written.", Double(status.ringBytesInUse)),
      one(
        "sluice_stream_retained_bytes", .gauge, "Bytes of the stream's segment files in use.",
        Double(status.retainedBytes)),
      one(
        "sluice_stream_ring_limit_bytes", .gauge, "Bytes that the ring holds at most, pinned slabs apart.",
        Double(status.ringBytes)),
      one(
        "sluice_stream_retain_limit_bytes", .gauge, "Unsettled bytes from which producers are refused.",
        Double(status.retainBytes)),
      one(
        "sluice_stream_unsettled_bytes", .gauge, "Bytes that some subscriber has not settled, about.",
        Double(status.unsettledBytes)),
      one("sluice_stream_producers", .gauge, "Producers that the log remembers.", Double(status.producers)),
      one("sluice_stream_full", .gauge, "1 while producers are refused.", status.fullReason == nil ? 0 : 1),
      one("sluice_stream_segments", .gauge, "Segment files.", Double(status.segments)),
      one("sluice_stream_durable_lsn", .gauge, "Last LSN known to be on the device.", Double(status.durableLSN)),
      one("sluice_stream_next_lsn", .gauge, "LSN that the next record gets.", Double(status.nextLSN)),
    ] + lags(status)
  }

  private func histogram(
    _ name: String, _ help: String, _ latency: LatencyHistogram, _ labels: [(String, String)]
  ) -> MetricFamily {
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
      name, .histogram, help: help,
      samples: [.init(labels, Double(latency.count), buckets: buckets, sum: Double(latency.sum) / 1e9)])
  }

  private func gaps(_ labels: [(String, String)]) -> MetricFamily {
    MetricFamily(
      "sluice_stream_gap_records_total", .counter, help: "LSNs that readers were told are gone, by reason.",
      samples: GapReason.allCases.map {
        .init(labels + [("reason", $0.rawValue)], Double(core.counters.gapRecords($0)))
      })
  }

  private func rejects(_ labels: [(String, String)]) -> MetricFamily {
    MetricFamily(
      "sluice_stream_rejected_total", .counter,
      help:
        "Appends refused, by reason; what waits for room counts at each try. Sources count what producers were refused.",
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
