import CSluice
import Glibc
import SluiceCore
import Synchronization

/// Publishing from a process: the daemon checks, stores and answers.
extension RunnerHost {
  func publish(_ items: UnsafePointer<slu_publication>?, _ count: UInt32, _ stride: UInt32) -> slu_rc {
    guard count > 0 else { return SLU_OK }
    guard let items, stride.isMultiple(of: 8), count <= UInt32(Limits.maxPublicationsPerCall) else {
      return SLU_E_INVALID
    }
    let first = UnsafeRawPointer(items)
    var bytes = 0
    for index in 0..<Int(count) {
      let item = first + index * Int(stride)
      let size = Int(item.loadUnaligned(as: UInt32.self))
      guard size >= MemoryLayout<slu_publication>.size, size <= Int(stride) else { return SLU_E_INVALID }
      let fields = item.loadUnaligned(as: slu_publication.self)
      for part in [fields.topic, fields.key, fields.headers, fields.payload] {
        guard part.len <= UInt64(Limits.maxIsolationPacketBytes), part.ptr != nil || part.len == 0 else {
          return SLU_E_INVALID
        }
        bytes += Int(part.len)
      }
      bytes += Limits.isolationPublicationBytes
      guard bytes <= Limits.maxIsolationPacketBytes - PacketWriter.headerBytes else { return SLU_E_INVALID }
    }
    return publishing.withLock { _ in
      let sent = sayNow(.publish) { packet in
        packet.put(count)
        for index in 0..<Int(count) {
          let item = (first + index * Int(stride)).loadUnaligned(as: slu_publication.self)
          packet.put(item.output)
          packet.put(item.parent_token)
          packet.put(item.ordinal)
          packet.put(item.event_time_ns)
          for part in [item.topic, item.key, item.headers, item.payload] { packet.put(part.raw(limit: .max)) }
        }
      }
      return sent ? RunnerHost.answer() : SLU_E_INTERNAL
    }
  }

  /// The daemon's word on the last publication.
  private static func answer() -> slu_rc {
    var rc = slu_rc(0)
    let wanted = MemoryLayout<slu_rc>.size
    while true {
      // So few bytes come whole or not at all.
      let count = read(PluginRunner.answers, &rc, wanted)
      if count < 0 && errno == EINTR { continue }
      return count == wanted ? slu_rc(littleEndian: rc) : SLU_E_INTERNAL
    }
  }
}
