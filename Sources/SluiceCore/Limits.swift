/// Every limit of the daemon, in one place; the journal's are in `Limits+Journal.swift`. The relations between them are
/// asserted in `SluiceCoreTests`.
package enum Limits {
  // MARK: Records

  /// Bytes of the fixed part that the server writes in front of each record.
  package static let serverPartBytes = 24
  /// Bytes of the fixed part that a producer of this version sends.
  package static let producerFixedBytes = 32
  /// A record's whole size in the log (fixed parts, metadata, payload, padding) unless the topology says otherwise.
  package static let defaultMaxRecordBytes = 1 << 20
  /// The largest `max_record` that a topology may ask for.
  package static let maxMaxRecordBytes = 16 << 20
  /// Topic, key and headers each carry a 16-bit length.
  package static let maxTopicBytes = 255
  package static let maxKeyBytes = 4096
  package static let maxHeadersBytes = 16 << 10

  // MARK: HTTP

  package static let maxRequestLineBytes = 8 << 10
  package static let maxHeaderBytes = 16 << 10
  package static let maxHeaderCount = 100
  package static let maxJSONDepth = 128
  /// Requests of one connection that may wait for their answers before it is read no further.
  package static let maxPipelinedRequests = 1024
  /// So it is from this many bytes of answers on that are made and not sent: a few bytes may ask for many.
  package static let maxUnsentAnswerBytes = 64 << 10
  package static let maxTrailerBytes = 4 << 10
  /// From a request's first byte to the end of its head, then to the end of its body.
  package static let httpHeaderSeconds = 10
  package static let httpBodySeconds = 60
  /// How long a source that is being drained waits for a peer from which nothing comes and which takes nothing: for the rest
  /// of its request, for it to read its answers, or to close behind the last one. At least so long, and up to a second more.
  package static let drainGraceSeconds = 1
  /// With fewer bytes of a request than this in a second nothing counts as coming.
  package static let drainFlowBytes = 4 << 10
  /// A connection without a request, or whose peer takes no answers, is closed after this long.
  package static let httpIdleSeconds = 120
  /// How long what a client still sends behind its last answer is read and dropped, so that it gets to see that.
  package static let defaultLingerSeconds = 2
  /// How many of the connections that are too many are told so at once; the others are closed without a word.
  package static let maxTurnedAway = 64
  /// What a client that is told to come back later is told to wait.
  package static let retryAfterSeconds = 1
  package static let listenBacklog = 4096
  /// Copies of the `202` that stand ready behind each other for one write.
  package static let preparedAnswers = 64
  /// Requests that may wait for the journal on one loop before its queue has to grow.
  package static let preparedWaiters = 4096

  /// Elements of one body that may be refused one by one; of more the whole body is.
  package static let maxRefusedElements = 1000
  /// Of a longer list of records the memory is given back.
  package static let keptListElements = 1 << 16
  /// The largest number that a producer may begin a body with: no sum with the body's records overflows.
  package static let maxHTTPSequence: UInt64 = 999_999_999_999_999_999
  /// How often a request that waits for room in its stream is tried again, when no commit comes before.
  package static let roomRetryNanoseconds: Int64 = 20_000_000
  /// Of many that wait, how many are tried in vain before the others wait for the next time.
  package static let roomTriesInVain = 16

  /// Gzip members or zstd frames of one compressed body, and what each costs beside its bytes, as turns are counted: the
  /// decoder is made ready for it.
  package static let maxBodyMembers = 4096
  package static let bodyMemberCostBytes = 1 << 10
  /// What a loop expands of compressed bodies in one turn; who has more waits so long, for others to be served meanwhile.
  package static let expansionTurnBytes = 4 << 20
  package static let expansionPauseNanoseconds: Int64 = 1_000_000

  package static let defaultMaxBodyBytes = 4 << 20
  package static let maxMaxBodyBytes = 64 << 20
  package static let defaultHeaderTimeoutNanoseconds: Int64 = 10_000_000_000
  package static let defaultBodyTimeoutNanoseconds: Int64 = 60_000_000_000
  package static let defaultIdleTimeoutNanoseconds: Int64 = 75_000_000_000
  package static let defaultMaxConnections = 65_536
  package static let maxMaxConnections = 1 << 20

  /// Bytes of unfinished requests that a source holds for all its connections, as many of those that wait for room, and what
  /// each may have in any case.
  package static let maxHeldBytes = 64 << 20
  package static let uncontestedHeldBytes = 16 << 10

  // MARK: Lines

  /// Of unfinished lines, or lines that wait for room, what each connection may have in any case.
  package static let uncontestedLineBytes = 64 << 10
  /// What one read from standard input brings at most.
  package static let stdinReadBytes = 256 << 10
  // MARK: Framed TCP

  /// Of every frame but DATA.
  package static let maxWireControlFrameBytes = 8 << 10
  /// Names of streams, producers, identities, fingerprints and software.
  package static let maxWireNameBytes = 255
  package static let maxWireCredentialBytes = 4096
  package static let maxWireTextBytes = 1024
  /// What a client says it takes, unless it says otherwise; and the least that it may say.
  package static let defaultWireClientFrameBytes = 64 << 10
  package static let minWireClientFrameBytes = 4096
  /// The least that a source takes in one frame, whatever `max_record` is.
  package static let tcpMinMaxFrameBytes = 1 << 20
  /// What a connection may have under way without an answer: what a fast one sends while a slow commit lasts.
  package static let tcpWindowBytes = 4 << 20
  package static let tcpWindowRecords = 1 << 17
  /// Credit that was used is given anew from this part of the window on, or when nothing is under way.
  package static let tcpCreditParts: UInt64 = 4
  package static let tcpMaxChannels = 256
  package static let tcpHandshakeSeconds = 10
  /// One read of a connection; its first, which is for a HELLO.
  package static let tcpReceiveBytes = 512 << 10
  package static let tcpFirstReceiveBytes = 1 << 10
  /// Bytes of frames after which a loop submits what it appended in the middle of a tick.
  package static let tcpSubmitBytes = 1 << 20
  /// How often a full stream is asked whether it takes records again, and what clients are told to wait.
  package static let tcpFullProbeMilliseconds = 20
  /// Of many connections whose records wait for room, how many are tried in vain before the others wait on.
  package static let tcpBlockedTriesInVain = 16
  package static let tcpFullRingRetryMilliseconds = 50
  package static let tcpFullRetryMilliseconds = 1000
  /// Of answers that wait to be written, from where on a connection is asked no further until its peer takes them.
  package static let tcpOutputBytes = 64 << 10

  // MARK: Delivery

  package static let defaultBatchRecords = 4096
  package static let defaultBatchBytes = 1 << 20
  package static let defaultBatchWaitNanoseconds: Int64 = 50_000_000
  package static let defaultRetryFirstNanoseconds: Int64 = 100_000_000
  package static let defaultRetryMaxNanoseconds: Int64 = 30_000_000_000
  /// Verdict ranges that may be open above a cursor before no further batch is given.
  package static let maxUnsettledBatches = 16
  package static let maxBatchWaitNanoseconds: Int64 = 60_000_000_000
  /// How long a plugin that settles later may take over a batch, unless it or the topology says otherwise.
  package static let defaultAckDeadlineNanoseconds: Int64 = 60_000_000_000
  /// A subscriber is not ready from this many failed deliveries in a row: one or two may be the world's hiccup.
  package static let failedDeliveriesUntilNotReady = 3
  /// The same refusal is logged once in this time, with how often it came.
  package static let refusalLogIntervalNanoseconds: Int64 = 10_000_000_000
  /// Kinds of refusals that are told apart for that.
  package static let maxRefusalKinds = 1024
  /// Verdicts of one `settle` that are taken at a time: others want to look at the same books.
  package static let settlementsPerHold = 64
  /// Interned names that a subscriber keeps by id.
  package static let maxIndexedNames = 1 << 20

  /// What is looked through at a time for records that a `match` lets pass.
  package static let matchScanRecords = 16_384
  package static let matchScanBytes = 2 << 20
  /// Topics of one stream whose glob results are remembered; a power of two.
  package static let rememberedTopics = 256
  /// A number in a payload that is longer than this matches nothing.
  package static let maxMatchNumberBytes = 128

  /// The longest text that a dead letter has of one kind.
  package static let maxDeadLetterValueBytes = 1 << 10
  /// A stream that takes dead letters has at least this as its `max_record`: a letter without its payload fits.
  package static let minDeadLetterRecordBytes = 32 << 10
  /// What is read at a time to be copied to the dead letters.
  package static let deadLetterReadRecords = 256
  package static let deadLetterReadBytes = 1 << 20
  /// What an operator may have a subscriber given again at a time.
  package static let maxReplayBytes = 16 << 20
  package static let replayChunkBytes = 4 << 20
  package static let replayChunkRecords = 1024
  /// How often who waits for letters that are delivered again looks whether that was given up.
  package static let replayLookNanoseconds: Int64 = 200_000_000
  /// Batches of a replayed part of a stream that may be open at a time: the others are for what is live.
  package static let maxReplayBatches = 4
  /// Records that a replay with a rate may give at once: what gathers in this time. And the highest rate, per second.
  package static let replayPaceNanoseconds: Int64 = 50_000_000
  package static let maxReplayRate = 1_000_000_000
  /// Rejected ranges of a replay that are told one by one; the others are only counted.
  package static let maxReplayRejections = 10
  /// How long settled letters wait for room in a full dead letter stream.
  package static let resolutionWaitNanoseconds: Int64 = 5_000_000_000
  /// Rejected ranges that may wait for the dead letter stream before nothing more is delivered.
  package static let maxWaitingRejections = 1024

  // MARK: Publishing

  /// Blocks of 64 ordinals of records that are not settled: with more, nothing is published until cursors move.
  package static let maxOpenChildBlocks = 1 << 20
  /// Of so many blocks at least those are let go whose parents are settled.
  package static let childSweepLeast = 4096
  /// Notes of where children lie in a target stream; with more, two become one.
  package static let maxChildStretches = 1024
  package static let maxPublicationsPerCall = 1 << 16
  /// Calls of `publish` whose records are not durable yet, each with a hold of its own. Further ones share the last.
  package static let maxAwaitedPublications = 1024
  /// How often it is written down from where on children are looked for after a restart.
  package static let floorsNanoseconds: Int64 = 2_000_000_000
  package static let maxFloorsFileBytes = 256 << 10

  // MARK: Plugins

  /// A plugin's time is counted in slices of this length, and a longer one as one: what a machine that stands still takes away is
  /// not the plugin's. Not shorter, or on a busy machine most of a slice is waiting for the processor.
  package static let runningSliceNanoseconds: Int64 = 100_000_000

  package static let maxPluginSchemaBytes = 256 << 10
  package static let maxPluginConfigBytes = 1 << 20
  package static let maxPluginLogMessageBytes = 8 << 10
  package static let maxVerdictReasonBytes = 1 << 10
  package static let maxPluginHealthBytes = 1 << 10
  package static let maxPluginLogPairs = 32
  package static let maxPluginLogPairBytes = 1 << 10
  package static let maxPluginKindBytes = 64
  package static let maxPluginTextBytes = 4 << 10
  package static let maxKindsPerModule = 64
  package static let maxPluginOutputs = 64
  /// A table that claims to be larger than this is taken for garbage.
  package static let maxPluginTableBytes = 64 << 10
  package static let maxPluginFindings = 100
  package static let maxPluginMetrics = 64
  package static let maxPluginMetricLabels = 16
  package static let maxPluginMetricBounds = 64
  package static let maxModuleBytes = 1 << 30
  /// Libraries and folders beside a plugin that its private copy is given links to.
  package static let maxModuleSiblings = 256
  package static let maxModuleHashCollisions = 16
  /// How long `start` of a plugin may take before it is to give up.
  package static let pluginStartNanoseconds: Int64 = 30_000_000_000
  /// How long a reload waits for the first answer of `start`: until the plugin is to have given up, been interrupted and
  /// returned.
  package static let firstStartNanoseconds = pluginStartNanoseconds + 5_000_000_000
  /// How long a reload waits before it starts again what it could not bring back: at first, and at most after many times.
  package static let comebackFirstNanoseconds: Int64 = 1_000_000_000
  package static let comebackMaxNanoseconds: Int64 = 60_000_000_000
  /// How long a plugin may take to go on with another config.
  package static let pluginReconfigureNanoseconds: Int64 = 10_000_000_000
  /// How often the watchdog looks, and how long a call that is over its deadline may go on before its subscriber is called
  /// stuck.
  package static let watchdogNanoseconds: Int64 = 200_000_000
  package static let overdueCallNanoseconds: Int64 = 1_000_000_000
  /// When a thread is asked for again of which there was none to be had.
  package static let threadRetryNanoseconds: Int64 = 100_000_000
  /// What a thread has for handlers of signals, when its own stack is used up: a runtime in a plugin runs its own there, too.
  package static let signalStackBytes = 64 << 10
  /// Bytes that one instance may keep pinned by leases.
  package static let pluginLeaseBytes = 16 << 20
  package static let maxPluginLeases = 1024

  // MARK: Topology

  package static let maxTopologyBytes = 4 << 20
  package static let maxTopologyDepth = 64
  package static let maxTopologyAliases = 1000
  package static let maxTopologyNodes = 100_000
  package static let maxIncludes = 256
  package static let maxSecretFileBytes = 64 << 10
  package static let maxNameCharacters = 63
  package static let maxPatternStates = 1024
  package static let maxPatternDepth = 64
  package static let maxPatternTextBytes = 64 << 10
  /// Schemas applied while one config is checked, and how deep they may lead into each other.
  package static let maxSchemaSteps = 1_000_000
  package static let maxSchemaDepth = 256
  package static let maxSchemaHeight = 32
  package static let defaultRetainBytes = 10 << 30
  package static let defaultBlockTimeoutNanoseconds: Int64 = 5_000_000_000
  /// Entries of one collection: streams, sources or subscribers.
  package static let maxTopologyEntries = 1024
  package static let minMaxRecordBytes = 1 << 10
  package static let blockTimeoutNanoseconds: ClosedRange<Int64> = 1_000_000...3_600_000_000_000
  package static let sourceTimeoutNanoseconds: ClosedRange<Int64> = 100_000_000...86_400_000_000_000
  package static let batchWaitNanoseconds: ClosedRange<Int64> = 0...3_600_000_000_000
  package static let retryNanoseconds: ClosedRange<Int64> = 1_000_000...86_400_000_000_000
  package static let ackDeadlineNanoseconds: ClosedRange<Int64> = 1_000_000...86_400_000_000_000
  package static let maxRetryAttempts = 1 << 20
  package static let minIsolatedMemoryBytes = 16 << 20
  /// The built-in stream `dead`.
  package static let deadRetainBytes = 1 << 30
  package static let deadSegmentBytes = 16 << 20
  package static let maxRingBytes = 16 << 30
  package static let maxSegmentBytes = 1 << 30
  package static let maxBatchRecords = 1 << 20
  package static let maxBatchBytes = 64 << 20
  package static let maxEventLoops = 256
  package static let maxCommitLingerNanoseconds: Int64 = 1_000_000_000
  package static let maxDiagnostics = 100
  /// Members that a `match.json` may name, and how deep into the object.
  package static let maxMatchMembers = 64
  package static let maxMatchDepth = 16

  // MARK: Send

  /// Records of one frame of `sluice send` are gathered up to this.
  package static let sendParcelBytes = 64 << 10
  /// So are those of a request to `POST /logs`.
  package static let sendBodyBytes = 1 << 20
  package static let maxSendConnections = 65_536
  package static let maxSendInFlight = 1 << 20
  package static let maxSendBatchRecords = 65_536
  package static let defaultSendInFlightRecords = 16_384
  package static let defaultSendSize = 128
  /// A generated record is a JSON object with its number in it.
  package static let minSendSize = 48
  /// What one read of the input takes.
  package static let sendReadBytes = 256 << 10
  /// Lines that are read ahead of the connections.
  package static let sendReadAheadBytes = 16 << 20
  /// Parcels that one connection makes before it writes them out.
  package static let sendParcelsPerTurn = 8
  package static let sendConnectNanoseconds: Int64 = 10_000_000_000
  /// A refusal for now is followed by a wait that doubles between these two, unless the server asks for longer.
  package static let sendRetryNanoseconds: ClosedRange<Int64> = 10_000_000...1_000_000_000
  /// So is a connection that was lost, with jitter.
  package static let sendReconnectNanoseconds: ClosedRange<Int64> = 100_000_000...30_000_000_000
  package static let defaultSendTimeoutNanoseconds: Int64 = 60_000_000_000
  /// Of what a server asks a client to wait: nobody vouches for one that has proved nothing yet.
  package static let sendMostWaitNanoseconds: Int64 = 300_000_000_000
  package static let sendProgressNanoseconds: Int64 = 200_000_000
  package static let maxSendResponseHeadBytes = 16 << 10
  package static let maxSendResponseBodyBytes = 16 << 20
  /// Longer latencies are recorded as this.
  package static let maxSendLatencyNanoseconds: Int64 = 3_600_000_000_000
  /// Refusals that are shown one by one; the others are only counted.
  package static let maxSendRefusalsShown = 10

  // MARK: Tools

  /// A progress bar is drawn from this on, and this often.
  package static let progressQuietNanoseconds: Int64 = 1_000_000_000
  package static let progressNanoseconds: Int64 = 100_000_000
  /// How often a tool looks again at what a daemon is writing before it calls it torn, and the pause between two looks.
  package static let liveTailLooks = 20
  package static let liveTailPauseNanoseconds: Int64 = 10_000_000
  /// What an export gathers for one write, and what a listing shows of a payload.
  package static let exportBufferBytes = 256 << 10
  package static let recordPreviewBytes = 64
  /// Problems of one stream that are told one by one; more are counted.
  package static let maxToolProblems = 10_000
  /// Headers that must check under a salt that was worked out before it is believed.
  package static let saltProofGroups = 2
  /// Blocks that look like group headers and from which a salt is worked out before it is given up.
  package static let saltCandidates = 16

  // MARK: Daemon

  /// How long a stopping daemon waits for answers and deliveries that are under way.
  package static let drainNanoseconds: Int64 = 10_000_000_000
  /// How often it looks whether a subscriber still gets nearer to the end, and how many looks it waits for one that does
  /// not: looks and not time, for where the daemon itself does not get to run nothing can move.
  package static let drainPollNanoseconds: Int64 = 50_000_000
  package static let drainIdleLooks = 60
  /// The control socket: connections at a time; of those how many may be commands, so that for `status`, which is answered at
  /// once, there is a place whatever waits, and how many taps; the bytes of a request; how long one may take to come; how long
  /// a peer may take nothing of an answer before it is cut.
  package static let maxControlConnections = 20
  package static let maxControlCommands = 16
  package static let maxTaps = 8
  /// Each of them, as each tap, has one of the control connections for as long as it lasts.
  package static let maxReplays = 4
  package static let maxControlRequestBytes = 64 << 10
  package static let controlRequestSeconds = 5
  package static let controlSendSeconds = 10
  /// Of one line of an answer: a record in JSON is at most some times larger than in the log.
  package static let maxControlReplyBytes = 128 << 20
  /// What a tap reads at a time, how many members it may ask for, and how often it looks whether its peer is still there.
  package static let tapBatchRecords = 256
  package static let tapBatchBytes = 256 << 10
  package static let maxTapFilters = 64
  package static let tapLookNanoseconds: Int64 = 500_000_000
  /// Letters that a listing shows unless it is told how many, and how long a retry of letters may take.
  package static let deadListLetters = 1000
  package static let deadRetryNanoseconds: Int64 = 60_000_000_000
  /// How often a replay tells how far it is, and looks whether its peer is still there.
  package static let replayProgressNanoseconds: Int64 = 200_000_000
  /// A worker without a topology keeps what there is.
  package static let maxWorkerRetainBytes = 1 << 60
  /// How often `sluice worker` looks how far it is.
  package static let workerLookNanoseconds: Int64 = 50_000_000
  /// How long a stopping daemon waits for commands that are being answered.
  package static let controlStopNanoseconds: Int64 = 10_000_000_000
  /// Replaced sources whose connections go on; of more, the oldest is drained.
  package static let maxRetiredSources = 16
  /// How often it is looked whether the last of their connections has gone.
  package static let retiredPollNanoseconds: Int64 = 1_000_000_000
}
