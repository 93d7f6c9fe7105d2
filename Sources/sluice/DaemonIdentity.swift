// Whose the data directory is, which log each stream has in it, and what belongs to nobody: found out, said, and left
// alone.

import Logging
import SluiceCore
import SluiceHost
import SluiceJournal
import SluiceTopology

extension Daemon {
  /// Takes the data directory for this process.
  func takeDataDirectory(for streams: Set<String>) async throws(DaemonError) {
    let path = topology.daemon.data
    let storage = storage
    do {
      let (taken, unsaved) = try await Blocking.run("recover") { () throws(JournalError) in
        let taken = try DataDirectory(path, streams: streams, storage: storage)
        return (taken, taken.remade == nil ? nil : taken.save())
      }
      directory = taken
      await Blocking.run("recover") { () throws(Never) in PluginLibrary.removeLeftovers(in: path) }
      tellCopies()
      if let reason = taken.remade {
        logger.notice(
          "the registry of streams was made anew from the directories; what was wiped before can't be recognised",
          metadata: ["file": "\(path)/\(StreamRegistry.fileName)", "why": "\(reason)"])
      }
      if let unsaved { tellUnsaved(unsaved) }
    } catch {
      throw DaemonError(
        message: "the data directory: \(error)",
        status: error.kind == .locked ? ExitStatus.temporary : ExitStatus.ioError)
    }
  }

  /// Says so when copies of plugins are not where they should be.
  func tellCopies() {
    guard let why = origin.library.takeCopyWarning() else { return }
    logger.warning("no copy of a plugin could be put into the data directory", metadata: ["why": "\(why)"])
  }

  /// Before streams are added: directories may have come since the last look.
  func lookAgain() async throws(DaemonError) {
    guard let directory else { return }
    do {
      try await Blocking.run("recover") { () throws(JournalError) in try directory.lookAgain() }
    } catch {
      throw DaemonError(message: "the data directory: \(error)", status: ExitStatus.ioError)
    }
  }

  /// Says what is to be said of a log that has been opened.
  func tell(_ standing: LogStanding, of log: StreamLog) {
    let stream: Logger.Metadata = ["stream": "\(log.streamName)", "log": "\(log.uuid)"]
    switch standing {
    case .foreign: preconditionFailure("a log of another stream is not opened")
    case .new, .known, .found: return
    case .unreadable(let was):
      // Recovery may have found what the look before it did not.
      if let was, was.uuid != log.uuid { replaced(log, was, "nothing in its directory said which log it was") }
    case .moved(let from):
      logger.notice(
        "the log of a stream that is no more goes on under another name", metadata: stream.with("was", from))
    case .wiped(let was, let now):
      replaced(log, was, "its directory was empty" + (now.map { "; that log lies in streams/\($0)" } ?? ""))
    case .replaced(let was, _):
      replaced(log, was, "its directory held another log")
    }
  }

  private func replaced(_ log: StreamLog, _ was: StreamRegistry.Entry, _ why: String) {
    let what = "it had log \(was.uuid) and has log \(log.uuid) now: \(why)"
    logger.warning(
      """
      the stream has another log than it had: what the old one held is not here, LSNs and the numbering of producers are \
      those of the new one, and subscribers without a cursor in it begin at their `start`
      """,
      metadata: [
        "stream": "\(log.streamName)", "log": "\(log.uuid)", "was": "\(was.uuid)", "was_at_lsn": "\(was.lastLSN)",
        "why": "\(why)",
      ])
    view.noteReplaced(log.streamName, what)
  }

  func tellUnsaved(_ fault: IOFault) {
    logger.warning(
      "\(fault); the registry of streams is not up to date, and what is wiped now may not be recognised")
  }

  // MARK: Orphans

  /// Looks which directories and cursors belong to nobody, and tells of those that it has not told of.
  func lookForOrphans() async {
    guard let directory else { return }
    let names = Set(topology.streams.map(\.name))
    do {
      let orphans = try await Blocking.run("recover") { () throws(JournalError) in
        try directory.orphans(besides: names)
      }
      view.show(orphans)
    } catch {
      logger.warning("\(error); directories without a stream are not known")
    }
    let state = view.state
    var present: Set<String> = []
    for orphan in state.orphans where present.insert("streams/\(orphan.name)").inserted {
      guard !toldOrphans.contains("streams/\(orphan.name)") else { continue }
      logger.notice(
        "a directory of streams belongs to no stream of the topology; it is left alone",
        metadata: [
          "directory": "\(directory.directory(of: orphan.name))", "bytes": "\(orphan.bytes)",
          "log": "\(orphan.uuid.map { "\($0)" } ?? "none")",
        ])
    }
    for (stream, cursor) in Leftovers(state).cursors where present.insert("\(stream).\(cursor.name)").inserted {
      guard !toldOrphans.contains("\(stream).\(cursor.name)") else { continue }
      logger.notice(
        "a cursor belongs to no subscriber of the topology; it holds records back until it expires or is let go",
        metadata: [
          "stream": "\(stream)", "cursor": "\(cursor.name)",
          "let_go": "sluice stream forget \(stream) --cursor \(cursor.name)", "holds_bytes": "\(cursor.holdsBytes)",
          "last_seen": "\(Timestamp.text(cursor.lastSeen))",
        ])
    }
    // What was taken up again and is left once more is told once more.
    toldOrphans = present
  }
}

extension Logger.Metadata {
  fileprivate func with(_ key: String, _ value: String) -> Logger.Metadata { merging([key: "\(value)"]) { $1 } }
}

/// What belongs to no part of the topology: cursors whose subscriber is no more, directories whose stream is no more.
struct Leftovers {
  private let owners: [String: Set<String>]
  private let state: DaemonView.State

  init(_ state: DaemonView.State) {
    self.state = state
    var owners: [String: Set<String>] = [:]
    for subscriber in state.subscribers {
      for stream in subscriber.settings.streams { owners[stream, default: []].insert(subscriber.settings.name) }
    }
    self.owners = owners
  }

  /// One that is connected has a reader, whatever the topology says.
  func isOrphaned(_ cursor: StreamStatus.Subscriber, of stream: String) -> Bool {
    !cursor.connected && owners[stream]?.contains(cursor.name) != true
  }

  var cursors: [(stream: String, cursor: StreamStatus.Subscriber)] {
    state.streams.flatMap { running in
      let name = running.settings.name
      return running.log.cursorNames.filter { isOrphaned($0, of: name) }.map { (name, $0) }
    }
  }

  var families: [MetricFamily] {
    let cursors = cursors
    return [
      MetricFamily(
        "sluice_orphaned_streams", .gauge, help: "Directories that no stream of the topology owns.",
        samples: [.init([], Double(state.orphans.count))]),
      MetricFamily(
        "sluice_orphaned_stream_bytes", .gauge, help: "Bytes of their files, as of the start or the last reload.",
        samples: state.orphans.map { .init([("directory", $0.name)], Double($0.bytes)) }),
      MetricFamily(
        "sluice_orphaned_cursors", .gauge, help: "Cursors that are of no subscriber of the topology.",
        samples: state.streams.map { running in
          let name = running.settings.name
          return .init([("stream", name)], Double(cursors.count { $0.stream == name }))
        }),
      MetricFamily(
        "sluice_orphaned_cursor_bytes", .gauge, help: "Bytes that they hold back and no subscriber needs, about.",
        samples: cursors.map {
          .init([("stream", $0.stream), ("subscriber", $0.cursor.name)], Double($0.cursor.holdsBytes))
        }),
      MetricFamily(
        "sluice_stream_replaced_logs_total", .counter, help: "How often the stream was found with another log.",
        samples: state.streams.map { running in
          let name = running.settings.name
          return .init([("stream", name)], Double(state.replacedLogs[name]?.count ?? 0))
        }),
    ]
  }
}
