import SluiceCore

/// Both slots of `cursors.slot`, each for itself: a log opens with either of them, a tool wants to know of both.
package struct CursorSlotPair: Sendable, Equatable {
  package enum Content: Sendable, Equatable {
    /// Zeros: not written yet.
    case empty
    case slot(CursorSlot)
    case fault(CursorSlotFault)
  }

  package var slots: [Content]

  /// Nil when the file is not there.
  static func read(_ path: String, on storage: any LogStorage) throws(IOFault) -> CursorSlotPair? {
    let file: LogFile
    do throws(IOFault) {
      file = try LogFile(path, .read, on: storage)
    } catch {
      if error.code == ErrorCode.notFound { return nil }
      throw error
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * Limits.cursorSlotBytes, alignment: 4096)
    defer { buffer.deallocate() }
    let count = try file.read(into: buffer, at: 0)
    return CursorSlotPair(
      slots: (0..<2).map { place in
        let start = min(count, place * Limits.cursorSlotBytes)
        let end = min(count, start + Limits.cursorSlotBytes)
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[start..<end])
        do throws(CursorSlotFault) {
          return .slot(try CursorSlot.decode(bytes))
        } catch {
          return bytes.allSatisfy { $0 == 0 } ? .empty : .fault(error)
        }
      })
  }

  /// The one that counts: what a log that is opened goes by.
  package var newest: CursorSlot? {
    slots.reduce(nil) { newest, content in
      guard case .slot(let slot) = content, slot.generation > newest?.generation ?? 0 else { return newest }
      return slot
    }
  }

  /// A newer format in either of them.
  package var newerVersion: UInt16? {
    for case .fault(.version(let version)) in slots { return version }
    return nil
  }
}
