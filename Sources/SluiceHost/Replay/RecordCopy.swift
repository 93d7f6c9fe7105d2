import SluiceCore

/// One record in memory of its own.
///
/// `@unchecked Sendable`: the bytes are written in `init` and, by the queue that numbers its names, before any other
/// thread sees them; then never again. They are freed with the last reference.
package final class RecordCopy: @unchecked Sendable {
  private let memory: UnsafeMutableRawPointer
  package let length: Int

  /// The record that a letter was made of. Nil if it was cut, or if what is there makes another producer part than the
  /// one that was rejected.
  package init?(_ letter: DeadLetter, of record: RecordView, ownHeaders: UnsafeRawBufferPointer) {
    guard letter.cut == .nothing else { return nil }
    let fields = RecordFields(
      eventTime: record.eventTime, sequence: letter.sequence, topic: record.topic, key: record.key, headers: ownHeaders,
      payload: record.payload)
    length = fields.recordBytes
    memory = .allocate(byteCount: length, alignment: 8)
    let crc = fields.encodeProducerPart(to: memory + RecordLayout.producerPart)
    memory.storeLE(UInt32(length), RecordLayout.length)
    memory.storeLE(crc, RecordLayout.crc)
    memory.storeLE(letter.ingestTime, RecordLayout.ingestTime)
    memory.storeLE(letter.epoch, RecordLayout.epoch)
    name(source: 0, producer: 0)
    guard crc == letter.crc else { return nil }
  }

  deinit { memory.deallocate() }

  package var bytes: UnsafeRawPointer { UnsafeRawPointer(memory) }

  /// Sets the ids that the record's names have where it is going.
  func name(source: UInt16, producer: UInt32) {
    memory.storeLE(source, RecordLayout.source)
    memory.storeLE(producer, RecordLayout.producer)
  }
}

/// A hold on the copies of one batch.
final class CopiesPin: RecordPin {
  private let copies: [RecordCopy]
  let chargedBytes: Int

  init(_ copies: [RecordCopy]) {
    self.copies = copies
    chargedBytes = copies.reduce(0) { $0 + $1.length }
    retain()
  }

  // A hold is a reference to this object, counted by hand: the last one frees the copies.
  func retain() { _ = Unmanaged.passRetained(self) }
  func unpin() { Unmanaged.passUnretained(self).release() }
}
