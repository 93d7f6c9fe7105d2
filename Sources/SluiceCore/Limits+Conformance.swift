/// Limits of `sluice plugin check`. Times are in nanoseconds unless the name says otherwise.
extension Limits {
  /// What one rule may take by the clock, and one that repeats something very often.
  package static let conformanceRuleSeconds = 30
  package static let conformanceLongRuleSeconds = 120
  /// How long a call of the instance may take before it is interrupted, as the daemon interrupts what is over its deadline.
  package static let conformanceInterruptNanoseconds: Int64 = 5_000_000_000
  /// How soon `interrupt` is to return.
  package static let conformanceInterruptCallNanoseconds: Int64 = 1_000_000_000
  /// Deadlines that `start`, `flush` and `drain` are given.
  package static let conformanceDeadlineNanoseconds: Int64 = 5_000_000_000
  /// How long `stop` may take with batches under way.
  package static let conformanceStopNanoseconds: Int64 = 10_000_000_000
  /// How long a plugin that may still call after `stop` is listened to, and what it left behind may take to go.
  package static let conformanceQuietNanoseconds: Int64 = 150_000_000
  package static let conformanceSettlingNanoseconds: Int64 = 2_000_000_000
  /// How long a batch that gets SLU_BUSY is offered again, and the pause before each time.
  package static let conformanceBusyNanoseconds: Int64 = 5_000_000_000
  package static let conformancePauseNanoseconds: Int64 = 5_000_000
  /// The ack deadline of a kind that has no wish, and the furthest that is waited for.
  package static let conformanceAckNanoseconds: Int64 = 10_000_000_000
  package static let conformanceMaxAckNanoseconds: Int64 = 20_000_000_000
  /// The entry: what it may use of the processor, or sleep.
  package static let conformanceEntryNanoseconds: Int64 = 100_000_000

  /// Lives of an instance in the search for leaks; how many lie between two looks at the memory, how many looks are too early,
  /// and how many have to be left. Then what one life may leave behind: less than the smallest block of the allocator; of the
  /// process's memory and address space, which grow in steps, more.
  package static let conformanceLives = 1_000
  package static let conformanceLivesPerSample = 25
  package static let conformanceWarmSamples = 4
  package static let conformanceMinSamples = 5
  package static let conformanceLivesNanoseconds: Int64 = 80_000_000_000
  package static let conformanceHeapBytesPerLife = 16
  package static let conformanceResidentBytesPerLife = 4 << 10
  package static let conformanceAddressBytesPerLife = 64 << 10

  /// Configs that a fuzz is made of, at most; the length of its long strings, and how deep it nests.
  package static let conformanceFuzzConfigs = 400
  package static let conformanceFuzzStringBytes = 512 << 10
  package static let conformanceFuzzDepth = 100
  /// Payload of the large message.
  package static let conformanceLargePayloadBytes = 1 << 20
  /// The largest batch, in memory that is shared with a process of the plugin's own.
  package static let conformanceBatchBytes = 2 << 20
  package static let conformanceBatchRecords = 1_024
  /// A rule's process: its data, what it may write down of its verdict and of its doings, and what is shown of its output.
  package static let conformanceDataBytes = 4 << 30
  package static let conformanceReasonBytes = 8 << 10
  package static let conformancePhaseBytes = 1 << 10
  package static let conformanceOutputBytes = 1 << 10
  /// Offences that are written down; more say nothing new.
  package static let maxConformanceOffences = 20
}
