import SluiceCore

// Carrying a `RepairPlan` out. The lock is taken, and the plan is made under it. Every file that will be touched is first
// in `backup-…/`, synced: as another name of the same file where that can't change any more, else as a copy. New files are
// written under temporary names, synced and renamed. A repair that is interrupted leaves either the old or the new of each
// file, and the next one plans the rest.

enum RepairFiles {
  static let temporaryPrefix = "repair-"
  static func temporary(_ name: String) -> String { temporaryPrefix + name + ".tmp" }
}

package enum LogRepair {
  package struct Outcome: Sendable {
    package var plan: RepairPlan
    /// The directory beside the segments that has the files as they were; nil when nothing was done.
    package var backup: String?
  }

  /// `backup`: the name of the directory that the files as they were go to, which is not there yet.
  package static func apply(
    to path: String, _ options: RepairOptions, backup: String, storage: any LogStorage = LinuxStorage(),
    onProgress: (Int, Int) -> Void = { _, _ in }
  ) throws(JournalError) -> Outcome {
    // Looked at before the lock's file is made, so that nothing is made in a directory that is no stream's.
    _ = try StreamDirectory(path, storage: storage)
    let lock = try LockFile.take(in: path, on: storage)
    let directory = try StreamDirectory(path, storage: storage, isLocked: true)
    let plan = try RepairPlan(for: directory, options, onProgress: onProgress)
    guard !plan.steps.isEmpty else { return Outcome(plan: plan, backup: nil) }
    let carrying = RepairWork(path: path, storage: storage)
    do throws(IOFault) {
      let backup = try carrying.backUp(plan, in: backup)
      for step in plan.steps { try carrying.carryOut(step) }
      try storage.syncDirectory(path, .repairDirectorySync)
      _ = consume lock
      return Outcome(plan: plan, backup: backup)
    } catch {
      throw JournalError(error)
    }
  }
}

private struct RepairWork {
  let path: String
  let storage: any LogStorage

  private func full(_ name: String) -> String { path + "/" + name }

  // MARK: Backup

  func backUp(_ plan: RepairPlan, in wanted: String) throws(IOFault) -> String {
    var name = wanted
    var number = 1
    // Two repairs in one second.
    while try !storage.list(full(name)).isEmpty {
      number += 1
      name = "\(wanted)-\(number)"
    }
    try storage.makeDirectory(full(name))
    for step in plan.steps {
      for file in step.touched where try isThere(file) {
        let copy = "\(name)/" + file.split(separator: "/").joined(separator: "-")
        // A segment that stays in the log may be written to again: another name would not keep what it was.
        if case .rename = step.change {
          try self.copy(file, to: copy)
        } else {
          do throws(IOFault) {
            try storage.link(full(file), to: full(copy), .repairLink)
          } catch {
            try self.copy(file, to: copy)
          }
        }
      }
    }
    try storage.syncDirectory(full(name), .repairDirectorySync)
    try storage.syncDirectory(path, .repairDirectorySync)
    return name
  }

  private func isThere(_ file: String) throws(IOFault) -> Bool {
    do throws(IOFault) {
      _ = try LogFile(full(file), .read, on: storage)
      return true
    } catch {
      if error.code == ErrorCode.notFound { return false }
      throw error
    }
  }

  private func copy(_ file: String, to copy: String) throws(IOFault) {
    let target = try LogFile(full(copy), .createEmpty, on: storage)
    try copyBytes(of: file, to: target, from: 0)
    try target.sync(.repairSync)
  }

  private func copyBytes(of file: String, to target: borrowing LogFile, from start: Int) throws(IOFault) {
    let window = try FileWindow(try LogFile(full(file), .read, on: storage))
    var offset = start
    while offset < window.size {
      let bytes = try window.bytes(at: offset, count: Limits.coldReadBufferBytes)
      guard !bytes.isEmpty else { return }
      try target.write(bytes, at: offset, .repairWrite)
      offset += bytes.count
    }
  }

  // MARK: Steps

  func carryOut(_ step: RepairStep) throws(IOFault) {
    switch step.change {
    case .writeSegment(let file, let source, var header): try write(&header, before: source, as: file)
    case .rename(let file, let name):
      try storage.rename(full(file), to: full(name), .repairRename)
      try storage.syncDirectory(path, .repairDirectorySync)
    case .setAside(let file): try setAside(file)
    case .writeCursors(let slot): try write(slot)
    case .remove(let file): try storage.unlink(full(file), .repairUnlink)
    }
  }

  private func write(_ header: inout SegmentHeader, before source: String, as name: String) throws(IOFault) {
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Limits.segmentHeaderBytes, alignment: Limits.groupAlignment)
    defer { bytes.deallocate() }
    header.encode(to: bytes)
    try install(as: name) { (target) throws(IOFault) in
      try target.write(UnsafeRawBufferPointer(bytes), at: 0, .repairWrite)
      try copyBytes(of: source, to: target, from: Limits.segmentHeaderBytes)
    }
  }

  private func write(_ slot: CursorSlot) throws(IOFault) {
    try install(as: SegmentFile.cursorsName) { (target) throws(IOFault) in
      try target.allocate(bytes: 2 * Limits.cursorSlotBytes, .slotsAllocate)
      // Both, so that one of them may be lost.
      for generation in [slot.generation, slot.generation + 1] {
        var slot = slot
        slot.generation = generation
        let bytes = slot.encoded()
        var fault: IOFault?
        bytes.withUnsafeBytes { raw in
          do throws(IOFault) { try target.write(raw, at: slot.offset, .repairWrite) } catch { fault = error }
        }
        if let fault { throw fault }
      }
    }
  }

  /// A file that is either there whole or not at all. On a full disk nothing is left of it.
  private func install(as name: String, _ fill: (borrowing LogFile) throws(IOFault) -> Void) throws(IOFault) {
    let temporary = full(RepairFiles.temporary(name))
    do throws(IOFault) {
      let target = try LogFile(temporary, .createEmpty, on: storage)
      try fill(target)
      try target.sync(.repairSync)
      try storage.rename(temporary, to: full(name), .repairRename)
    } catch {
      try? storage.unlink(temporary, .repairUnlink)
      throw error
    }
    try storage.syncDirectory(path, .repairDirectorySync)
  }

  /// Into quarantine, under a name that nothing has there.
  private func setAside(_ file: String) throws(IOFault) {
    let quarantine = full(SegmentFile.quarantineName)
    try storage.makeDirectory(quarantine)
    let taken = Set(try storage.list(quarantine).map(\.name))
    var name = file + ".bad"
    var number = 1
    while taken.contains(name) {
      number += 1
      name = "\(file)-\(number).bad"
    }
    try storage.rename(full(file), to: quarantine + "/" + name, .repairRename)
    try storage.syncDirectory(quarantine, .repairDirectorySync)
    try storage.syncDirectory(path, .repairDirectorySync)
  }
}
