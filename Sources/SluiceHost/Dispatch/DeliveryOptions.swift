import SluiceCore
import SluiceTopology

/// How one subscriber is served: the topology's word, else the plugin's wish, else the host's default.
package struct DeliveryOptions: Equatable, Sendable {
  package var records: Int
  package var bytes: Int
  package var waitNanoseconds: Int64
  package var order: DeliveryOrder
  package var retry: RetryPolicy
  /// Messages delivered and not settled, at most.
  package var maxInflight: Int
  package var ackDeadlineNanoseconds: Int64

  /// A batch setting that equals the host's default counts as left out.
  package init(_ settings: SubscriberSettings, wants: LoadedPlugin.Wants) {
    func chosen(_ set: Int, host: Int, wish: UInt32, limit: Int) -> Int {
      set == host && wish > 0 ? min(Int(wish), limit) : set
    }
    records = chosen(
      settings.batch.records, host: Limits.defaultBatchRecords, wish: wants.records, limit: Limits.maxBatchRecords)
    bytes = chosen(settings.batch.bytes, host: Limits.defaultBatchBytes, wish: wants.bytes, limit: Limits.maxBatchBytes)
    waitNanoseconds = settings.batch.waitNanoseconds
    if waitNanoseconds == Limits.defaultBatchWaitNanoseconds && wants.lingerMilliseconds > 0 {
      waitNanoseconds = min(Int64(wants.lingerMilliseconds) * 1_000_000, Limits.maxBatchWaitNanoseconds)
    }
    order = settings.order == .strict ? .strict : .relaxed
    retry = RetryPolicy(
      firstNanoseconds: settings.retry.firstNanoseconds, maxNanoseconds: settings.retry.maxNanoseconds,
      attempts: settings.retry.attempts.map { UInt32(clamping: $0) })
    maxInflight = wants.maxInflight > 0 ? Int(wants.maxInflight) : Int.max
    let wished = Int64(wants.ackDeadlineMilliseconds) * 1_000_000
    ackDeadlineNanoseconds =
      settings.ackDeadlineNanoseconds ?? (wished > 0 ? wished : Limits.defaultAckDeadlineNanoseconds)
  }
}
