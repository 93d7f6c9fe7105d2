/// Every moment at which a log changes what is on disk. A fault can be put at each of them by name: tests make syncs lie,
/// `SLUICE_CRASH_AT` ends the process there (docs/log-format.md, Faults).
package enum StoragePoint: String, Sendable, CaseIterable {
  // A commit.
  case groupWrite = "group.write"
  case groupSync = "group.sync"
  case markerWrite = "marker.write"
  case markerSync = "marker.sync"
  case sealWrite = "seal.write"
  case sealSync = "seal.sync"
  case sealTruncate = "seal.truncate"

  // The next segment.
  case nextAllocate = "next.allocate"
  case nextTruncate = "next.truncate"
  case nextFill = "next.fill"
  case nextFillSync = "next.fill.sync"
  case headerWrite = "header.write"
  case headerSync = "header.sync"
  case segmentRename = "segment.rename"
  case segmentDirectorySync = "segment.directory.sync"
  case indexWrite = "index.write"
  case indexRename = "index.rename"
  case indexUnlink = "index.unlink"
  case nextUnlink = "next.unlink"

  // Cursors.
  case slotsTruncate = "slots.truncate"
  case slotsAllocate = "slots.allocate"
  case slotsWrite = "slots.write"
  case slotsSync = "slots.sync"
  case slotsDirectorySync = "slots.directory.sync"
  case cursorWrite = "cursor.write"
  case cursorSync = "cursor.sync"

  // Retention.
  case trimWrite = "trim.write"
  case trimSync = "trim.sync"
  case segmentRetire = "segment.retire"
  case spareUnlink = "spare.unlink"
  case segmentUnlink = "segment.unlink"

  // Recovery.
  case lockTruncate = "lock.truncate"
  case lockWrite = "lock.write"
  case tailSync = "tail.sync"
  case tailTruncate = "tail.truncate"
  case quarantineWrite = "quarantine.write"
  case quarantineSync = "quarantine.sync"
  case quarantineRename = "quarantine.rename"
  case quarantineUnlink = "quarantine.unlink"
  case quarantineDirectorySync = "quarantine.directory.sync"

  // The registry of a data directory.
  case registryWrite = "registry.write"
  case registrySync = "registry.sync"
  case registryRename = "registry.rename"
  case registryDirectorySync = "registry.directory.sync"

  // `sluice stream repair`.
  case repairLink = "repair.link"
  case repairWrite = "repair.write"
  case repairSync = "repair.sync"
  case repairRename = "repair.rename"
  case repairUnlink = "repair.unlink"
  case repairDirectorySync = "repair.directory.sync"
}
