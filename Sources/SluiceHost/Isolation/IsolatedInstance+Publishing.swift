import CSluice
import SluiceCore

/// What a process publishes, on the relay thread.
extension IsolatedInstance {
  private struct Part {
    var item: slu_publication
    var topic: Range<Int>
    var key: Range<Int>
    var headers: Range<Int>
    var payload: Range<Int>
  }

  /// Goes through the same function, with the same checks, that a plugin in the daemon's process calls.
  func publish(_ payload: inout PacketReader) throws(PacketFault) {
    let count = try payload.count(least: Limits.isolationPublicationBytes)
    guard count > 0, count <= Limits.maxPublicationsPerCall else {
      throw PacketFault("\(count) publications at once")
    }
    var parts: [Part] = []
    parts.reserveCapacity(count)
    for _ in 0..<count {
      var item = slu_publication()
      item.struct_size = UInt32(MemoryLayout<slu_publication>.size)
      item.output = try payload.number()
      item.parent_token = try payload.number()
      item.ordinal = try payload.number()
      item.event_time_ns = try payload.number()
      parts.append(
        Part(
          item: item, topic: try payload.place(), key: try payload.place(), headers: try payload.place(),
          payload: try payload.place()))
    }
    try payload.end()
    let rc = payload.withBytes { bytes in publish(parts, in: bytes) }
    // One question at a time: who does not take the answers breaks the protocol.
    guard process.answer(rc) else { throw PacketFault("publications without taking the answers") }
  }

  private func publish(_ parts: [Part], in bytes: UnsafeRawBufferPointer) -> slu_rc {
    let items = parts.map { part in
      var item = part.item
      item.topic = slu_bytes(UnsafeRawBufferPointer(rebasing: bytes[part.topic]))
      item.key = slu_bytes(UnsafeRawBufferPointer(rebasing: bytes[part.key]))
      item.headers = slu_bytes(UnsafeRawBufferPointer(rebasing: bytes[part.headers]))
      item.payload = slu_bytes(UnsafeRawBufferPointer(rebasing: bytes[part.payload]))
      return item
    }
    let table = services.table.pointee
    return items.withUnsafeBufferPointer {
      table.publish(table.context, $0.baseAddress, UInt32($0.count), UInt32(MemoryLayout<slu_publication>.stride))
    }
  }
}
