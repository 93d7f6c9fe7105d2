// Records as lines in files.
//
// <path>/current.ndjson               the active file: grows by whole batches; read it with `tail -F`
// <path>/<prefix>-<a>-<b>.ndjson      sealed files: never written again. a and b are the lowest and the highest LSN in
//                                     it, 20 digits each; -2, -3… after them if that name is taken
// <path>/.sluice-disk                 lock (flock) of the instance that owns the directory, and the lowest LSN of the
//                                     active file, so that its final name is right even after a restart
// (with format raw, .raw in place of .ndjson)
//
// Order    write the batch → fdatasync → return, which acknowledges it → when the file is full: rename, make the next
//          one, fsync the directory.
// Crash    before the return: whole lines of the batch may stand in the file, the last one maybe torn. The next start
//          cuts the torn line off; the batch is delivered again, so its whole lines then stand there twice: at least
//          once. After the return: nothing is missing.
//          around the rename: the file has one of its names; the next start makes what is missing.
// Failure  a write or a sync that fails: the file is cut back to where the batch began and the batch is retried.
//
// Not promised: that a sealed file's LSNs have no holes (records that do not match are not written), or mean anything
// where an instance is given several streams; that other programs may write to the active file. They may move,
// remove or truncate it, or the directory: the next batch goes to a new one, or to its new end.

import RecordLines
import SluicePluginKit

/// The kind `disk`.
package final class DiskSubscriber: Subscriber {
  package static let kind = "disk"
  package static let summary = "Writes records as lines (ndjson or raw) to files that are rotated by size."
  /// The directory belongs to one instance at a time.
  package static let traits: SubscriberTraits = .exclusive

  private let host: Host
  private let calls: any FileCalls
  private var config: DiskConfig
  private let written: Counter
  private let sealed: Counter
  private var stage: LineStage
  private var file: ActiveFile?
  private var health: HealthReport

  /// An instance that has touched nothing yet.
  package convenience init(_ config: DiskConfig, host: Host) throws {
    try self.init(config, host: host, calls: SystemCalls())
  }

  /// The same, on a disk that tests can break.
  package init(_ config: DiskConfig, host: Host, calls: any FileCalls) throws {
    self.config = config
    self.host = host
    health = HealthReport(host)
    self.calls = calls
    stage = LineStage(format: config.format)
    written = host.counter("disk_written", unit: "bytes", help: "Bytes written and synced by the disk subscriber.")
    sealed = host.counter("disk_files_sealed", help: "Files that the disk subscriber finished.")
  }

  /// Makes and locks the directory, opens the active file, and cuts off a torn last line.
  package func start(deadline: Deadline) throws {
    let file = try ActiveFile(
      directory: config.path, prefix: config.filePrefix, ending: config.format.rawValue, calls: calls)
    if file.tornBytes > 0 {
      host.log(
        .warning,
        "cut off a last line that a crash had left unfinished; its record was not acknowledged and comes again",
        ["file": file.path, "bytes": "\(file.tornBytes)"])
    }
    self.file = file
  }

  /// Writes the batch, syncs it, and seals the file if it is full.
  package func deliver(_ batch: borrowing Batch) throws -> Delivery {
    guard let file else { throw SubscriberError(.fatal, "deliver came before start") }
    let lsns = try write(batch, to: file)
    written.add(file.appended)
    file.cover(lsns)
    if file.length >= config.rotateBytes.bytes { seal(file) }
    return .done
  }

  /// Lets go of the file and the directory.
  package func stop() throws {
    file?.close()
    file = nil
  }

  /// Takes another `rotate_bytes`; anything else needs a new instance.
  package func reconfigure(_ config: DiskConfig) throws -> Bool {
    var wanted = self.config
    wanted.rotateBytes = config.rotateBytes
    guard wanted == config else { return false }
    self.config = config
    return true
  }

  /// All of the batch, durable, or an error and nothing.
  private func write(_ batch: borrowing Batch, to file: ActiveFile) throws(SubscriberError) -> ClosedRange<UInt64> {
    // The lowest comes first and the highest last: a batch is in rising order.
    let lowest = batch.withMessage(at: 0) { $0.lsn }
    let highest = batch.withMessage(at: batch.count - 1) { $0.lsn }
    if let fresh = try file.begin(lowest: lowest) {
      host.log(.warning, "the active file had been moved or removed; went on with a new one", ["file": fresh])
    }
    do {
      try stage.write(batch, to: file)
      try file.sync()
    } catch {
      stage.discard()
      file.rollBack()
      throw error
    }
    return lowest...highest
  }

  /// Failing here loses nothing: the records are durable where they are, and the next batch tries again.
  private func seal(_ file: ActiveFile) {
    do {
      let name = try file.seal()
      sealed.add()
      host.log(.debug, "sealed a file", ["file": name])
      health.say(.ok)
    } catch {
      guard health.last == .ok else { return }
      host.log(.warning, "cannot seal the active file, which goes on growing: \(error)")
      health.say(.degraded, error.message)
    }
  }
}
