// The records of one body: where each stands, and which are refused.
//
//   body      NDJSON, unless the first byte that is no white space is `[`: then a JSON array
//   NDJSON    lines, each ended by LF or by the body's end; white space around a line is dropped, and a line of nothing
//             else is passed over. A line that is no JSON is one refused element: the next line is read all the same.
//   array     one JSON text. Where that is wrong nothing behind can be trusted, so the whole body is refused.
//   element   an object with a string member `message`, as `POST /log` takes it; its payload is its bytes as sent
//
// Everything is judged before anything is stored: a body of which too many elements are refused is refused whole, so
// that an answer stays bounded. Positions count elements, refused ones too, from 0.

import Glibc
import SluiceCore

/// One list serves all bodies of a loop, one after the other: what it has grown to, it keeps, up to a bound.
struct RecordList {
  /// Where an element stands in the body; no bytes: it is refused.
  struct Element {
    var start: UInt32
    var count: UInt32

    @inline(__always)
    func of(_ body: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
      UnsafeRawBufferPointer(rebasing: body[Int(start)..<Int(start) + Int(count)])
    }
  }

  struct Refusal: Equatable {
    var index: Int
    var code: StaticString
    var detail: StaticString
    /// The byte of the body where it goes wrong.
    var offset: Int?
    var reason: RejectReason

    init(_ fault: JSONFault, at index: Int, start: Int) {
      self.index = index
      code = fault.code.name
      detail = fault.code.detail
      offset = start + fault.offset
      reason = .json
    }

    init(tooLarge index: Int) {
      self.index = index
      code = "record_too_large"
      detail = "the record and its metadata are larger than the stream takes"
      reason = .tooLarge
    }

    static func == (one: Refusal, other: Refusal) -> Bool {
      one.index == other.index && one.code.description == other.code.description && one.offset == other.offset
    }
  }

  enum Fault: Error, Equatable {
    case json(JSONFault)
    case tooManyRefusals
  }

  private(set) var elements: ContiguousArray<Element> = []
  private(set) var refusals: [Refusal] = []
  /// What the records take in the log, without the refused ones.
  private(set) var recordBytes = 0
  /// Of the largest of them, or of the note in place of a refused one.
  private(set) var largestBytes = 0
  private var metadataBytes = 0
  /// What each record was judged by.
  private(set) var maxRecordBytes = 0

  var count: Int { elements.count }
  var accepted: Int { elements.count - refusals.count }

  /// Those of them that stand behind the first `known` elements.
  func accepted(behind known: Int) -> Int { count - known - refusals.count { $0.index >= known } }

  /// Begins a new body, whose records all carry `metadataBytes` of topic, key and headers.
  mutating func begin(metadataBytes: Int, maxRecordBytes: Int) {
    if elements.count > Limits.keptListElements { elements = [] }
    elements.removeAll(keepingCapacity: true)
    refusals.removeAll(keepingCapacity: true)
    recordBytes = 0
    largestBytes = Limits.serverPartBytes + Limits.producerFixedBytes
    self.metadataBytes =
      Limits.serverPartBytes + Limits.producerFixedBytes + RecordLayout.padded(metadataBytes)
    self.maxRecordBytes = maxRecordBytes
  }

  /// Finds and judges the elements of a whole body.
  mutating func read(_ body: UnsafeRawBufferPointer) throws(Fault) {
    var at = 0
    while at < body.count, Self.isWhiteSpace(body[at]) { at += 1 }
    if at < body.count, body[at] == UInt8(ascii: "[") {
      do throws(JSONFault) {
        try readArray(body, from: at + 1)
      } catch {
        throw .json(error)
      }
    } else {
      readLines(body, from: at)
    }
    if refusals.count > Limits.maxRefusedElements { throw .tooManyRefusals }
  }

  /// Takes the whole body as the one element, as `POST /log` does.
  mutating func readOne(_ body: UnsafeRawBufferPointer) { judge(body, from: 0, to: body.count) }

  // MARK: Lines

  /// Stops early when too many are refused.
  private mutating func readLines(_ body: UnsafeRawBufferPointer, from start: Int) {
    guard let base = body.baseAddress else { return }
    var at = start
    while at < body.count, refusals.count <= Limits.maxRefusedElements {
      let end = memchr(base + at, 0x0A, body.count - at).map { UnsafeRawPointer($0) - base } ?? body.count
      var first = at
      var last = end
      while first < last, Self.isWhiteSpace(body[first]) { first += 1 }
      while last > first, Self.isWhiteSpace(body[last - 1]) { last -= 1 }
      if first < last { judge(body, from: first, to: last) }
      at = end + 1
    }
  }

  @inline(__always)
  private mutating func judge(_ body: UnsafeRawBufferPointer, from first: Int, to last: Int) {
    do throws(JSONFault) {
      _ = try JSONScanner.message(
        of: UnsafeRawBufferPointer(rebasing: body[first..<last]), maxDepth: Limits.maxJSONDepth)
      take(first..<last)
    } catch {
      refuse(Refusal(error, at: elements.count, start: first))
    }
  }

  // MARK: Array

  private mutating func readArray(_ body: UnsafeRawBufferPointer, from start: Int) throws(JSONFault) {
    var at = start
    while at < body.count, Self.isWhiteSpace(body[at]) { at += 1 }
    if at < body.count, body[at] == UInt8(ascii: "]") {
      at += 1
    } else {
      var isLast = false
      while !isLast, refusals.count <= Limits.maxRefusedElements {
        let element = try JSONScanner.element(of: body, from: at, maxDepth: Limits.maxJSONDepth)
        if let fault = element.contentFault {
          refuse(Refusal(fault, at: elements.count, start: 0))
        } else {
          take(element.value)
        }
        at = element.next
        guard at < body.count else { throw JSONFault(.unexpectedEnd, body.count) }
        isLast = body[at] == UInt8(ascii: "]")
        guard isLast || body[at] == UInt8(ascii: ",") else { throw JSONFault(.expectedCommaOrBracket, at) }
        at += 1
      }
      guard isLast else { return }
    }
    while at < body.count, Self.isWhiteSpace(body[at]) { at += 1 }
    guard at == body.count else { throw JSONFault(.trailingBytes, at) }
  }

  // MARK: Verdicts

  @inline(__always)
  private mutating func take(_ range: Range<Int>) {
    let size = metadataBytes + RecordLayout.padded(range.count)
    guard size <= maxRecordBytes else { return refuse(Refusal(tooLarge: elements.count)) }
    recordBytes += size
    largestBytes = max(largestBytes, size)
    elements.append(Element(start: UInt32(range.lowerBound), count: UInt32(range.count)))
  }

  private mutating func refuse(_ refusal: Refusal) {
    refusals.append(refusal)
    elements.append(Element(start: 0, count: 0))
  }

  @inline(__always)
  private static func isWhiteSpace(_ byte: UInt8) -> Bool {
    byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
  }
}
