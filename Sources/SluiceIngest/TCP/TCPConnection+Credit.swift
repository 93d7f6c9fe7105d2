import NIOCore
import SluiceCore
import SluiceIdentity

/// What a client may send: the credit, and its identity's quota.
extension TCPConnection {
  // MARK: Credit

  /// So much of what was received is done with.
  func answer(bytes: Int, records: Int) {
    answered.bytes += UInt64(bytes)
    answered.records += UInt64(records)
    needFlush()
  }

  /// Something of its channels is durable.
  func settle(_ answer: TCPLoop.Answer) {
    pending -= 1
    guard life == .open else { return }
    answer.channel.settle(answer)
    self.answer(bytes: answer.bytes, records: answer.records)
    if answer.isOpening { return isOpen(answer.channel) }
    if answer.channel.joinFlush() { flushing.append(answer.channel) }
  }

  /// Raises the totals when a good part of the window is used, or nothing is under way that would raise them later; for a full
  /// stream, and while the identity's quota is used up, they stay. What a quota does not let through at once is not invited at
  /// once either: its client would send most of it again and again.
  func writeCredit() {
    // NACKs that are not written are bounded by the credit.
    guard !state.isHandshake, !isWithheld, quotaTimer == nil, flushing.isEmpty else { return }
    let window = promise.window
    let bytes = answered.bytes + window.bytes - granted.bytes
    let records = answered.records + window.records - granted.records
    guard bytes > 0 || records > 0 else { return }
    let parts = Limits.tcpCreditParts
    guard bytes >= window.bytes / parts || records >= window.records / parts || pending == 0 else { return }
    guard !loop.isFull else {
      isWithheld = true
      return
    }
    if let quota = session?.identity.quota {
      let wait = quota.wait(at: clock.monotonic())
      guard wait == 0 else { return withholdCredit(for: wait) }
      let invited = quota.invitation()
      granted.bytes += min(bytes, UInt64(invited.bytes))
      granted.records += min(records, UInt64(invited.records))
      if bytes > invited.bytes || records > invited.records { withholdCredit(for: invited.nanoseconds) }
    } else {
      granted.bytes += bytes
      granted.records += records
    }
    let credit = granted
    write { $0.credit(credit, to: &$1) }
  }

  /// The stream takes records again.
  func creditIsFree() {
    isWithheld = false
    needFlush()
  }

  // MARK: The quota

  /// What WELCOME grants: the window, and no more than the identity's quota lets through. The rest comes at its rate.
  func firstCredit() -> WireCredit {
    let window = promise.window
    guard let quota = session?.identity.quota else { return window }
    let invited = quota.firstInvitation(leastBytes: promise.maxFrame, at: clock.monotonic())
    let credit = WireCredit(
      bytes: min(window.bytes, UInt64(invited.bytes)), records: min(window.records, UInt64(invited.records)))
    if credit != window { withholdCredit(for: invited.nanoseconds) }
    return credit
  }

  /// Until the identity's quota has room; its other connections may have used that up by then.
  private func withholdCredit(for nanoseconds: Int64) {
    let bound = NIOLoopBound(self, eventLoop: loop.eventLoop)
    // Cancelled with the connection, which it would keep.
    quotaTimer = loop.eventLoop.scheduleTask(in: .nanoseconds(nanoseconds)) { bound.value.quotaMayHaveRoom() }
  }

  /// Its time has come, or it is another quota now.
  func quotaMayHaveRoom() {
    guard quotaTimer != nil else { return }
    endQuotaTimer()
    needFlush()
  }

  func endQuotaTimer() {
    quotaTimer?.cancel()
    quotaTimer = nil
  }

  /// What becomes of every record of a frame: nothing is taken any more, or the identity's quota is used up. What is passed
  /// over because an earlier record has to come again costs nothing.
  func refusal(of frame: WireFrame, _ records: WireRecords, on channel: TCPChannel) -> WireNackCode? {
    guard state != .draining else { return .draining }
    guard let quota = session?.identity.quota else { return nil }
    guard !channel.gate.isDiscarding || records.sequence <= channel.gate.next else { return nil }
    let wait = quota.take(records: frame.count, bytes: frame.length, at: clock.monotonic())
    guard wait > 0 else { return nil }
    quotaPauseMilliseconds = Int(wait / 1_000_000) + 1
    return .quota
  }

  /// From the record on for which there was no room, a frame costs nothing: whatever of it comes after is passed over. `all`:
  /// the records of the frame that were not looked at before.
  func giveBackQuota(_ all: WireRecords, of body: UnsafeRawBufferPointer, _ length: Int, _ count: Int) {
    guard let sequence = roomRefusal else { return }
    roomRefusal = nil
    guard let quota = session?.identity.quota else { return }
    var records = all
    while records.sequence < sequence, let (part, _) = records.peek(in: body) { records.advance(past: part) }
    let left = records.left
    var bytes = 0
    while let (part, _) = records.peek(in: body) {
      bytes += WireLayout.recordPrefixBytes + part.count
      records.advance(past: part)
    }
    quota.giveBack(records: left, bytes: left == count ? length : bytes, of: (records: count, bytes: length))
  }

  /// The same for a frame that waited. `bytes` begin with it.
  func giveBackQuota(of frame: BlockedFrame, in bytes: UnsafeRawBufferPointer) {
    let body = UnsafeRawBufferPointer(rebasing: bytes[WireLayout.headerBytes..<frame.length])
    giveBackQuota(frame.records, of: body, frame.length, frame.count)
  }
}
