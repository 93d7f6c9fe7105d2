/// Limits of plugins in processes of their own. Times are in nanoseconds.
extension Limits {
  /// One message between the daemon and a plugin's process: a config, a module's description.
  package static let maxIsolationPacketBytes = 8 << 20
  /// What one end receives into; a packet that is larger makes it grow until that is read.
  package static let isolationReceiveBytes = 64 << 10
  /// What a published record takes of a packet beside its parts.
  package static let isolationPublicationBytes = 4 + 8 + 8 + 8 + 4 * 4
  /// What a verdict takes of a packet beside its reason.
  package static let isolationSettlementBytes = 8 + 4 * 4 + 4
  /// What a plugin's process gathers of settlements, lines and metrics during a call before it sends them.
  package static let isolationOutboxBytes = 64 << 10
  /// Batches that may lie in the memory that both see: one on its way, the others retained.
  package static let isolationSlots = 8
  /// Beside a record's own bytes: its message, and its source's and producer's names if they are not those of the one
  /// before.
  package static let isolationMessageBytes = 1024
  /// How long a call may go on after it was interrupted, before the process is killed.
  package static let isolationGraceNanoseconds: Int64 = 3_000_000_000
  /// `create`, `destroy` and `gap` in a process; `start`, `deliver`, `flush`, `drain` and `reconfigure` have deadlines of their
  /// own.
  package static let isolationCallNanoseconds: Int64 = 30_000_000_000
  /// `stop` in a process.
  package static let isolationStopNanoseconds: Int64 = 8_000_000_000
  /// The first look at a module: what its loading may use of the processor, and its entry; what each of these and `validate` may
  /// take by the clock, on which a busy machine is not the plugin's fault; and what may go by before the first of them, while
  /// the process starts.
  package static let scanCPUMicroseconds = 100_000
  package static let scanStepNanoseconds: Int64 = 10_000_000_000
  package static let scanStartNanoseconds: Int64 = 30_000_000_000
  /// Steps of a first look that there are: the loading, the entry, `validate`.
  package static let maxFirstLookSteps = 3
  package static let scanDataBytes = 1 << 30
  /// Descriptors that a process may have for the first look: its own, and the libraries that are being loaded.
  package static let scanDescriptors = 64
  /// How often the memory of a process is looked at.
  package static let isolationMemoryLookMilliseconds = 200
  /// What a line of the list of users may take: who has a longer one is not found.
  package static let minUserEntryBytes = 1 << 10
  package static let maxUserEntryBytes = 1 << 20
  /// How deep a state directory's own directories are given to the user of a process.
  package static let maxGivenDepth = 64
  /// Signals that there are.
  package static let maxSignals = 64
  /// How often who waits for a process to read looks whether it has waited long enough.
  package static let isolationSendLookMilliseconds = 50
  /// A line of a plugin's standard error is cut here.
  package static let maxIsolationLineBytes = 8 << 10
  /// What is read yet of the output of a process that has ended: what a pipe holds.
  package static let isolationLastOutputBytes = 64 << 10
  /// What of a process's output and of its `host->log` goes to the daemon's log in one period: so many lines, and bytes.
  package static let isolationLogPeriodNanoseconds: Int64 = 1_000_000_000
  package static let isolationLogLines = 500
  package static let isolationLogBytes = 64 << 10
  /// How often a record may kill a process on its own before it is a dead letter.
  package static let maxCrashesAlone = 2
}
