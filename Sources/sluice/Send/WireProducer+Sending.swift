import NIOCore
import SluiceCore
import SluiceIngest

extension WireProducer {
  mutating func turn(at now: Int64) {
    guard now >= wakeAt else { return }
    switch phase {
    case .greeting: lose()
    case .goodbye: finish()
    case .idle, .open, .draining, .over: break
    }
  }

  mutating func send(from supply: inout RecordSupply, at now: Int64, _ tally: inout SendTally) -> Bool {
    guard phase == .open || phase == .draining else { return false }
    wakeAt = .max
    guard keepAlive(at: now), phase == .open else { return false }
    guard now >= resumeAt else {
      wake(at: resumeAt)
      return false
    }
    passKnown(from: &supply, at: now, &tally)
    for _ in 0..<Limits.sendParcelsPerTurn {
      guard condition == .open else { return false }
      if window.unsent != nil {
        guard sendAgain(at: now, &tally) else { return false }
      } else if !sendNew(from: &supply, at: now, &tally) {
        return false
      }
    }
    return true
  }

  private mutating func wake(at time: Int64) { wakeAt = min(wakeAt, time) }

  /// PING when nothing was sent for a while; false when the server is silent for too long.
  private mutating func keepAlive(at now: Int64) -> Bool {
    guard idleNanoseconds < .max else { return true }
    guard now - lastReceived < idleNanoseconds else {
      lose()
      return false
    }
    if now - lastSent >= idleNanoseconds / 3 {
      write { $0.ping(UInt64(bitPattern: now), to: &$1) }
      lastSent = now
    }
    wake(at: min(lastSent + idleNanoseconds / 3, lastReceived + idleNanoseconds))
    return true
  }

  /// Passes over what the server has from an earlier run.
  private mutating func passKnown(from supply: inout RecordSupply, at now: Int64, _ tally: inout SendTally) {
    while known > 0 {
      guard case .ready(let bytes) = supply.next(at: now) else {
        if supply.isExhausted {
          let name = settings.producer
          fail(
            .dataError(
              "the server has \(known) more records of \(name) than there are here: that name belongs to other data"))
        }
        return
      }
      if producerPart(of: bytes) <= maxPart {
        known -= 1
        tally.skipped += 1
      } else {
        refuseTooLarge(supply.place, bytes, &tally)
      }
      supply.pass()
    }
  }

  private func producerPart(of payload: Int) -> Int {
    Limits.producerFixedBytes + RecordLayout.padded(settings.topic.count) + RecordLayout.padded(payload)
  }

  private mutating func refuseTooLarge(_ place: UInt64, _ bytes: Int, _ tally: inout SendTally) {
    tally.made += 1
    tally.refuse(
      SendRefusal(
        place: place, code: WireNackCode.tooLarge.label,
        detail: "\(bytes) bytes; the stream takes \(maxPart) with metadata, and this was not sent"))
  }

  // MARK: DATA

  /// What credit is left, for whole frames.
  private var room: (bytes: Int, records: Int) {
    (Int(clamping: credit.bytes - used.bytes), Int(clamping: credit.records - used.records))
  }

  private mutating func sent(_ frame: WireDataBuilder, _ buffer: ByteBuffer, at now: Int64) {
    used.bytes += UInt64(frame.bytes)
    used.records += UInt64(frame.count)
    output.append(buffer)
    lastSent = now
    window.markSent()
  }

  /// Sends the first parcel that is to be sent once more; false: it has to wait for credit.
  private mutating func sendAgain(at now: Int64, _ tally: inout SendTally) -> Bool {
    guard var parcel = window.unsent else { return false }
    let (bytes, records) = room
    var fitting = 0
    var size = WireLayout.headerBytes + WireLayout.dataFixedBytes + sender.tagBytes
    parcel.bytes.forEachRecord { part, _ in
      size += WireDataBuilder.recordBytes(partBytes: part.count)
      if size <= min(bytes, maxFrame), fitting < records { fitting += 1 }
    }
    guard fitting > 0 else { return false }
    if fitting < parcel.count {
      window.cutUnsent(after: fitting)
      guard let head = window.unsent else { return false }
      parcel = head
    }
    var buffer = ByteBuffer()
    var frame = sender.beginData(channel: 0, firstSequence: parcel.firstSequence, in: &buffer)
    parcel.bytes.forEachRecord { part, crc in frame.append(part: part, crc: crc, to: &buffer) }
    sender.finishData(frame, in: &buffer)
    if parcel.wasSent { tally.retried += UInt64(parcel.count) }
    sent(frame, buffer, at: now)
    return true
  }

  /// Makes a frame of new records and sends it; false: there are none now, or they have to wait.
  private mutating func sendNew(from supply: inout RecordSupply, at now: Int64, _ tally: inout SendTally) -> Bool {
    guard known == 0 else { return false }
    var origin = supply.origin(at: now)
    let room = room
    let most = min(room.records, settings.inFlight - window.count)
    var buffer = ByteBuffer()
    var frame = sender.beginData(channel: 0, firstSequence: window.next, in: &buffer)
    let time = Clock.wall()
    gathering: while true {
      switch supply.next(at: now) {
      case .ready(let bytes):
        let part = producerPart(of: bytes)
        guard part <= maxPart else {
          refuseTooLarge(supply.place, bytes, &tally)
          supply.pass()
          if frame.count > 0 { break gathering }
          origin = supply.origin(at: now)
          continue
        }
        let size = frame.bytes + WireDataBuilder.recordBytes(partBytes: part)
        let limit = frame.count == 0 ? maxFrame : min(maxFrame, Limits.sendParcelBytes)
        guard frame.count < most, size <= min(limit, room.bytes) else { break gathering }
        append(supply: &supply, time, to: &frame, &buffer)
        tally.bytes += UInt64(bytes)
      case .later(let due):
        wake(at: due)
        break gathering
      case .waiting: break gathering
      case .over:
        if frame.count == 0, window.isEmpty { sayGoodbye(at: now) }
        break gathering
      }
    }
    guard frame.count > 0 else { return false }
    sender.finishData(frame, in: &buffer)
    tally.made += UInt64(frame.count)
    // Without the tag, which is of this connection only.
    let start = WireLayout.headerBytes + WireLayout.dataFixedBytes
    let length = buffer.readableBytes - start - frame.tagBytes
    guard let records = buffer.getSlice(at: buffer.readerIndex + start, length: length) else {
      preconditionFailure("a frame has a body")
    }
    window.append(
      Parcel(firstSequence: window.next, count: frame.count, origin: origin, bytes: records))
    sent(frame, buffer, at: now)
    return true
  }

  private func append(
    supply: inout RecordSupply, _ time: Int64, to frame: inout WireDataBuilder, _ buffer: inout ByteBuffer
  ) {
    let sequence = settings.isAnonymous ? 0 : window.next + UInt64(frame.count)
    settings.topic.withUnsafeBytes { topic in
      supply.withRecord { payload in
        frame.append(
          RecordFields(eventTime: time, sequence: sequence, topic: topic, payload: payload), to: &buffer)
      }
    }
    supply.take()
  }

  private mutating func sayGoodbye(at now: Int64) {
    write { $0.end(.bye, WireEnd(), to: &$1) }
    phase = .goodbye
    wakeAt = now + Limits.sendConnectNanoseconds
  }
}
