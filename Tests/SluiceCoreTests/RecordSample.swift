import SluiceCore
import TestSupport

/// A record as values, for tests: encoded by the code under test, compared field by field with what a view shows.
struct RecordSample: Equatable {
  var ingestTime: Int64 = 0
  var producer: UInt32 = 0
  var source: UInt16 = 0
  var epoch: UInt16 = 0
  var eventTime: Int64 = 0
  var sequence: UInt64 = 0
  var topic: [UInt8] = []
  var key: [UInt8] = []
  var headers: [UInt8] = []
  var payload: [UInt8] = []

  static func random(_ random: inout SeededGenerator, maxPayload: Int) -> RecordSample {
    func sometimes(_ limit: Int) -> [UInt8] {
      Bool.random(using: &random) ? [] : random.bytes(Int.random(in: 0...limit, using: &random))
    }
    return RecordSample(
      ingestTime: Int64(bitPattern: random.next()), producer: UInt32(truncatingIfNeeded: random.next()),
      source: UInt16(truncatingIfNeeded: random.next()), epoch: UInt16(truncatingIfNeeded: random.next()),
      eventTime: Int64(bitPattern: random.next()), sequence: random.next(), topic: sometimes(Limits.maxTopicBytes),
      key: sometimes(40), headers: sometimes(60), payload: sometimes(maxPayload))
  }

  func withFields<R>(_ body: (RecordFields) -> R) -> R {
    topic.withUnsafeBytes { topic in
      key.withUnsafeBytes { key in
        headers.withUnsafeBytes { headers in
          payload.withUnsafeBytes { payload in
            body(
              RecordFields(
                eventTime: eventTime, sequence: sequence, topic: topic, key: key, headers: headers, payload: payload))
          }
        }
      }
    }
  }

  /// The whole record as it stands in the log. The buffer starts dirty, so that padding left unwritten shows.
  func encoded() -> [UInt8] {
    withFields { fields in
      var bytes = [UInt8](repeating: 0xEE, count: fields.recordBytes)
      bytes.withUnsafeMutableBytes { buffer in
        let base = buffer.baseAddress!
        let crc = fields.encodeProducerPart(to: base + RecordLayout.producerPart)
        base.storeLE(UInt32(fields.recordBytes), RecordLayout.length)
        base.storeLE(crc, RecordLayout.crc)
        base.storeLE(ingestTime, RecordLayout.ingestTime)
        base.storeLE(producer, RecordLayout.producer)
        base.storeLE(source, RecordLayout.source)
        base.storeLE(epoch, RecordLayout.epoch)
      }
      return bytes
    }
  }

  /// What a view shows.
  init(_ view: RecordView) {
    ingestTime = view.ingestTime
    producer = view.producer
    source = view.source
    epoch = view.epoch
    eventTime = view.eventTime
    sequence = view.sequence
    topic = Array(view.topic)
    key = Array(view.key)
    headers = Array(view.headers)
    payload = Array(view.payload)
  }

  init(
    ingestTime: Int64 = 0, producer: UInt32 = 0, source: UInt16 = 0, epoch: UInt16 = 0, eventTime: Int64 = 0,
    sequence: UInt64 = 0, topic: [UInt8] = [], key: [UInt8] = [], headers: [UInt8] = [], payload: [UInt8] = []
  ) {
    self.ingestTime = ingestTime
    self.producer = producer
    self.source = source
    self.epoch = epoch
    self.eventTime = eventTime
    self.sequence = sequence
    self.topic = topic
    self.key = key
    self.headers = headers
    self.payload = payload
  }
}
