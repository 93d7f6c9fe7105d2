import SluiceCore

/// One entry of `subscribers:`.
package struct SubscriberSettings: Sendable, Equatable {
  package enum Order: String, Sendable, CaseIterable { case relaxed, strict }

  /// What a record must be to be delivered. Empty lists match everything; lists are alternatives.
  package struct Match: Sendable, Equatable {
    package var sources: [String] = []
    /// Globs: `*` any run of characters, `?` one.
    package var topics: [String] = []
    /// Members of the payload's JSON object (dots lead into nested objects) and the values they may have.
    package var members: [Member] = []

    package init() {}

    package struct Member: Sendable, Equatable {
      package var path: String
      package var values: [JSONValue]

      package init(path: String, values: [JSONValue]) {
        self.path = path
        self.values = values
      }
    }
  }

  package struct Batch: Sendable, Equatable {
    package var records = Limits.defaultBatchRecords
    package var bytes = Limits.defaultBatchBytes
    package var waitNanoseconds = Limits.defaultBatchWaitNanoseconds
  }

  package struct Retry: Sendable, Equatable {
    package var firstNanoseconds = Limits.defaultRetryFirstNanoseconds
    package var maxNanoseconds = Limits.defaultRetryMaxNanoseconds
    /// nil: unlimited.
    package var attempts: Int?
  }

  package enum Isolation: Sendable, Equatable {
    /// By where the `.so` lies: thread beside the executable or in lib/sluice/plugins, process from elsewhere.
    case automatic
    case thread
    case process(user: String?, memoryBytes: Int?)

    /// Nil: the daemon's own.
    package var user: String? {
      guard case .process(let user, _) = self else { return nil }
      return user
    }
  }

  package struct Publication: Sendable, Equatable {
    package var output: String
    package var stream: String
    /// Where the output's name stands.
    package var position = Unequated<SourcePosition?>(nil)

    package init(output: String, stream: String, at position: SourcePosition? = nil) {
      self.output = output
      self.stream = stream
      self.position = Unequated(position)
    }
  }

  package var name: String
  /// A kind, or a path to a `.so` (resolved against the file).
  package var plugin: String
  package var streams: [String]
  package var match: Match?
  package var batch = Batch()
  package var retry = Retry()
  package var order = Order.relaxed
  package var maxLag: LagBound?
  /// nil: what the plugin declares.
  package var ackDeadlineNanoseconds: Int64?
  package var publish: [Publication] = []
  package var deadLetter = Topology.defaultDeadLetter
  package var isolation = Isolation.automatic
  package var start = StartPosition.oldest
  /// The plugin's config: canonical JSON, defaults applied, sizes in bytes, durations in nanoseconds.
  package var configJSON = "{}"
  /// The same with placeholders for what the plugin's schema calls secret: for code of the plugin's that only looks.
  package var placeholderConfigJSON = "{}"
  /// Where the name stands.
  package var position: Unequated<SourcePosition>
  /// JSON Pointer into `configJSON` → where its value stands. The root is "".
  package var configPositions: Unequated<[String: SourcePosition]> = Unequated([:])

  package init(name: String, plugin: String, streams: [String], position: SourcePosition) {
    self.name = name
    self.plugin = plugin
    self.streams = streams
    self.position = Unequated(position)
  }

  /// Whether `plugin` names a file rather than a kind.
  package var pluginIsPath: Bool { plugin.contains("/") || plugin.hasSuffix(".so") }

  /// Where the value that a JSON Pointer (RFC 6901) into the config names stands; the nearest value around it when
  /// the pointer leads to nothing.
  package func position(ofPointer pointer: String) -> SourcePosition {
    var rest = pointer[...]
    while true {
      if let found = configPositions.value[String(rest)] { return found }
      guard let slash = rest.lastIndex(of: "/") else { return configPositions.value[""] ?? position.value }
      rest = rest[..<slash]
    }
  }
}
