import SluiceCore

/// Which log a stream's directory holds, found out without changing anything.
package enum LogIdentity: Equatable, Sendable {
  /// The directory is empty, is not there, or holds nothing of a log.
  case none
  case log(LogUUID)
  /// There are files of a log, and none of those that were tried says of which.
  case unreadable

  package var uuid: LogUUID? { if case .log(let uuid) = self { uuid } else { nil } }

  /// The newest segment whose header can be read says it, or else the cursor slots.
  package static func of(
    _ directory: String, on storage: any LogStorage = LinuxStorage()
  ) throws(JournalError) -> LogIdentity {
    do throws(IOFault) {
      let bases = try storage.list(directory).compactMap { SegmentFile.baseLSN(ofName: $0.name) }.sorted()
      for base in bases.reversed().prefix(Limits.maxIdentityHeaders) {
        let read = try SegmentFile.readHeader(directory + "/" + SegmentFile.name(base), on: storage)
        if case .success(let header) = read { return .log(header.uuid) }
      }
      switch try CursorFile.read(directory + "/" + SegmentFile.cursorsName, on: storage) {
      case .slot(let slot): return .log(slot.uuid)
      case .absent, .unreadable: return bases.isEmpty ? .none : .unreadable
      case .newerVersion: return .unreadable
      }
    } catch {
      throw JournalError(error)
    }
  }
}
