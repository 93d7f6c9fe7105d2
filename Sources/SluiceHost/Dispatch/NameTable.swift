import CSluice
import SluiceCore

/// The names of one stream's sources and producers as C sees them: each is asked for once and kept as long as the
/// reader that knows it. Ids are dense, so a name is found by index.
///
/// Owned by the subscriber's thread.
final class NameTable {
  private var sources: [slu_bytes?] = []
  private var producers: [slu_bytes?] = []
  private var texts: [CText] = []
  /// Names whose ids are beyond what a log hands out.
  private var rare: [Int: CText] = [:]
  private let reader: any StreamReader

  init(_ reader: any StreamReader) { self.reader = reader }

  func source(_ id: UInt16) -> slu_bytes {
    let name = Int(id) < sources.count ? sources[Int(id)] : nil
    return name ?? learn(&sources, Int(id), id == 0 ? "" : reader.sourceName(id))
  }

  func producer(_ id: UInt32) -> slu_bytes {
    let name = Int(id) < producers.count ? producers[Int(id)] : nil
    return name ?? learn(&producers, Int(id), id == 0 ? "" : reader.producerName(id))
  }

  @inline(never)
  private func learn(_ names: inout [slu_bytes?], _ index: Int, _ name: @autoclosure () -> String) -> slu_bytes {
    guard index < Limits.maxIndexedNames else {
      if let known = rare[index] { return known.bytes }
      let text = CText(name())
      rare[index] = text
      return text.bytes
    }
    let text = CText(name())
    texts.append(text)
    if index >= names.count { names.append(contentsOf: repeatElement(nil, count: index + 1 - names.count)) }
    names[index] = text.bytes
    return text.bytes
  }
}

/// The names of the record that was looked at last: records of one source and producer come in runs, for which the table
/// is not asked.
struct NameRun {
  private let table: NameTable
  /// Ids that no record has, before the first.
  private var sourceID = UInt32.max
  private var producerID = UInt64.max
  private(set) var source = slu_bytes()
  private(set) var producer = slu_bytes()

  init(_ table: NameTable) { self.table = table }

  @inline(__always)
  mutating func move(toSource source: UInt16, producer: UInt32) {
    if UInt32(source) != sourceID {
      self.source = table.source(source)
      sourceID = UInt32(source)
    }
    if UInt64(producer) != producerID {
      self.producer = table.producer(producer)
      producerID = UInt64(producer)
    }
  }
}
