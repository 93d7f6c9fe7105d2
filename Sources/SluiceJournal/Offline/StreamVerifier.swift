import SluiceCore

/// Reads everything that a log has on disk and checks all of it: every segment header, every group with its records and
/// its padding, the chain of segments, the cursor slots. Changes nothing and takes no lock. While a daemon writes, what it
/// is writing is looked at again before it is called torn.
package enum StreamVerifier {
  package struct Report: Sendable, Equatable {
    package var directory: String
    package var uuid: LogUUID?
    /// The process that has the log open.
    package var writer: Int32?
    package var segments = 0
    package var groups = 0
    package var records = 0
    package var bytes = 0
    /// Of the records that are there; none when `lastLSN` < `firstLSN`.
    package var firstLSN: UInt64 = 1
    package var lastLSN: UInt64 = 0
    package var problems: [LogProblem] = []
    /// Problems that are not told one by one, since there are too many.
    package var untold = 0

    package var isSound: Bool { untold == 0 && problems.allSatisfy(\.isKnown) }
    package var lostRecords: UInt64 { problems.reduce(0) { $0 + ($1.isKnown ? 0 : $1.lostRecords) } }
  }

  /// The records of a range, or what can be read of them, in order: each group that may hold some is given to `visitor`,
  /// which may end the reading. The report is of the segments that were read.
  package static func read(
    _ directory: StreamDirectory, _ range: LogRange, _ visitor: any GroupVisitor,
    onProgress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws(JournalError) -> Report {
    var examination = LogExamination(directory, range: range, visitor: visitor)
    do throws(IOFault) { try examination.run(onProgress) } catch { throw JournalError(error) }
    return examination.report
  }

  /// `onProgress` is called with the bytes that are done and all there are.
  package static func verify(
    _ directory: StreamDirectory, onProgress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws(JournalError) -> Report {
    var examination = LogExamination(directory, range: LogRange(), visitor: nil)
    do throws(IOFault) { try examination.run(onProgress) } catch { throw JournalError(error) }
    return examination.report
  }
}

/// Which records are wanted.
package struct LogRange: Sendable, Equatable {
  package var firstLSN: UInt64
  package var lastLSN: UInt64
  /// Ingest time, ns since 1970.
  package var notBefore: Int64
  package var before: Int64
  /// Nil: all segments.
  package var segment: String?

  package init(
    firstLSN: UInt64 = 1, lastLSN: UInt64 = .max, notBefore: Int64 = .min, before: Int64 = .max, segment: String? = nil
  ) {
    self.firstLSN = firstLSN
    self.lastLSN = lastLSN
    self.notBefore = notBefore
    self.before = before
    self.segment = segment
  }
}

/// A group on its way to whoever reads a log from its files.
package struct FoundGroup {
  package let segment: String
  package let offset: Int
  package let header: GroupHeader
  package let flaws: GroupFlaws
  /// Behind the last group that is known to have been durable: a commit that a crash cut off.
  package let isCutOff: Bool
  /// Valid until the visitor returns.
  package let bytes: UnsafeRawBufferPointer

  /// Calls `visit` with each record that is whole.
  package func records(_ visit: (_ lsn: UInt64, _ record: RecordView) -> Void) {
    guard let base = bytes.baseAddress else { return }
    var at = header.recordsOffset
    for index in 0..<header.count {
      let record = RecordView(trusted: base + at)
      if flaws.damaged[index] == nil { visit(header.firstLSN + UInt64(index), record) }
      at += record.length
    }
  }
}

package protocol GroupVisitor: AnyObject {
  /// `names`: those that are known by then. False ends the reading.
  func visit(_ group: FoundGroup, names: DefinitionTable) -> Bool
  /// What is found to be wrong on the way, in its place.
  func problem(_ problem: LogProblem)
}

extension StreamDirectory {
  /// The header that a segment had, if something proves it. `previous`: a scan of the segment before.
  func rescue(_ segment: Segment, previous: TailScan?) throws(IOFault) -> HeaderRescue.Rescued? {
    let hint = HeaderRescue.Hint(
      uuid: uuid, baseLSN: segment.baseLSN, previous: previous)
    return try HeaderRescue.rescue(try LogFile(file(segment.name), .read, on: storage), hint)
  }
}
