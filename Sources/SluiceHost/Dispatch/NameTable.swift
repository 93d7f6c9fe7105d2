import CSluice
import SluiceCore

/// The names of one stream's sources and producers as C sees them: each is asked for once and kept as long as the
/// reader that knows it. Ids are dense, so a name is found by index.
///
/// Owned by the subscriber's thread; so what is looked at for each record is exempt from exclusivity checks.
final class NameTable {
  @exclusivity(unchecked) private var sources: [slu_bytes?] = []
  @exclusivity(unchecked) private var producers: [slu_bytes?] = []
  private var texts: [CText] = []
  /// Records of one source and producer come in runs.
  @exclusivity(unchecked) private var lastSource: (id: UInt16, name: slu_bytes)?
  @exclusivity(unchecked) private var lastProducer: (id: UInt32, name: slu_bytes)?
  /// Names whose ids are beyond what a log hands out.
  private var rare: [Int: CText] = [:]
  private let reader: any StreamReader

  init(_ reader: any StreamReader) { self.reader = reader }

  @inline(__always)
  func source(_ id: UInt16) -> slu_bytes {
    if let lastSource, lastSource.id == id { return lastSource.name }
    let name = Int(id) < sources.count ? sources[Int(id)] : nil
    let found = name ?? learn(&sources, Int(id), id == 0 ? "" : reader.sourceName(id))
    lastSource = (id, found)
    return found
  }

  @inline(__always)
  func producer(_ id: UInt32) -> slu_bytes {
    if let lastProducer, lastProducer.id == id { return lastProducer.name }
    let name = Int(id) < producers.count ? producers[Int(id)] : nil
    let found = name ?? learn(&producers, Int(id), id == 0 ? "" : reader.producerName(id))
    lastProducer = (id, found)
    return found
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
