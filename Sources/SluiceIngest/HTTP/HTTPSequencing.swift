// How numbered records of a producer are taken over HTTP. Requests own nothing: each checks, appends and submits under
// the producer's lock, so that any loop may serve any of them.
//
//   first     the sequence of the body's first element, n elements; `known` = the producer's last sequence
//   row  first                    does                                                    answers
//   S1   > known + 1              nothing                                                 409 `gap`, expected known + 1
//   S2   + n − 1 ≤ known          nothing: all are stored or consumed                     as if new, when that is durable
//   S3   otherwise, room          drops the first known + 1 − first, stores the rest,     202, when durable
//                                 consumes the sequences of refused elements
//   S4   otherwise, no room       nothing                                                 429 or 503
//
// An epoch below the highest is answered 409 `fenced`, a producer that a framed connection owns 409 `owned`. A body that
// is refused as a whole (its framing, its headers, a broken array) uses up no sequence.

import SluiceCore
import SluiceIdentity

/// The producer of a request, and the number of its first record.
struct SequencedProducer {
  var producer: Producer
  var epoch: UInt16
  var first: UInt64
}

/// What became of a body's records.
enum TakenRecords: Equatable {
  /// Stored, now or before: to be answered when durable.
  case stored(new: Int)
  case full(FullReason)
  case gap(expected: UInt64)
  case fenced(highest: UInt16)
  case owned
}

extension HTTPLoop {
  /// Appends what `records` lists of `body`, with room for all of it or not at all.
  func take(_ template: RecordFields, of body: UnsafeRawBufferPointer, from producer: SequencedProducer?)
    -> TakenRecords
  {
    guard let lane else { return .full(.closing) }
    guard let producer else {
      guard records.accepted > 0 else { return .stored(new: 0) }
      if let reason = reserve(records.recordBytes, in: lane) { return .full(reason) }
      append(template, of: body, to: lane)
      return .stored(new: records.accepted)
    }
    guard records.count > 0 else { return .stored(new: 0) }
    let outcome = producer.producer.sequence(epoch: producer.epoch) { position in
      takeNumbered(template, of: body, from: producer, at: &position, lane)
    }
    return switch outcome {
    case .done(let taken): taken
    case .fenced(let highest): .fenced(highest: highest)
    case .owned: .owned
    }
  }

  private func reserve(_ bytes: Int, in lane: any IngestLane) -> FullReason? {
    // By the largest there is, and not by the largest there may be: each slab leaves so much unused.
    wantedRoom = WantedRoom(bytes: bytes, largest: records.largestBytes)
    return lane.reserve(bytes: bytes, largest: records.largestBytes)
  }

  /// Under the producer's lock.
  private func takeNumbered(
    _ template: RecordFields, of body: UnsafeRawBufferPointer, from producer: SequencedProducer,
    at position: inout ProducerPosition, _ lane: any IngestLane
  ) -> TakenRecords {
    let last = producer.first + UInt64(records.count) - 1
    guard producer.first <= position.sequence + 1 else { return .gap(expected: position.sequence + 1) }
    guard last > position.sequence else {
      answersWait(for: position.lsn)
      return .stored(new: 0)
    }
    let notes = records.refusals.count * (Limits.serverPartBytes + Limits.producerFixedBytes)
    if let reason = reserve(records.recordBytes + notes, in: lane) { return .full(reason) }
    let known = Int(position.sequence + 1 - producer.first)
    appendNumbered(template, of: body, from: producer, behind: known, to: lane)
    position = ProducerPosition(sequence: last, lsn: lane.submit())
    answersWait(for: position.lsn)
    return .stored(new: records.accepted(behind: known))
  }

  private func append(_ template: RecordFields, of body: UnsafeRawBufferPointer, to lane: any IngestLane) {
    var record = template
    records.elements.withUnsafeBufferPointer { elements in
      for element in elements where element.count > 0 {
        record.payload = element.of(body)
        let result = lane.append(record)
        precondition(result == .accepted, "room was reserved: \(result)")
      }
    }
  }

  private func appendNumbered(
    _ template: RecordFields, of body: UnsafeRawBufferPointer, from producer: SequencedProducer, behind known: Int,
    to lane: any IngestLane
  ) {
    let id = producer.producer.id
    var record = template
    records.elements.withUnsafeBufferPointer { elements in
      for index in known..<elements.count {
        let element = elements[index]
        record.sequence = producer.first + UInt64(index)
        let result: AppendResult
        if element.count > 0 {
          record.payload = element.of(body)
          result = lane.append(record, producer: id, epoch: producer.epoch)
        } else {
          result = lane.appendConsumed(producer: id, epoch: producer.epoch, sequence: record.sequence)
        }
        precondition(result == .accepted, "room was reserved: \(result)")
      }
    }
  }
}

extension HTTPRequestHead {
  enum Sequencing {
    case producer(SequencedProducer)
    case fault(code: String, detail: String)
    /// The stream remembers as many producers as it may, or whoever asks has made as many as it may.
    case tooManyProducers
    /// It belongs to another identity.
    case forbidden
  }

  /// Who numbers the records of this request; `session` is who sends it.
  func sequencing(
    _ bytes: UnsafeRawBufferPointer, on stream: any IngestStream, _ authentication: SourceAuthentication,
    of session: IdentitySession?
  ) -> Sequencing {
    let name = producer.of(bytes)
    guard !name.isEmpty, name.count <= Limits.maxInternedNameBytes, UTF8Bytes.isValid(name) else {
      return .fault(
        code: "bad_producer",
        detail: "Sluice-Producer is 1 to \(Limits.maxInternedNameBytes) bytes of UTF-8, and goes with Sluice-Sequence")
    }
    guard let first = Self.number(sequence.of(bytes)), (1...Limits.maxHTTPSequence).contains(first) else {
      return .fault(
        code: "bad_sequence",
        detail: "Sluice-Sequence is the decimal number of the first record, from 1 to \(Limits.maxHTTPSequence)")
    }
    let chosen = epoch.isEmpty ? 1 : Self.number(epoch.of(bytes))
    guard let chosen, let epoch = UInt16(exactly: chosen), epoch > 0 else {
      return .fault(code: "bad_epoch", detail: "Sluice-Epoch is a decimal number from 1 to \(UInt16.max)")
    }
    let text = String(decoding: name, as: UTF8.self)
    guard authentication.permits(producer: text, of: session) else { return .forbidden }
    guard let producer = stream.producer(named: text, within: session?.identity.producerAllowance) else {
      return .tooManyProducers
    }
    return .producer(SequencedProducer(producer: producer, epoch: epoch, first: first))
  }

  /// Digits and nothing else, 18 at most.
  private static func number(_ text: UnsafeRawBufferPointer) -> UInt64? {
    guard (1...18).contains(text.count) else { return nil }
    var value: UInt64 = 0
    for byte in text {
      let digit = byte &- UInt8(ascii: "0")
      guard digit < 10 else { return nil }
      value = value * 10 + UInt64(digit)
    }
    return value
  }
}
