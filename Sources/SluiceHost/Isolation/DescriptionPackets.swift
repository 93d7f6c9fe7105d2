import CSluice
import SluiceCore

/// What a module in another process says of itself: ModuleDescription, with tables that say which functions there are.
struct RemoteDescription: Equatable {
  struct Kind: Equatable {
    var kind: String
    var summary: String
    var schemaJSON: String
    var outputs: [String]
    var flags: UInt32
    var wants: LoadedPlugin.Wants
    var functions: Functions
  }

  /// The optional functions that a kind has.
  struct Functions: OptionSet, Equatable {
    let rawValue: UInt32
    static let validate = Functions(rawValue: 1)
    static let start = Functions(rawValue: 2)
    static let gap = Functions(rawValue: 4)
    static let flush = Functions(rawValue: 8)
    static let drain = Functions(rawValue: 16)
    static let stop = Functions(rawValue: 32)
    static let interrupt = Functions(rawValue: 64)
    static let reconfigure = Functions(rawValue: 128)
  }

  var name: String
  var version: String
  var vendor: String
  var runtime: String
  var major: UInt32
  var abiMinor: UInt32
  var changedSignals: [Int32]
  var kinds: [Kind]
}

extension RemoteDescription {
  init(_ module: ModuleDescription, _ image: ModuleImage) {
    self.init(
      name: module.name, version: module.version, vendor: module.vendor, runtime: module.runtime,
      major: UInt32(image.major.number), abiMinor: module.abiMinor, changedSignals: image.changedSignals,
      kinds: module.kinds.map { kind in
        let table = kind.table
        var functions: Functions = []
        if table.validate != nil { functions.insert(.validate) }
        if table.start != nil { functions.insert(.start) }
        if table.gap != nil { functions.insert(.gap) }
        if table.flush != nil { functions.insert(.flush) }
        if table.drain != nil { functions.insert(.drain) }
        if table.stop != nil { functions.insert(.stop) }
        if table.interrupt != nil { functions.insert(.interrupt) }
        if table.reconfigure != nil { functions.insert(.reconfigure) }
        return Kind(
          kind: kind.kind, summary: kind.summary, schemaJSON: kind.schemaJSON, outputs: kind.outputs,
          flags: table.flags, wants: LoadedPlugin.Wants(table), functions: functions)
      })
  }

  func write(to packet: inout PacketWriter) {
    for text in [name, version, vendor, runtime] { packet.put(text) }
    packet.put(major)
    packet.put(abiMinor)
    packet.put(UInt32(changedSignals.count))
    for signal in changedSignals { packet.put(signal) }
    packet.put(UInt32(kinds.count))
    for kind in kinds {
      for text in [kind.kind, kind.summary, kind.schemaJSON] { packet.put(text) }
      packet.put(UInt32(kind.outputs.count))
      for output in kind.outputs { packet.put(output) }
      packet.put(kind.flags)
      for wish in [
        kind.wants.records, kind.wants.bytes, kind.wants.lingerMilliseconds, kind.wants.maxInflight,
        kind.wants.ackDeadlineMilliseconds,
      ] {
        packet.put(wish)
      }
      packet.put(kind.functions.rawValue)
    }
  }

  init(_ packet: inout PacketReader) throws(PacketFault) {
    let limit = Limits.maxPluginTextBytes
    name = try packet.text(limit: limit)
    version = try packet.text(limit: limit)
    vendor = try packet.text(limit: limit)
    runtime = try packet.text(limit: limit)
    major = try packet.number()
    abiMinor = try packet.number()
    changedSignals = []
    let signals = try packet.count(least: 4)
    guard signals <= Limits.maxSignals else { throw PacketFault.broken }
    for _ in 0..<signals { changedSignals.append(try packet.number()) }
    kinds = []
    let count = try packet.count(least: 4)
    guard (1...Limits.maxKindsPerModule).contains(count) else { throw PacketFault.broken }
    for _ in 0..<count { kinds.append(try Kind(&packet)) }
    try packet.end()
  }
}

extension RemoteDescription.Kind {
  fileprivate init(_ packet: inout PacketReader) throws(PacketFault) {
    kind = try packet.text(limit: Limits.maxPluginKindBytes)
    summary = try packet.text(limit: Limits.maxPluginTextBytes)
    schemaJSON = try packet.text(limit: Limits.maxPluginSchemaBytes)
    outputs = []
    let count = try packet.count(least: 4)
    guard count <= Limits.maxPluginOutputs else { throw PacketFault.broken }
    for _ in 0..<count { outputs.append(try packet.text(limit: Limits.maxPluginKindBytes)) }
    guard ModuleReader.isName(kind, also: "-"), outputs.allSatisfy({ ModuleReader.isName($0, also: "-_") }) else {
      throw PacketFault.broken
    }
    flags = try packet.number()
    guard flags & ~UInt32(SLU_F_EXCLUSIVE | SLU_F_PROCESS_ONLY) == 0 else { throw PacketFault.broken }
    wants = LoadedPlugin.Wants(
      records: try packet.number(), bytes: try packet.number(), lingerMilliseconds: try packet.number(),
      maxInflight: try packet.number(), ackDeadlineMilliseconds: try packet.number())
    functions = .init(rawValue: try packet.number())
  }
}

extension LoadedPlugin.Wants {
  init(_ table: slu_subscriber) {
    self.init(
      records: table.want_records, bytes: table.want_bytes, lingerMilliseconds: table.want_linger_ms,
      maxInflight: table.max_inflight, ackDeadlineMilliseconds: table.ack_deadline_ms)
  }
}
