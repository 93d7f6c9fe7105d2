import NIOCore
import SluiceCore
import SluiceIngest
import TestSupport
import Testing

@testable import sluice

@Suite struct WireWindowTests {
  /// Records as they stand in a DATA frame, each with its sequence and its number as payload.
  static func records(from sequence: UInt64, _ numbers: Range<Int>) -> ByteBuffer {
    var buffer = ByteBuffer()
    var sender = WireSender(.toServer)
    var frame = sender.beginData(channel: 0, firstSequence: sequence, in: &buffer)
    for (index, number) in numbers.enumerated() {
      Array("\(number)".utf8).withUnsafeBytes { payload in
        frame.append(
          RecordFields(eventTime: 1, sequence: sequence + UInt64(index), payload: payload), to: &buffer)
      }
    }
    sender.finishData(frame, in: &buffer)
    buffer.moveReaderIndex(forwardBy: WireLayout.headerBytes + WireLayout.dataFixedBytes)
    return buffer
  }

  /// (sequence, payload) of each record; checks its checksum.
  static func contents(_ parcel: Parcel) -> [(UInt64, String)] {
    var list: [(UInt64, String)] = []
    parcel.bytes.forEachRecord { part, crc in
      #expect(CRC32C.of(part) == crc)
      let sequence: UInt64 = part.loadUnaligned(fromByteOffset: 16, as: UInt64.self).littleEndian
      let length = Int(part.loadUnaligned(fromByteOffset: 4, as: UInt32.self).littleEndian)
      list.append(
        (
          sequence,
          String(decoding: part[Limits.producerFixedBytes..<Limits.producerFixedBytes + length], as: UTF8.self)
        ))
    }
    return list
  }

  private func parcel(_ window: WireWindow, _ count: Int, number: Int = 0) -> Parcel {
    Parcel(
      firstSequence: window.next, count: count,
      origin: ParcelOrigin(place: UInt64(number) + 1, stride: 1, time: 0, interval: 0),
      bytes: Self.records(from: window.next, number..<number + count))
  }

  @Test("an ACK in the middle of a frame answers its records up to there")
  func ackInTheMiddle() {
    var window = WireWindow()
    var tally = SendTally()
    window.append(parcel(window, 3))
    window.append(parcel(window, 2, number: 3))
    window.markSent()
    window.markSent()
    window.answer(upTo: 2, at: 5, &tally)
    #expect((window.first, window.next, window.count) == (3, 6, 3))
    #expect(tally.acknowledged == 2)
    window.answer(upTo: 4, at: 5, &tally)
    #expect(window.first == 5 && tally.acknowledged == 4)
    window.answer(upTo: 5, at: 5, &tally)
    #expect(window.isEmpty && window.unsent == nil && tally.acknowledged == 5)
  }

  @Test("a record that was refused for good is answered by the ACK that covers it, and not acknowledged")
  func refusedRecords() {
    var window = WireWindow()
    var tally = SendTally()
    window.append(parcel(window, 4))
    window.markSent()
    window.refuse(1)
    window.refuse(3)
    #expect(window.place(of: 3) == 3)
    window.answer(upTo: 2, at: 5, &tally)
    #expect(tally.acknowledged == 1)
    window.answer(upTo: 4, at: 5, &tally)
    #expect(tally.acknowledged == 2 && window.isEmpty)
  }

  @Test("numbers that are given anew stand in the records, whose checksums are right again")
  func renumbering() throws {
    var window = WireWindow()
    var tally = SendTally()
    window.append(parcel(window, 3))
    window.append(parcel(window, 2, number: 3))
    window.markSent()
    window.answer(upTo: 1, at: 0, &tally)
    window.renumber(from: 100, inRecords: true)
    window.rewind(to: window.first)
    #expect(window.first == 100 && window.next == 104)
    let first = Self.contents(try #require(window.unsent))
    #expect(first.map(\.0) == [100, 101] && first.map(\.1) == ["1", "2"])
  }

  /// What the window is to be, record by record.
  private struct Model {
    var payloads: [Int] = []
    var first: UInt64 = 1
    var sent = 0
    var next: UInt64 { first + UInt64(payloads.count) }
  }

  @Test("whatever happens to it, the window holds what a list of single records would")
  func againstAModel() throws {
    var random = SeededGenerator(seed: .random(in: 0...(.max)))
    for _ in 0..<300 {
      var window = WireWindow()
      var model = Model()
      var tally = SendTally()
      var made = 0
      for _ in 0..<40 {
        switch Int.random(in: 0..<6, using: &random) {
        case 0, 1:
          let count = Int.random(in: 1...5, using: &random)
          window.append(parcel(window, count, number: made))
          model.payloads += Array(made..<made + count)
          made += count
        case 2:
          guard let unsent = window.unsent else { continue }
          if unsent.count > 1, Bool.random(using: &random) { window.cutUnsent(after: 1) }
          model.sent += try #require(window.unsent).count
          window.markSent()
        case 3:
          guard !model.payloads.isEmpty else { continue }
          let count = Int.random(in: 1...model.payloads.count, using: &random)
          window.answer(upTo: model.first + UInt64(count) - 1, at: 0, &tally)
          model.payloads.removeFirst(count)
          model.first += UInt64(count)
          model.sent = max(0, model.sent - count)
        case 4:
          let offset = Int.random(in: 0...model.payloads.count, using: &random)
          window.rewind(to: model.first + UInt64(offset))
          model.sent = min(model.sent, offset)
        default:
          let offset = Int.random(in: 0...model.payloads.count, using: &random)
          let dropped = window.drop(from: model.first + UInt64(offset))
          #expect(dropped == model.payloads.count - offset, "seed \(random.seed)")
          model.payloads.removeLast(dropped)
          model.sent = min(model.sent, offset)
        }
        #expect((window.first, window.next) == (model.first, model.next), "seed \(random.seed)")
        let unsent = window.unsent.flatMap { Self.contents($0).first }
        #expect(unsent?.0 == (model.sent < model.payloads.count ? model.first + UInt64(model.sent) : nil))
      }
      var held: [Int] = []
      window.rewind(to: window.first)
      while let unsent = window.unsent {
        held += Self.contents(unsent).compactMap { Int($0.1) }
        window.markSent()
      }
      #expect(held == model.payloads, "seed \(random.seed)")
    }
  }
}

@Suite struct ResumeTests {
  @Test(
    "the resume table",
    arguments: [
      (10, 11, 15, Resume.sendAll), (11, 11, 15, .forget(upTo: 11)), (13, 11, 15, .forget(upTo: 13)),
      (14, 11, 15, .forget(upTo: 14)), (9, 11, 15, .serverLost(next: 10)), (0, 11, 15, .serverLost(next: 1)),
      (15, 11, 15, .clientLost(next: 16)), (10, 11, 11, .sendAll), (11, 11, 11, .clientLost(next: 12)),
      (0, 1, 1, .sendAll),
    ] as [(UInt64, UInt64, UInt64, Resume)])
  func table(last: UInt64, first: UInt64, next: UInt64, found: Resume) {
    #expect(Resume(last: last, first: first, next: next) == found)
  }
}
