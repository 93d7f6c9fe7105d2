import SluiceCore

extension SubscriberStatus {
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
      counter("batches", counts.batches, "Batches given to the plugin."),
      counter("acked_records", counts.acked, "Records that the plugin acknowledged."),
      counter("retried_records", counts.retried, "Records that were to be delivered again."),
      counter("rejected_records", counts.rejected, "Records that went to the dead letters."),
      counter("overdue_records", counts.overdue, "Records without a verdict at their ack deadline."),
      counter("gaps", gaps, "Ranges of records that were gone before they could be delivered."),
      counter("lost_records", lostRecords, "Records in those ranges."),
      counter("restarts", restarts, "Instances that ended and were made anew."),
      MetricFamily(
        "sluice_subscriber_settle_faults_total", .counter,
        help: "Verdicts that were ignored, or changed, because they were wrong.",
        samples: faults.map { .init(subscriber + [("fault", $0.0)], Double($0.1)) }),
      MetricFamily(
        "sluice_subscriber_open_records", .gauge, help: "Records delivered and not settled.",
        samples: [.init(subscriber, Double(openRecords))]),
    ]
  }
}
