import SluiceCore
import Testing

/// Limits that depend on each other.
struct LimitsTests {
  @Test func theFixedPartsOfARecordAreAlignedAndAtMost56Bytes() {
    #expect(Limits.serverPartBytes == RecordLayout.producerPart)
    #expect(Limits.serverPartBytes % 8 == 0 && Limits.producerFixedBytes % 8 == 0)
    #expect(Limits.serverPartBytes + Limits.producerFixedBytes <= 56)
    #expect(RecordLayout.reserved + 2 == Limits.serverPartBytes + Limits.producerFixedBytes)
  }

  @Test func metadataFitsItsLengthFieldsAndTheSmallestDefaultRecord() {
    let metadata = Limits.maxTopicBytes + Limits.maxKeyBytes + Limits.maxHeadersBytes
    for limit in [Limits.maxTopicBytes, Limits.maxKeyBytes, Limits.maxHeadersBytes] {
      #expect(limit <= Int(UInt16.max))
    }
    #expect(metadata < Limits.defaultMaxRecordBytes / 2)
    #expect(Limits.defaultMaxRecordBytes <= Limits.maxMaxRecordBytes)
    #expect(Limits.maxMaxRecordBytes < Int(UInt32.max))
  }

  @Test func aSlabHoldsTwoRecordsAndARingSeveralSlabs() {
    #expect(Limits.defaultSlabBytes >= 2 * Limits.defaultMaxRecordBytes)
    #expect(Limits.minRingBytes >= 2 * Limits.defaultSlabBytes)
    #expect(Limits.defaultRingBytes >= Limits.minRingBytes)
    #expect(Limits.coldReadBufferBytes >= Limits.defaultMaxRecordBytes)
  }

  @Test func groupsAndSegmentsAreWholeBlocks() {
    #expect(Limits.groupAlignment.nonzeroBitCount == 1)
    #expect(Limits.segmentHeaderBytes % Limits.groupAlignment == 0)
    #expect(Limits.cursorSlotBytes % Limits.groupAlignment == 0)
    #expect(Limits.minSegmentBytes % Limits.groupAlignment == 0)
    #expect(Limits.maxGroupBytes % Limits.groupAlignment == 0)
    #expect(Limits.groupHeaderBytes % 8 == 0 && Limits.groupHeaderBytes < Limits.groupAlignment)
    #expect(Limits.minSegmentBytes <= Limits.defaultSegmentBytes)
    #expect(Limits.maxGroupBytes <= Limits.defaultSegmentBytes)
    #expect(Limits.maxGroupPieces <= 1024, "Linux takes 1,024 pieces in one vectored write")
  }

  @Test func cursorsFitTheirSlot() {
    #expect(Limits.maxCursorsPerLog * (Limits.maxCursorNameBytes + 64) < Limits.cursorSlotBytes)
  }

  @Test func theDefaultBatchIsWithinWhatAReaderHoldsAtOnce() {
    #expect(Limits.defaultBatchBytes <= Limits.defaultSlabBytes)
    #expect(Limits.defaultBatchBytes <= Limits.coldReadBufferBytes)
    #expect(Limits.defaultRetryFirstNanoseconds < Limits.defaultRetryMaxNanoseconds)
  }
}
