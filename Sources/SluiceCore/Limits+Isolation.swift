/// Limits of plugins in processes of their own. Times are in nanoseconds.
extension Limits {
  /// One message between the daemon and a plugin's process: a config, a module's description.
  package static let maxIsolationPacketBytes = 8 << 20
  /// What a published record takes of a packet beside its parts.
  package static let isolationPublicationBytes = 4 + 8 + 8 + 8 + 4 * 4
  /// What a plugin's process gathers of settlements, lines and metrics during a call before it sends them.
  package static let isolationOutboxBytes = 64 << 10
  /// Batches that may lie in the memory that both see: one on its way, the others retained.
  package static let isolationSlots = 8
  /// Beside a record's own bytes: its message, and its source's and producer's names if they are not those of the one
  /// before.
  package static let isolationMessageBytes = 1024
  /// How long a call may go on after it was interrupted, before the process is killed.
  package static let isolationGraceNanoseconds: Int64 = 3_000_000_000
  /// `create`, `destroy`, `gap` and `reconfigure` in a process; `start`, `deliver`, `flush` and `drain` have deadlines of
  /// their own.
  package static let isolationCallNanoseconds: Int64 = 30_000_000_000
  /// `stop` in a process.
  package static let isolationStopNanoseconds: Int64 = 8_000_000_000
  /// The first look at a module: what its entry may use of the processor, and what all of it may take by the clock.
  package static let scanCPUMicroseconds = 100_000
  package static let scanNanoseconds: Int64 = 30_000_000_000
  /// Descriptors that a process may have for the first look: its own, and the libraries that are being loaded.
  package static let scanDescriptors = 64
  /// How often the memory of a process is looked at.
  package static let isolationMemoryLookMilliseconds = 200
  /// A line of a plugin's standard error is cut here.
  package static let maxIsolationLineBytes = 8 << 10
  /// How often a record may kill a process on its own before it is a dead letter.
  package static let maxCrashesAlone = 2
}
