import SluiceCore

extension SubscriberStatus {
  private func published(_ name: String, _ help: String, _ value: KeyPath<PublishCounts, UInt64>) -> MetricFamily {
    MetricFamily(
      "sluice_subscriber_\(name)_total", .counter, help: help,
      samples: published.map {
        .init([("subscriber", self.name), ("output", $0.output), ("stream", $0.stream)], Double($0[keyPath: value]))
      })
  }

  /// What `/metrics` shows of one subscriber. Its lag is told by the streams, which know absent subscribers too.
  var families: [MetricFamily] {
    let subscriber = [("subscriber", name)]
    func counter(_ name: String, _ value: UInt64, _ help: String) -> MetricFamily {
      MetricFamily("sluice_subscriber_\(name)_total", .counter, help: help, samples: [.init(subscriber, Double(value))])
    }
    let faults = [
      ("double", counts.doubled), ("late", counts.late), ("foreign", counts.foreign), ("invalid", counts.invalid),
      ("unknown_verdict", counts.unknownVerdicts),
    ]
    return [
      MetricFamily(
        "sluice_subscriber_up", .gauge, help: "1 while the subscriber takes records.",
        samples: [.init(subscriber, isReady ? 1 : 0)]),
      counter("delivered_records", counts.delivered, "Records given to the plugin, each time that they were."),
      counter(
        "delivered_bytes", counts.deliveredBytes,
        "Bytes of those records, as they are in the log, at their first delivery."),
      counter("passed_records", counts.passed, "Records that were passed over, because they do not match."),
      counter("batches", counts.batches, "Batches given to the plugin."),
      counter("acked_records", counts.acked, "Records that the plugin acknowledged."),
      counter("retried_records", counts.retried, "Records that were to be delivered again."),
      MetricFamily(
        "sluice_subscriber_dead_letters_total", .counter, help: "Records that no delivery will settle, by cause.",
        samples: [
          (RejectedRange.Cause.plugin, counts.rejected), (.attemptsExhausted, counts.exhausted),
          (.crash, counts.crashed),
        ].map { .init(subscriber + [("cause", $0.0.rawValue)], Double($0.1)) }),
      counter("lost_dead_letters", lostLetters, "Dead records that were gone before they could be kept."),
      counter("cut_dead_letters", cutLetters, "Dead letters that have not all of their record, which was too large."),
      counter("overdue_records", counts.overdue, "Records without a verdict at their ack deadline."),
      MetricFamily(
        "sluice_subscriber_gaps_total", .counter,
        help: "Ranges of records that were gone before they could be delivered, by reason.",
        samples: gapsByReason.map {
          .init(subscriber + [("reason", $0.reason.rawValue)], Double($0.gaps.count))
        }),
      MetricFamily(
        "sluice_subscriber_lost_records_total", .counter, help: "Records in those ranges.",
        samples: gapsByReason.map {
          .init(subscriber + [("reason", $0.reason.rawValue)], Double($0.gaps.records))
        }),
      MetricFamily(
        "sluice_subscriber_replayed_records_total", .counter,
        help: "Records of replayed parts of streams, by what became of them.",
        samples: [
          ("delivered", replayed.delivered), ("rejected", replayed.rejected), ("gone", replayed.gone),
          ("passed", replayed.passed),
        ].map { .init(subscriber + [("outcome", $0.0)], Double($0.1)) }),
      published("published_records", "Records that the plugin published, by output and stream.", \.records),
      published(
        "published_duplicates", "Records that it published and that were there already: they were not stored again.",
        \.duplicates),
      published("refused_publications", "Calls of publish that the stream had no room for.", \.refused),
      counter("restarts", restarts, "Instances that ended and were made anew."),
      MetricFamily(
        "sluice_subscriber_settle_faults_total", .counter,
        help: "Verdicts that were ignored, or changed, because they were wrong.",
        samples: faults.map { .init(subscriber + [("fault", $0.0)], Double($0.1)) }),
      MetricFamily(
        "sluice_subscriber_held", .gauge, help: "1 while its dead letter stream takes nothing and it is given nothing.",
        samples: [.init(subscriber, held == nil ? 0 : 1)]),
      MetricFamily(
        "sluice_subscriber_unreadable", .gauge, help: "1 while one of its streams can't be read.",
        samples: [.init(subscriber, unreadable == nil ? 0 : 1)]),
      MetricFamily(
        "sluice_subscriber_open_records", .gauge, help: "Records delivered and not settled.",
        samples: [.init(subscriber, Double(openRecords))]),
    ]
  }
}
