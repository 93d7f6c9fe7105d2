import CSluice
import Glibc
import SluiceCore

/// Memory that the daemon writes batches into and a plugin's process reads them from: one anonymous file of equal slots,
/// which takes real memory only where it was written to.
///
///     slot   records' producer parts and names, each on a multiple of 8, then the array of slu_message, whose pointers are
///            those of the process
///
/// A slot holds one batch, from `deliver` until it returned or, if it was retained, until the last release. Records are
/// copied: what a process can see is what matched its subscriber, whatever lies beside it in the ring, and batches from
/// the ring, from files and from dead letters are all alike.
///
/// The process can write to none of it, nor make the file shorter, which would end the daemon at its next write: the file is
/// sealed. Owned by the subscriber's thread.
final class SharedArena {
  let descriptor: Int32
  let slotBytes: Int
  let slots: Int
  /// Where the process has mapped it: checked, so that no address in it overflows.
  var remoteBase: UInt = 0
  private let memory: UnsafeMutableRawPointer

  /// Nil, and errno, without memory.
  init?(slotBytes: Int, slots: Int) {
    self.slotBytes = slotBytes
    self.slots = slots
    descriptor = LinuxCalls.memoryFile("sluice-batches")
    guard descriptor >= 0 else { return nil }
    guard ftruncate(descriptor, slotBytes * slots) == 0,
      let map = mmap(nil, slotBytes * slots, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor, 0),
      map != MAP_FAILED, LinuxCalls.sealMemoryFile(descriptor)
    else {
      close(descriptor)
      return nil
    }
    memory = map
  }

  deinit {
    munmap(memory, slotBytes * slots)
    close(descriptor)
  }

  /// Bytes of it that take memory by now. From any thread.
  var usedBytes: Int {
    var about = stat()
    return fstat(descriptor, &about) == 0 ? Int(about.st_blocks) * 512 : 0
  }

  /// A slot's size for batches of so many bytes and records.
  static func slotBytes(batchBytes: Int, records: Int) -> Int {
    // A batch may be one record that is larger than a batch.
    let bytes = max(batchBytes, Limits.maxMaxRecordBytes) + (records + 1) * Limits.isolationMessageBytes
    return (bytes + 4095) / 4096 * 4096
  }

  /// Copies what a batch's messages point to into `slot`, and the messages behind it. Returns where they begin and how
  /// much of the slot is in use; nil if it does not fit.
  func write(_ batch: UnsafePointer<slu_batch>, to slot: Int) -> (messages: Int, used: Int)? {
    let base = memory + slot * slotBytes
    let remote = remoteBase + UInt(slot * slotBytes)
    let count = Int(batch.pointee.count)
    let stride = MemoryLayout<slu_message>.stride
    guard count * stride <= slotBytes else { return nil }
    // The array goes to the end, so that one walk over the messages is enough.
    let limit = slotBytes - count * stride
    var used = 0
    func copy(_ bytes: slu_bytes) -> UInt? {
      let length = Int(bytes.len)
      guard length <= limit - used else { return nil }
      if let source = bytes.ptr, length > 0 { memcpy(base + used, source, length) }
      defer { used += (length + 7) & ~7 }
      return remote + UInt(used)
    }
    var source = slu_bytes()
    var sourceAt: UInt = 0
    var producer = slu_bytes()
    var producerAt: UInt = 0
    for index in 0..<count {
      var message = batch.pointee.messages[index]
      guard let covered = copy(message.covered) else { return nil }
      // Names are the same memory for as long as they are the same.
      if message.source.ptr != source.ptr || index == 0 {
        guard let at = copy(message.source) else { return nil }
        (source, sourceAt) = (message.source, at)
      }
      if message.producer.ptr != producer.ptr || index == 0 {
        guard let at = copy(message.producer) else { return nil }
        (producer, producerAt) = (message.producer, at)
      }
      let from = UInt(bitPattern: message.covered.ptr)
      func moved(_ bytes: slu_bytes) -> slu_bytes {
        slu_bytes(ptr: UnsafeRawPointer(bitPattern: covered + (UInt(bitPattern: bytes.ptr) - from)), len: bytes.len)
      }
      message.topic = moved(message.topic)
      message.key = moved(message.key)
      message.headers = moved(message.headers)
      message.payload = moved(message.payload)
      message.covered.ptr = UnsafeRawPointer(bitPattern: covered)
      message.source = slu_bytes(ptr: UnsafeRawPointer(bitPattern: sourceAt), len: source.len)
      message.producer = slu_bytes(ptr: UnsafeRawPointer(bitPattern: producerAt), len: producer.len)
      (base + limit).storeBytes(of: message, toByteOffset: index * stride, as: slu_message.self)
    }
    return (limit, used + count * stride)
  }
}
