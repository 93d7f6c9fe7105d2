import NIOCore
import SluiceCore
import SluiceIdentity

/// Records: rows R1 to R7.
extension TCPConnection {
  /// False if the frame's records have not all found room.
  func take(_ frame: WireFrame) throws(WireFault) -> Bool {
    var records = try frame.records()
    received.bytes += UInt64(frame.length)
    received.records += UInt64(frame.count)
    guard received.bytes <= granted.bytes, received.records <= granted.records else {
      throw WireFault(.credit, "more was sent than allowed")
    }
    guard session == nil || isSessionCurrent() else { return true }
    guard let channel = channel(frame.channel), channel.life == .open else {
      guard hasEnded(frame.channel) else {
        throw WireFault(.protocolViolation, "DATA for a channel that is not open")
      }
      // It was under way when the channel was ended.
      loop.counters.add(.discarded, frame.count)
      answer(bytes: frame.length, records: frame.count)
      return true
    }
    let refusal = refusal(of: frame, records, on: channel)
    let all = records
    defer { giveBackQuota(all, of: frame.body, frame.length, frame.count) }
    if take(&records, of: frame.body, into: channel, refusal) {
      channel.received(bytes: frame.length, records: frame.count)
      return true
    }
    channel.received(bytes: 0, records: 0)
    blocked = BlockedFrame(records: records, channel: channel, length: frame.length, count: frame.count)
    loop.counters.add(.blocked)
    loop.block(self)
    return false
  }

  /// What is left of the frame that waits for room will not be taken, and costs nothing. The frame stays in `rest`.
  func abandonBlocked() {
    guard let frame = blocked else { return }
    blocked = nil
    roomRefusal = frame.records.sequence
    rest.withUnsafeReadableBytes { giveBackQuota(of: frame, in: $0) }
    loop.counters.add(.discarded, frame.records.left)
  }

  /// The channel of the frame that waits for room has ended: what is left of it is dropped, and counts as credit like
  /// all DATA.
  func dropBlocked() {
    guard let frame = blocked else { return }
    abandonBlocked()
    rest.moveReaderIndex(forwardBy: frame.length)
    answer(bytes: frame.length, records: frame.count)
  }

  /// There may be room now for the frame at the beginning of `rest`. `givesUp`: records without room are refused.
  func retryBlocked(givesUp: Bool = false) {
    guard life == .open, let waiting = blocked else { return }
    self.givesUp = givesUp
    defer { self.givesUp = false }
    var frame = waiting
    let bytes = rest
    let before = frame.records.left
    let isTaken = bytes.withUnsafeReadableBytes { all in
      if state == .draining { roomRefusal = frame.records.sequence }
      defer { giveBackQuota(of: waiting, in: all) }
      let body = UnsafeRawBufferPointer(rebasing: all[WireLayout.headerBytes..<frame.length])
      return take(&frame.records, of: body, into: frame.channel, state == .draining ? .draining : nil)
    }
    guard isTaken else {
      blocked = frame
      if frame.records.left < before { frame.channel.received(bytes: 0, records: 0) }
      return loop.block(self)
    }
    blocked = nil
    rest.moveReaderIndex(forwardBy: frame.length)
    frame.channel.received(bytes: frame.length, records: frame.count)
    needFlush()
  }

  /// `refusal`: what becomes of every record whose turn it is.
  private func take(
    _ records: inout WireRecords, of body: UnsafeRawBufferPointer, into channel: TCPChannel, _ refusal: WireNackCode?
  ) -> Bool {
    guard case .topics(let globs) = permission else {
      return take(&records, of: body, into: channel, refusal, AnyTopic())
    }
    return take(&records, of: body, into: channel, refusal, SomeTopics(globs: globs))
  }

  /// Judges each record. What is taken is checked where it was received and copied once, into the lane's slab.
  private func take(
    _ records: inout WireRecords, of body: UnsafeRawBufferPointer, into channel: TCPChannel, _ refusal: WireNackCode?,
    _ topics: some TopicPermission
  ) -> Bool {
    guard let lane = loop.lane else { return true }
    var gate = channel.gate
    var accepted = 0
    var duplicates = 0
    var discarded = 0
    var hasRoom = true
    let producer = channel.producerID
    let epoch = channel.epoch
    let maxPart = promise.maxPart
    records: while let (part, crc) = records.peek(in: body) {
      switch gate.judge(records.sequence) {
      case .due:
        if let code = refusal ?? Self.fault(in: part, crc, producer == 0 ? 0 : records.sequence, maxPart, topics) {
          hasRoom = refuse(&gate, code, records.sequence, on: channel, lane)
        } else {
          switch lane.append(encoded: part, crc: crc, producer: producer, epoch: epoch) {
          case .accepted:
            gate.took()
            accepted += 1
          case .tooLarge: hasRoom = refuse(&gate, .tooLarge, records.sequence, on: channel, lane)
          case .full(let reason): hasRoom = refuse(&gate, reason, records.sequence, on: channel)
          }
        }
        if !hasRoom { break records }
      case .duplicate: duplicates += 1
      case .gap: nack(.gap, records.sequence, gate, on: channel, text: "expected \(gate.next)")
      case .discarded: discarded += 1
      }
      records.advance(past: part)
    }
    channel.gate = gate
    if accepted > 0 {
      channel.noteAppended()
      loop.counters.add(.accepted, accepted)
    }
    if accepted + duplicates > 0 { channel.owesAck() }
    if duplicates > 0 { loop.counters.add(.duplicates, duplicates) }
    if discarded > 0 { loop.counters.add(.discarded, discarded) }
    return hasRoom
  }

  /// What is wrong with a record whose turn it is.
  @inline(__always)
  private static func fault(
    in part: UnsafeRawBufferPointer, _ crc: UInt32, _ sequence: UInt64, _ maxPart: Int, _ topics: some TopicPermission
  ) -> WireNackCode? {
    guard part.count <= maxPart else { return .tooLarge }
    guard CRC32C.of(part) == crc else { return .checksum }
    guard (try? RecordView.validateProducerPart(part)) != nil, let base = part.baseAddress else { return .malformed }
    let named: UInt64 = base.loadLE(RecordLayout.sequence - RecordLayout.producerPart)
    guard named == sequence else { return .malformed }
    return topics.permits(part) ? nil : .forbidden
  }

  /// R4, R5. False if the note that a permanent refusal leaves in the log has to wait for room.
  private func refuse(
    _ gate: inout SequenceGate, _ code: WireNackCode, _ sequence: UInt64, on channel: TCPChannel, _ lane: any IngestLane
  ) -> Bool {
    guard code.isPermanent else {
      refuse(&gate, code, sequence, on: channel)
      return true
    }
    if channel.producer != nil {
      switch lane.appendConsumed(producer: channel.producerID, epoch: channel.epoch, sequence: sequence) {
      case .accepted: channel.noteAppended()
      case .full(let reason): return refuse(&gate, reason, sequence, on: channel)
      case .tooLarge: preconditionFailure("a note fits into any stream")
      }
    }
    gate.consumed()
    channel.refuseForGood(code, sequence)
    channel.owesAck()
    return true
  }

  /// R3, or false where the record is to wait.
  private func refuse(
    _ gate: inout SequenceGate, _ reason: FullReason, _ sequence: UInt64, on channel: TCPChannel
  ) -> Bool {
    switch reason {
    case .closing:
      roomRefusal = sequence
      refuse(&gate, .draining, sequence, on: channel)
      return true
    case .ring, .retention, .disk:
      loop.becomeFull()
      guard !loop.settings.options.blocksWhenFull || givesUp else { return false }
      roomRefusal = sequence
      let code: WireNackCode = reason == .ring ? .fullRing : reason == .disk ? .fullDisk : .fullRetention
      refuse(&gate, code, sequence, on: channel)
      return true
    }
  }

  /// R3, R4: it may come again.
  private func refuse(
    _ gate: inout SequenceGate, _ code: WireNackCode, _ sequence: UInt64, on channel: TCPChannel
  ) {
    gate.refused()
    nack(code, sequence, gate, on: channel, text: code.label)
  }

  private func nack(
    _ code: WireNackCode, _ sequence: UInt64, _ gate: SequenceGate, on channel: TCPChannel, text: String
  ) {
    loop.counters.add(code)
    if code == .gap { loop.counters.add(.gaps) }
    let pause =
      switch code {
      case .quota: quotaPauseMilliseconds
      case .fullRing: Limits.tcpFullRingRetryMilliseconds
      case .fullRetention, .fullDisk, .draining: Limits.tcpFullRetryMilliseconds
      default: 0
      }
    let nack = WireNack(
      code, sequence: sequence, expected: gate.next, retryAfterMilliseconds: UInt32(clamping: pause), text: text)
    write { $0.nack(nack, channel: channel.number, to: &$1) }
  }
}
