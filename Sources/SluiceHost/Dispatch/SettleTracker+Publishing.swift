import CSluice
import SluiceCore

/// Keeps a stream's cursor at or below a record whose children are not durable yet, settled or not.
struct PublishHold: Sendable {
  var number: UInt64
  var stream: Int
  /// The lowest parent.
  var lsn: UInt64
}

extension SettleTracker {
  /// Where the record of an open token is, and when it happened; nil: the token is not open.
  mutating func openRecord(_ token: UInt64) -> (stream: Int, lsn: UInt64, eventTime: Int64)? {
    guard token > 0, let index = place(of: token) else { return nil }
    let slot = Int(token - batches[index].firstToken)
    guard batches[index].isPending(slot) else { return nil }
    return (batches[index].stream, batches[index].lsn(ofSlot: slot), batches[index].eventTime(ofSlot: slot))
  }

  /// Keeps the event times of a batch that was just opened, for children that take them over.
  mutating func keepEventTimes(token: UInt64, _ messages: UnsafePointer<slu_message>, _ count: Int) {
    guard let index = place(of: token) else { preconditionFailure("the batch was just opened") }
    batches[index].keepEventTimes(messages, count)
  }

  mutating func beginHold() -> UInt64 {
    lastHold += 1
    return lastHold
  }

  mutating func hold(_ number: UInt64, stream: Int, lsn: UInt64) {
    for index in holds.indices.reversed() {
      guard holds[index].number == number else { break }
      if holds[index].stream == stream {
        holds[index].lsn = min(holds[index].lsn, lsn)
        return
      }
    }
    holds.append(PublishHold(number: number, stream: stream, lsn: lsn))
  }

  mutating func endHolds(_ numbers: Set<UInt64>) { holds.removeAll { numbers.contains($0.number) } }
}
