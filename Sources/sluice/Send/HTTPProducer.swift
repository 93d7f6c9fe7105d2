// A producer over HTTP/1.1: `POST /log` with one record, or `POST /logs` with many, pipelined.
//
//   kept        were refused for now, or lost with a connection; in order
//   awaiting    are on their way; answers come in this order
//   unsent      are to be sent (again)
//
//   answer for the first of `awaiting`          it goes      and
//   202                                          –            its records are acknowledged, but those that it lists
//   400, 413, 415 and other refusals             –            its records are refused for good
//   429, 503, 408, 5xx, 409 `owned`              to kept      back off, at least as long as Retry-After
//   409 `gap`                                    to kept      what is held is numbered from `expected` on, if the server
//                                                             went back; else an earlier one was refused for now
//   409 `fenced`                                 to kept      before the first 202 the epoch is raised; later it fails
//   401, 403, 404, 405, 505, 1xx, 3xx            –            the run fails
//
// Nothing is sent while anything is kept and awaited, so that what comes again can't be overtaken; then the kept go to
// the front of `unsent`. With a producer's name the server drops what it has already; without one a record whose answer
// was lost with its connection may be stored twice.

import NIOCore
import SluiceCore
import SluiceTopology

struct HTTPProducer: SendMachine {
  struct Settings {
    /// Up to the fields that differ from request to request.
    var head: String
    /// Nil: anonymous.
    var producer: String?
    var epoch: UInt16
    /// Records per request; 1: `POST /log`.
    var batch: Int
    /// Requests that may be on their way.
    var inFlight: Int
    /// The records are JSON objects already; otherwise each becomes the `message` of one.
    var isJSON: Bool
    var retries: Bool
  }

  private let settings: Settings
  private(set) var condition = LaneCondition.connecting
  private(set) var wakeAt = Int64.max
  private var reader = HTTPResponseReader()
  private var input = ByteBuffer()
  private var output = ByteBuffer()
  private var kept: CircularBuffer<Parcel> = []
  private var awaiting: CircularBuffer<Parcel> = []
  private var unsent: CircularBuffer<Parcel> = []
  private var nextSequence: UInt64 = 1
  private var epoch: UInt16
  private var wasAccepted = false
  private var resumeAt: Int64 = 0
  private var backoff = Backoff(Limits.sendRetryNanoseconds)

  init(_ settings: Settings) {
    self.settings = settings
    epoch = settings.epoch
  }

  mutating func connected(at now: Int64) { condition = .open }

  mutating func disconnected(at now: Int64, _ tally: inout SendTally) {
    kept.append(contentsOf: awaiting)
    awaiting.removeAll()
    collectKept(&tally)
    reader = HTTPResponseReader()
    input = ByteBuffer()
    output = ByteBuffer()
    if case .failed = condition { return }
    if condition != .done { condition = .connecting }
  }

  mutating func takeOutput() -> [ByteBuffer] {
    guard output.readableBytes > 0 else { return [] }
    defer { output = ByteBuffer() }
    return [output]
  }

  // MARK: Sending

  /// What takes too long here, the whole run ends: an answer may rightly wait for room in the stream.
  mutating func turn(at now: Int64) {}

  mutating func send(from supply: inout RecordSupply, at now: Int64, _ tally: inout SendTally) -> Bool {
    wakeAt = .max
    guard condition == .open else { return false }
    if awaiting.isEmpty { collectKept(&tally) }
    guard now >= resumeAt else {
      wakeAt = resumeAt
      return false
    }
    guard kept.isEmpty else { return false }
    for _ in 0..<Limits.sendParcelsPerTurn {
      guard awaiting.count < settings.inFlight else { return false }
      if let parcel = unsent.popFirst() {
        if parcel.wasSent { tally.retried += UInt64(parcel.count) }
        request(parcel)
        continue
      }
      guard let parcel = makeParcel(from: &supply, at: now, &tally) else {
        if supply.next(at: now) == .over, awaiting.isEmpty { condition = .done }
        return false
      }
      request(parcel)
    }
    return true
  }

  private mutating func makeParcel(
    from supply: inout RecordSupply, at now: Int64, _ tally: inout SendTally
  ) -> Parcel? {
    var origin = supply.origin(at: now)
    var count = 0
    var body = ByteBuffer()
    gathering: while count < settings.batch {
      switch supply.next(at: now) {
      case .ready(let bytes):
        if count > 0, body.readableBytes + bytes > Limits.sendBodyBytes { break gathering }
        if settings.isJSON, supply.withRecord(Self.isBlank) {
          // A line of nothing is no JSON text: it is passed over, as the server does it.
          supply.pass()
          if count > 0 { break gathering }
          origin = supply.origin(at: now)
          continue
        }
        supply.withRecord { write($0, to: &body) }
        supply.take()
        count += 1
        tally.bytes += UInt64(bytes)
      case .later(let due):
        wakeAt = due
        break gathering
      case .waiting, .over: break gathering
      }
    }
    guard count > 0 else { return nil }
    tally.made += UInt64(count)
    defer { nextSequence += UInt64(count) }
    return Parcel(firstSequence: nextSequence, count: count, origin: origin, bytes: body)
  }

  private static func isBlank(_ line: UnsafeRawBufferPointer) -> Bool {
    line.allSatisfy { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }
  }

  private func write(_ record: UnsafeRawBufferPointer, to body: inout ByteBuffer) {
    if settings.isJSON {
      body.writeBytes(record)
    } else {
      body.writeString(#"{"message":""#)
      body.writeEscaped(record)
      body.writeString(#""}"#)
    }
    if settings.batch > 1 { body.writeInteger(UInt8(ascii: "\n")) }
  }

  private mutating func request(_ parcel: Parcel) {
    output.writeString(settings.head)
    if let producer = settings.producer {
      output.writeString(
        "Sluice-Producer: \(producer)\r\nSluice-Epoch: \(epoch)\r\nSluice-Sequence: \(parcel.firstSequence)\r\n")
    }
    output.writeString("Content-Length: \(parcel.bytes.readableBytes)\r\n\r\n")
    output.writeImmutableBuffer(parcel.bytes)
    var parcel = parcel
    parcel.wasSent = true
    awaiting.append(parcel)
  }

  /// What was refused for now is sent again, before everything else, or is given up.
  private mutating func collectKept(_ tally: inout SendTally) {
    if settings.retries {
      unsent = kept + unsent
    } else {
      tally.abandoned += UInt64(kept.reduce(0) { $0 + $1.count })
    }
    kept = []
  }

  // MARK: Answers

  mutating func received(_ bytes: ByteBuffer, at now: Int64, _ tally: inout SendTally) {
    input.writeImmutableBuffer(bytes)
    do throws(HTTPResponseFault) {
      while condition == .open, let answer = try reader.next(&input) {
        if answer.status < 200 { continue }
        take(answer, at: now, &tally)
        if answer.closes, condition == .open { condition = .broken(reconnectAfter: 0) }
      }
    } catch {
      condition = .failed(.protocolError("what answers is no HTTP server to talk to: \(error.detail)"))
    }
    input.discardReadBytes()
  }

  private mutating func take(_ answer: HTTPAnswer, at now: Int64, _ tally: inout SendTally) {
    guard let parcel = awaiting.popFirst() else {
      // A server that gives up a connection may say so before it closes it.
      condition = .broken(reconnectAfter: 0)
      return
    }
    switch answer.status {
    case 202:
      wasAccepted = true
      backoff.reset()
      accept(parcel, answer.body, at: now, &tally)
    case 401, 403: condition = .failed(.noPermission("refused: \(Problem(answer))"))
    case 404, 405, 505, 200..<400:
      condition = .failed(.protocolError("this address does not take records: \(Problem(answer))"))
    case 408, 429, 500...: keep(parcel, answer.retryAfter, at: now)
    case 409: conflict(parcel, answer, at: now, &tally)
    default:
      let problem = Problem(answer)
      for index in 0..<parcel.count {
        tally.refuse(
          SendRefusal(place: parcel.place(index), code: problem.code, detail: problem.detail))
      }
    }
  }

  private mutating func accept(_ parcel: Parcel, _ body: [UInt8], at now: Int64, _ tally: inout SendTally) {
    guard settings.batch > 1 else { return parcel.acknowledge(0, parcel.count, at: now, &tally) }
    guard let json = try? JSONValue(parsing: body), let rejected = json["rejected"]?.array,
      json["accepted"] == .count(parcel.count - rejected.count)
    else {
      condition = .failed(.protocolError("the answer to POST /logs does not say what became of every record"))
      return
    }
    var next = 0
    for refusal in rejected {
      guard case .integer(let number)? = refusal["index"], let index = Int(exactly: number),
        (next..<parcel.count).contains(index)
      else {
        condition = .failed(.protocolError("the answer to POST /logs rejects records that it was not sent"))
        return
      }
      parcel.acknowledge(next, index - next, at: now, &tally)
      tally.refuse(
        SendRefusal(
          place: parcel.place(index), code: refusal["code"]?.string ?? "rejected",
          detail: refusal["detail"]?.string ?? ""))
      next = index + 1
    }
    parcel.acknowledge(next, parcel.count - next, at: now, &tally)
  }

  private mutating func keep(_ parcel: Parcel, _ retryAfter: Int64?, at now: Int64) {
    kept.append(parcel)
    // Those behind it are refused for the same reason, and wait no longer for it.
    guard now >= resumeAt else { return }
    resumeAt = now + max(backoff.next(), (retryAfter ?? 0) * 1_000_000_000)
  }

  private mutating func conflict(_ parcel: Parcel, _ answer: HTTPAnswer, at now: Int64, _ tally: inout SendTally) {
    let json = try? JSONValue(parsing: answer.body)
    if case .integer(let number)? = json?["expected"], let expected = UInt64(exactly: number), expected > 0 {
      kept.append(parcel)
      guard let first = kept.first?.firstSequence, expected < first else { return }
      tally.note(
        "the server wants record \(expected) of \(settings.producer ?? "this producer") again, which it had answered: "
          + "what is left is numbered from there")
      renumber(from: expected)
    } else if case .integer(let number)? = json?["epoch"], let highest = UInt16(exactly: number) {
      kept.append(parcel)
      guard highest > epoch else { return }
      guard !wasAccepted else {
        condition = .failed(.superseded(settings.producer ?? "", epoch: highest))
        return
      }
      epoch = highest
    } else {
      keep(parcel, answer.retryAfter, at: now)
    }
  }

  /// Numbers everything that is held from `sequence` on.
  private mutating func renumber(from sequence: UInt64) {
    nextSequence = sequence
    kept.renumber(&nextSequence)
    awaiting.renumber(&nextSequence)
    unsent.renumber(&nextSequence)
  }
}

extension CircularBuffer<Parcel> {
  /// Numbers the records from `next` on.
  fileprivate mutating func renumber(_ next: inout UInt64) {
    for index in indices {
      self[index].firstSequence = next
      next = self[index].endSequence
    }
  }
}

/// What an error's body says.
private struct Problem: CustomStringConvertible {
  let status: Int
  let code: String
  let detail: String

  init(_ answer: HTTPAnswer) {
    let json = try? JSONValue(parsing: answer.body)
    status = answer.status
    code = json?["code"]?.string ?? "\(answer.status)"
    detail = json?["detail"]?.string ?? String(decoding: answer.body.prefix(200), as: UTF8.self)
  }

  var description: String { "\(status) \(code) \(detail)" }
}

extension ByteBuffer {
  /// The bytes inside a JSON string: quotes, backslashes and control characters escaped, all others as they are.
  fileprivate mutating func writeEscaped(_ bytes: UnsafeRawBufferPointer) {
    var start = 0
    for (index, byte) in bytes.enumerated() where byte < 0x20 || byte == 0x22 || byte == 0x5C {
      writeBytes(UnsafeRawBufferPointer(rebasing: bytes[start..<index]))
      start = index + 1
      if byte >= 0x20 {
        writeInteger(UInt8(ascii: "\\"))
        writeInteger(byte)
      } else {
        let digits = Array("0123456789abcdef".utf8)
        writeString("\\u00")
        writeInteger(digits[Int(byte >> 4)])
        writeInteger(digits[Int(byte & 15)])
      }
    }
    writeBytes(UnsafeRawBufferPointer(rebasing: bytes[start...]))
  }
}
