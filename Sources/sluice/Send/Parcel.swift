import NIOCore

/// Where the records of a parcel come from, and since when they are under way.
struct ParcelOrigin: Equatable {
  /// The first record's line or number, and how far the next one of the same connection is from it.
  var place: UInt64
  var stride: UInt64
  /// From when the first record's latency counts, and how much later the next one's does: 0 in a closed loop, where all
  /// count from when the parcel was made.
  var time: Int64
  var interval: Double

  mutating func advance(by count: Int) {
    place += UInt64(count) * stride
    time += Int64(Double(count) * interval)
  }
}

/// Consecutive records of one connection, encoded once and kept until they are answered: the records of a DATA frame or
/// the body of a request.
struct Parcel {
  /// Of the first record; the others follow.
  var firstSequence: UInt64
  var count: Int
  var origin: ParcelOrigin
  var wasSent = false
  var bytes: ByteBuffer

  init(firstSequence: UInt64, count: Int, origin: ParcelOrigin, bytes: ByteBuffer) {
    self.firstSequence = firstSequence
    self.count = count
    self.origin = origin
    self.bytes = bytes
  }

  /// Of the record behind the last.
  var endSequence: UInt64 { firstSequence + UInt64(count) }

  /// The line or number of a record.
  func place(_ index: Int) -> UInt64 { origin.place + UInt64(index) * origin.stride }

  /// The records `offset ..< offset + count` are durable.
  func acknowledge(_ offset: Int, _ count: Int, at now: Int64, _ tally: inout SendTally) {
    guard count > 0 else { return }
    guard origin.interval > 0 else {
      tally.acknowledge(count, after: now - origin.time)
      return
    }
    for index in offset..<offset + count {
      tally.acknowledge(1, after: now - origin.time - Int64(Double(index) * origin.interval))
    }
  }
}
