import CSluice

/// The records of one delivery that are waiting for verdicts: slot i carries token `firstToken + i`. Reused, so that
/// a delivery allocates nothing once the arrays have their size.
struct OpenBatch {
  private(set) var firstToken: UInt64 = 0
  /// 0 while this place in the table is free.
  private(set) var count = 0
  private(set) var stream = 0
  /// Which delivery of these records this is; 1 is the first.
  private(set) var attempt: UInt32 = 0
  /// Of the deliveries before, those that do not count (`RetryRange.spared`).
  var spared: UInt32 = 0
  private(set) var firstLSN: UInt64 = 0
  private(set) var pendingCount = 0
  /// When records without a verdict are delivered again, on the monotonic clock.
  var ackDeadline = Int64.max
  /// The plugin's `deliver` has not returned yet: the place stays taken, so that a second verdict is told from a
  /// late one.
  var isDelivering = false
  /// One time for all retries of this batch without a delay of their own, so that their ranges merge. 0: none yet.
  var retryDue: Int64 = 0

  /// LSN of slot i, less `firstLSN`; empty when the LSNs are consecutive.
  private var offsets: [UInt32] = []
  /// Of the messages, for children that take them over; empty if nothing is published.
  private var eventTimes: [Int64] = []
  /// Bit i is set while slot i has no verdict.
  private var pending: [UInt64] = []
  /// No word below this one has a bit set.
  private var lowestWord = 0

  var isFree: Bool { count == 0 }

  func holds(_ token: UInt64) -> Bool { token >= firstToken && token - firstToken < UInt64(count) }

  mutating func open(token: UInt64, count: Int, stream: Int, firstLSN: UInt64, attempt: UInt32) {
    precondition(isFree && count > 0)
    firstToken = token
    self.count = count
    self.stream = stream
    self.firstLSN = firstLSN
    self.attempt = attempt
    spared = 0
    pendingCount = count
    isDelivering = true
    retryDue = 0
    lowestWord = 0
    offsets.removeAll(keepingCapacity: true)
    eventTimes.removeAll(keepingCapacity: true)
    let words = (count + 63) / 64
    if pending.count < words { pending.append(contentsOf: repeatElement(0, count: words - pending.count)) }
    for word in 0..<(words - 1) { pending[word] = .max }
    pending[words - 1] = UInt64.max >> UInt64(words * 64 - count)
  }

  /// As `open`, for records that are not next to each other: `offsets` are LSNs less `firstLSN`, ascending.
  mutating func open(token: UInt64, offsets: [UInt32], stream: Int, firstLSN: UInt64, attempt: UInt32) {
    open(token: token, count: offsets.count, stream: stream, firstLSN: firstLSN, attempt: attempt)
    self.offsets.append(contentsOf: offsets)
  }

  mutating func close() {
    precondition(pendingCount == 0 && !isDelivering)
    count = 0
  }

  func lsn(ofSlot slot: Int) -> UInt64 {
    offsets.isEmpty ? firstLSN + UInt64(slot) : firstLSN + UInt64(offsets[slot])
  }

  mutating func keepEventTimes(_ messages: UnsafePointer<slu_message>, _ count: Int) {
    for index in 0..<count { eventTimes.append(messages[index].event_time_ns) }
  }

  func eventTime(ofSlot slot: Int) -> Int64 { slot < eventTimes.count ? eventTimes[slot] : 0 }

  func isPending(_ slot: Int) -> Bool { pending[slot >> 6] & (1 << UInt64(slot & 63)) != 0 }

  /// The lowest LSN without a verdict.
  var lowestPendingLSN: UInt64? {
    guard pendingCount > 0 else { return nil }
    var word = lowestWord
    while pending[word] == 0 { word += 1 }
    return lsn(ofSlot: word * 64 + pending[word].trailingZeroBitCount)
  }

  /// The highest LSN without a verdict.
  var highestPendingLSN: UInt64? {
    guard pendingCount > 0 else { return nil }
    var word = (count - 1) >> 6
    while pending[word] == 0 { word -= 1 }
    return lsn(ofSlot: word * 64 + 63 - pending[word].leadingZeroBitCount)
  }

  /// Marks the slots as settled and returns how many were pending.
  mutating func settle(_ slots: Range<Int>) -> Int {
    var settled = 0
    for word in (slots.lowerBound >> 6)...((slots.upperBound - 1) >> 6) {
      let low = max(slots.lowerBound - word * 64, 0)
      let high = min(slots.upperBound - word * 64, 64)
      let mask = (UInt64.max >> UInt64(64 - (high - low))) << UInt64(low)
      settled += (pending[word] & mask).nonzeroBitCount
      pending[word] &= ~mask
    }
    pendingCount -= settled
    while pendingCount > 0, pending[lowestWord] == 0 { lowestWord += 1 }
    return settled
  }

  /// The first run of pending slots in `slots` whose LSNs are consecutive.
  func firstPendingRun(in slots: Range<Int>) -> Range<Int>? {
    guard let start = slots.first(where: isPending) else { return nil }
    var end = start + 1
    while end < slots.upperBound, isPending(end), lsn(ofSlot: end) == lsn(ofSlot: end - 1) + 1 { end += 1 }
    return start..<end
  }
}
