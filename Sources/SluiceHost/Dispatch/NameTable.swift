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

  @inline(__always)
  func source(_ id: UInt16) -> slu_bytes {
    if Int(id) < sources.count, let known = sources[Int(id)] { return known }
    return learn(&sources, Int(id), id == 0 ? "" : reader.sourceName(id))
  }

  @inline(__always)
  func producer(_ id: UInt32) -> slu_bytes {
    if Int(id) < producers.count, let known = producers[Int(id)] { return known }
    return learn(&producers, Int(id), id == 0 ? "" : reader.producerName(id))
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
