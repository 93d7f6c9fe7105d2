import SluiceCore
import Testing

@testable import SluiceJournal

@Suite("The end of the last segment is classified by its row")
struct TailClassificationTests {
  struct Row: CustomTestStringConvertible {
    var label: String
    var evidence: TailEvidence
    var verdict: TailVerdict
    var testDescription: String { label }
  }

  static func evidence(
    sealed: Bool = false, _ rest: TailEvidence.Rest, later: TailEvidence.Later? = nil, witness: UInt64 = 9
  ) -> TailEvidence {
    TailEvidence(sealed: sealed, expected: 10, rest: rest, later: later, slotWitness: witness)
  }

  static let rows: [Row] = [
    Row(label: "SEALED, nothing behind", evidence: evidence(sealed: true, .nothing), verdict: .sealed),
    Row(label: "SEALED, leftovers behind", evidence: evidence(sealed: true, .bytes), verdict: .sealed),
    Row(label: "NEXT MISSING", evidence: evidence(sealed: true, .zeros, witness: 12), verdict: .lost(last: 12)),
    Row(label: "CLEAN, at the end of the file", evidence: evidence(.nothing), verdict: .clean),
    Row(label: "CLEAN, laid out space behind", evidence: evidence(.zeros), verdict: .clean),
    Row(label: "TORN", evidence: evidence(.bytes), verdict: .torn),
    Row(
      label: "HOLE", evidence: evidence(.bytes, later: .init(offset: 8192, firstLSN: 13, durableLSN: 12)),
      verdict: .resume(offset: 8192, lsn: 13)),
    Row(
      label: "HOLE, proven by a still later group",
      evidence: evidence(.bytes, later: .init(offset: 8192, firstLSN: 13, durableLSN: 10)),
      verdict: .resume(offset: 8192, lsn: 13)),
    Row(
      label: "MARKER", evidence: evidence(.bytes, later: .init(offset: 8192, firstLSN: 10, durableLSN: 9)),
      verdict: .resume(offset: 8192, lsn: 10)),
    Row(
      label: "UNPROVEN", evidence: evidence(.bytes, later: .init(offset: 8192, firstLSN: 13, durableLSN: 9)),
      verdict: .torn),
    Row(label: "LOST ZEROS", evidence: evidence(.zeros, witness: 10), verdict: .lost(last: 10)),
    Row(label: "LOST, file cut off", evidence: evidence(.nothing, witness: 15), verdict: .lost(last: 15)),
    Row(label: "LOST BYTES", evidence: evidence(.bytes, witness: 11), verdict: .lost(last: 11)),
  ]

  @Test("row by row", arguments: rows)
  func row(_ row: Row) { #expect(row.evidence.verdict == row.verdict) }
}
