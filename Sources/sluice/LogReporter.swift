import ArgumentParser
import Glibc
import Logging
import SluiceCore
import SluiceJournal
import SluiceTopology

/// What a stream's log tells of itself, as log lines. A device that fails ends the process: after a failed fsync the
/// kernel may have dropped the pages, so nothing more can be promised, and what was promised is on the disk.
struct LogReporter: LogObserver {
  let stream: String
  let logger: Logger

  func logEvent(_ event: SluiceJournal.LogEvent) {
    switch event {
    case .tornTail(let segment, let offset, let bytes, let quarantine):
      log(
        .notice, "cut a torn tail that was never acknowledged",
        ["segment": "\(segment)", "offset": "\(offset)", "bytes": "\(bytes)", "kept_as": "\(quarantine)"])
    case .corruption(let segment, let offset, let first, let last, let reason):
      let lost = last < first ? "none" : "\(first)...\(last)"
      log(
        .error, "acknowledged records are damaged or missing",
        ["segment": "\(segment)", "offset": "\(offset)", "lost_lsn": "\(lost)", "reason": "\(reason)"])
    case .cursorsLost(let reason):
      log(.error, "no cursor can be read; every subscriber begins at its `start` again", ["reason": "\(reason)"])
    case .cursorExpired(let name, let lsn, let lastSeen, let frees):
      log(
        .warning,
        "a cursor has expired, since its subscriber did not come: what it had not settled is held back no longer, and "
          + "should it come again it begins at its `start`",
        [
          "cursor": "\(name)", "lsn": "\(lsn)", "last_seen": "\(Timestamp.text(lastSeen))", "freed_bytes": "\(frees)",
        ])
    case .dropped(let first, let last):
      log(.warning, "unsettled records were dropped to make room", ["lsn": "\(first)...\(last)"])
    case .full(let reason?):
      log(.warning, "the stream is full and refuses producers", ["reason": "\(reason.rawValue)"])
    case .full(nil):
      log(.notice, "the stream takes records again", [:])
    case .retrying(let fault):
      log(.warning, "\(fault); it will be tried again", [:])
    case .failed(let fault):
      log(
        .critical, "\(fault); nothing that was acknowledged is lost, but nothing more can be: the daemon ends now", [:])
      _exit(ExitStatus.ioError.rawValue)
    }
  }

  private func log(_ level: Logger.Level, _ message: String, _ fields: Logger.Metadata) {
    logger.log(level: level, "\(message)", metadata: fields.merging(["stream": "\(stream)"]) { $1 })
  }
}
