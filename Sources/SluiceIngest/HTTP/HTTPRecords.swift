// `POST /log` and `POST /logs`: from a request's body to records in the stream, and what is answered.

import NIOCore
import SluiceCore

extension HTTPConnection {
  // MARK: POST /log

  /// False: the stream is full and the request is to wait.
  @inline(__always)
  func log(
    _ request: HTTPRequest, _ bytes: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, _ now: Int64
  ) -> Bool {
    guard !request.head.isSequenced else { return numberedLog(request, bytes, body: body, now) }
    do throws(JSONFault) {
      _ = try JSONScanner.message(of: body, maxDepth: Limits.maxJSONDepth)
    } catch {
      loop.counters.rejected(.json)
      problem(request, error)
      return true
    }
    var record = RecordFields(eventTime: now, topic: loop.settings.defaultTopic, payload: body)
    guard addMetadata(of: request, bytes, to: &record), takesQuota(records: 1, of: body, request) else { return true }
    switch loop.append(record) {
    case .accepted:
      loop.counters.recordsAccepted(1)
      answerAccepted(persistence(request.head))
    case .full(let reason):
      loop.wantedRoom = WantedRoom(bytes: record.recordBytes, largest: record.recordBytes)
      return isAnswered(full: reason, request, records: 1)
    case .tooLarge(let limit):
      givesBackQuota()
      loop.counters.rejected(.tooLarge)
      problem(
        request, .bodyTooLarge, code: "record_too_large", detail: "the stream takes records of up to \(limit) bytes")
    }
    return true
  }

  /// The same for a record that its producer numbers: a refused one consumes its number.
  private func numberedLog(
    _ request: HTTPRequest, _ bytes: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, _ now: Int64
  ) -> Bool {
    var record = RecordFields(eventTime: now, topic: loop.settings.defaultTopic, payload: .empty)
    guard addMetadata(of: request, bytes, to: &record), let stream = loop.settings.stream,
      let producer = producer(of: request, bytes, on: stream), takesQuota(records: 1, of: body, request)
    else { return true }
    loop.records.begin(metadataBytes: record.topic.count + record.key.count, maxRecordBytes: stream.maxRecordBytes)
    loop.records.readOne(body)
    return isAnswered(loop.take(record, of: body, from: producer), request) { persistence in
      guard let refusal = loop.records.refusals.first else { return answerAccepted(persistence) }
      let response = loop.responses.problem(
        refusal.reason == .tooLarge ? .bodyTooLarge : .badRequest, code: "\(refusal.code)", detail: "\(refusal.detail)",
        member: refusal.offset.map { .number("offset", $0) }, persistence)
      answerWhenDurable(response, persistence)
    }
  }

  // MARK: POST /logs

  /// False: the stream is full and the request is to wait.
  func logs(
    _ request: HTTPRequest, _ bytes: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer, _ now: Int64
  ) -> Bool {
    var record = RecordFields(eventTime: now, topic: loop.settings.defaultTopic, payload: .empty)
    guard addMetadata(of: request, bytes, to: &record), let stream = loop.settings.stream else { return true }
    var numbered: SequencedProducer?
    if request.head.isSequenced {
      guard let producer = producer(of: request, bytes, on: stream) else { return true }
      numbered = producer
    }
    loop.records.begin(metadataBytes: record.topic.count + record.key.count, maxRecordBytes: stream.maxRecordBytes)
    do throws(RecordList.Fault) {
      try loop.records.read(body)
    } catch {
      loop.counters.rejected(.json, loop.records.count)
      switch error {
      case .json(let fault): problem(request, fault)
      case .tooManyRefusals:
        problem(
          request, .badRequest, code: "too_many_refused",
          detail: "more than \(Limits.maxRefusedElements) elements are refused, so that nothing was stored")
      }
      return true
    }
    guard takesQuota(records: loop.records.count, of: body, request) else { return true }
    return isAnswered(loop.take(record, of: body, from: numbered), request) { persistence in
      answerWhenDurable(loop.responses.received(loop.records, persistence), persistence)
    }
  }

  // MARK: Answers

  /// Counts, and answers: `stored` if the records are in the log, or what stands in the way.
  private func isAnswered(
    _ taken: TakenRecords, _ request: HTTPRequest, stored: (HTTPPersistence) -> Void
  ) -> Bool {
    let count = loop.records.count
    switch taken {
    case .stored(let new):
      loop.counters.recordsAccepted(new)
      loop.counters.duplicates(loop.records.accepted - new)
      for refusal in loop.records.refusals { loop.counters.rejected(refusal.reason) }
      stored(persistence(request.head))
    case .full(let reason):
      return isAnswered(full: reason, request, records: count)
    case .gap(let expected):
      givesBackQuota()
      loop.counters.rejected(.gap, count)
      problem(
        request, .conflict, code: "gap", detail: "records are missing before this one; `expected` comes next",
        member: .number("expected", Int(clamping: expected)))
    case .fenced(let highest):
      givesBackQuota()
      loop.counters.rejected(.fenced, count)
      problem(
        request, .conflict, code: "fenced", detail: "a producer of this name has come with the higher `epoch`",
        member: .number("epoch", Int(highest)))
    case .owned:
      givesBackQuota()
      loop.counters.rejected(.owned, count)
      problem(request, .conflict, code: "owned", detail: "a framed connection writes as this producer")
    }
    return true
  }

  /// False: the request is to wait for room.
  private func isAnswered(full reason: FullReason, _ request: HTTPRequest, records: Int) -> Bool {
    givesBackQuota()
    let mayWait = loop.settings.options.blockNanoseconds != nil && reason != .closing && !loop.isDraining
    guard !mayWait || givesUp else { return false }
    loop.counters.rejected(RejectReason(reason), records)
    let persistence = persistence(request.head)
    answer(loop.responses.full(reason, hasWaited: mayWait, persistence), persistence)
    return true
  }

  private func problem(_ request: HTTPRequest, _ fault: JSONFault) {
    problem(
      request, .badRequest, code: "\(fault.code.name)", detail: "\(fault.code.detail)",
      member: .number("offset", fault.offset))
  }

  // MARK: Headers

  /// The producer that the headers name. Nil: they are wrong, and that is answered.
  private func producer(
    of request: HTTPRequest, _ bytes: UnsafeRawBufferPointer, on stream: any IngestStream
  ) -> SequencedProducer? {
    switch request.head.sequencing(bytes, on: stream, authentication, of: authorization.session) {
    case .producer(let producer): return producer
    case .fault(let code, let detail):
      loop.counters.rejected(.metadata)
      problem(request, .badRequest, code: code, detail: detail)
    case .tooManyProducers:
      loop.counters.rejected(.producers)
      problem(
        request, .unavailable, code: "too_many_producers", detail: "the stream remembers as many producers as it may",
        extra: HTTPResponses.retryAfter)
    case .forbidden: refuseProducer(request)
    }
    return nil
  }

  /// Adds what the headers say of the records. An empty one counts as absent. False: one is wrong, and that is answered.
  @inline(__always)
  private func addMetadata(
    of request: HTTPRequest, _ bytes: UnsafeRawBufferPointer, to record: inout RecordFields
  ) -> Bool {
    let head = request.head
    if !head.topic.isEmpty {
      record.topic = head.topic.of(bytes)
      guard record.topic.count <= Limits.maxTopicBytes, UTF8Bytes.isValid(record.topic), !record.topic.contains(0x09)
      else {
        return refuse(
          request, code: "bad_topic",
          detail: "Sluice-Topic is at most \(Limits.maxTopicBytes) bytes of UTF-8 without tabs")
      }
    }
    if !head.key.isEmpty {
      record.key = head.key.of(bytes)
      guard record.key.count <= Limits.maxKeyBytes, UTF8Bytes.isValid(record.key) else {
        return refuse(
          request, code: "bad_key", detail: "Sluice-Key is at most \(Limits.maxKeyBytes) bytes of UTF-8")
      }
    }
    if !head.time.isEmpty {
      guard let time = EventTime.nanoseconds(head.time.of(bytes)) else {
        return refuse(
          request, code: "bad_time", detail: "Sluice-Time is an RFC 3339 time or nanoseconds since 1970 in decimal")
      }
      record.eventTime = time
    }
    return true
  }

  private func refuse(_ request: HTTPRequest, code: String, detail: String) -> Bool {
    loop.counters.rejected(.metadata)
    problem(request, .badRequest, code: code, detail: detail)
    return false
  }
}

extension RejectReason {
  init(_ reason: FullReason) {
    switch reason {
    case .ring: self = .ring
    case .retention: self = .retention
    case .disk: self = .disk
    case .closing: self = .closing
    }
  }
}
