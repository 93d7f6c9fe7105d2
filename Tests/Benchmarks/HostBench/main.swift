// Delivers records from memory to a plugin that only looks at them: directly, through the host in this process, and through
// the host to a process of the plugin's own, which this program is as well.
// `host-bench PLUGIN.so seconds=2 size=1024 batches=1,64,1024 ways=direct,thread,process,range,each,log records=1000000
// rounds=5`, one JSON object a line. `range` and `each`: on a thread and in a process, the plugin takes a batch and settles it
// with one call, or with one for each message.

import CSluice
import Glibc
import Logging
import SluiceCore
import SluiceHost
import SluiceTopology
import Synchronization

/// Hands the same record out as often as it is asked for, up to a number.
///
/// `@unchecked Sendable`: the record is never written to; position belongs to the subscriber's thread; the rest is atomic.
final class EndlessReader: StreamReader, @unchecked Sendable {
  let streamName = "bench"
  let logUUID = LogUUID.random()
  private let record: UnsafeMutableRawPointer
  private let length: Int
  private let settled = Atomic<UInt64>(1)
  private(set) var position: UInt64 = 1

  init(size: Int) {
    let payload = [UInt8](repeating: 0x61, count: size)
    (record, length) = payload.withUnsafeBytes { payload in
      let fields = RecordFields(eventTime: 1, payload: payload)
      let record = UnsafeMutableRawPointer.allocate(byteCount: fields.recordBytes, alignment: 8)
      let crc = fields.encodeProducerPart(to: record + RecordLayout.producerPart, type: RecordLayout.typeData)
      record.storeLE(UInt32(fields.recordBytes), RecordLayout.length)
      record.storeLE(crc, RecordLayout.crc)
      record.storeLE(Int64(1), RecordLayout.ingestTime)
      record.storeLE(UInt32(0), RecordLayout.producer)
      record.storeLE(UInt16(1), RecordLayout.source)
      record.storeLE(UInt16(0), RecordLayout.epoch)
      return (record, fields.recordBytes)
    }
  }

  func sourceName(_ id: UInt16) -> String { "source" }
  func producerName(_ id: UInt32) -> String { "" }
  var cursor: UInt64 { settled.load(ordering: .acquiring) }
  func seek(to lsn: UInt64) { position = lsn }

  func read(into batch: RecordBatch, maxRecords: Int, maxBytes: Int) throws(StreamReadError) -> ReadOutcome {
    batch.firstLSN = position
    for _ in 0..<maxRecords { batch.append(record, length: length) }
    position += UInt64(maxRecords)
    return .records
  }

  func settle(below lsn: UInt64) { settled.store(lsn, ordering: .releasing) }
  func flushCursor() throws(StreamReadError) {}
  func setDoorbell(_ bell: Doorbell?) {}
  var lag: StreamLag { StreamLag(records: 1 << 30, bytes: 1 << 40, ageNanoseconds: 0) }
  func close() {}
}

struct NoLetters: DeadLetterSink {
  let name = "none"
  func openWriter(subscriber: String, wake: @escaping @Sendable () -> Void) -> any DeadLetterWriter { Writer() }

  final class Writer: DeadLetterWriter {
    func append(_ letter: DeadLetter, _ record: RecordView) -> FullReason? { nil }
    func submit() -> UInt64 { 1 }
    func isKept(_ position: UInt64) -> Bool { true }
    var cutLetters: UInt64 { 0 }
    func close() {}
  }
}

struct HostBench {
  let plugin: String
  let seconds: Double
  let size: Int
  let state: String

  private func cpu() -> Double {
    var seconds = 0.0
    for who in [RUSAGE_SELF.rawValue, RUSAGE_CHILDREN.rawValue] {
      var usage = rusage()
      getrusage(__rusage_who_t(who), &usage)
      for time in [usage.ru_utime, usage.ru_stime] { seconds += Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    }
    return seconds
  }

  func tell(_ way: String, _ batch: Int, _ records: UInt64, _ wall: Double, _ cpu: Double) {
    let perBatch = wall / (Double(records) / Double(batch)) * 1e9
    print(
      "{\"way\": \"\(way)\", \"batch\": \(batch), \"records_per_s\": \(Double(records) / wall), "
        + "\"ns_per_batch\": \(perBatch), \"cpu_ns_per_record\": \(cpu / Double(records) * 1e9)}")
  }

  /// The plugin's own function in a loop.
  func direct(_ batch: Int) {
    typealias Entry = @convention(c) (UInt32) -> UnsafePointer<slu_module>?
    guard let handle = dlopen(plugin, RTLD_NOW), let symbol = dlsym(handle, "sluice_module_v1"),
      let module = unsafeBitCast(symbol, to: Entry.self)(0), let kind = module.pointee.subscribers[0]
    else { fatalError("no plugin at \(plugin)") }
    var instance: UnsafeMutableRawPointer?
    var host = slu_host()
    var error = slu_error()
    _ = kind.pointee.create(kind, &host, slu_bytes(), &instance, &error)
    let payload = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 8)
    memset(payload, 0x61, size)
    var message = slu_message()
    message.payload = slu_bytes(ptr: payload, len: UInt64(size))
    var messages = [slu_message](repeating: message, count: batch)
    var records: UInt64 = 0
    let (began, used) = (Clock.monotonic(), cpu())
    messages.withUnsafeMutableBufferPointer { messages in
      var descriptor = slu_batch()
      descriptor.count = UInt32(batch)
      descriptor.message_stride = UInt32(MemoryLayout<slu_message>.stride)
      descriptor.messages = UnsafePointer(messages.baseAddress)
      while Double(Clock.monotonic() - began) / 1e9 < seconds {
        for _ in 0..<100 { _ = kind.pointee.deliver(instance, &descriptor, &error) }
        records += UInt64(100 * batch)
      }
    }
    tell("direct", batch, records, Double(Clock.monotonic() - began) / 1e9, cpu() - used)
  }

  func settings() -> SubscriberSettings {
    var settings = SubscriberSettings(
      name: "null", plugin: plugin, streams: ["bench"], position: SourcePosition(file: "bench", line: 1, column: 1))
    settings.batch.waitNanoseconds = 0
    return settings
  }

  /// Delivers from `reader` until it is told, with when it began, that it is enough. Returns the seconds that took, and CPU seconds, start and stop
  /// included.
  func deliver(
    _ reader: any StreamReader, _ settings: SubscriberSettings, _ place: PluginPlace, until isEnough: (Int64) -> Bool
  ) throws -> (wall: Double, cpu: Double) {
    // This program is a plugin's process as well.
    let loaded = try PluginLibrary(searchPaths: [], stateDirectory: state, runner: "/proc/self/exe")
      .load(plugin, place: place)
    let subscriber = SubscriberInstance(
      settings: settings, plugin: loaded, readers: [reader], dataDirectory: state, deadLetters: NoLetters(),
      hostVersion: "bench", logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
    let used = cpu()
    try subscriber.start()
    let began = Clock.monotonic()
    while !isEnough(began) { Doorbell().wait(until: Clock.monotonic() + 1_000_000) }
    let wall = Double(Clock.monotonic() - began) / 1e9
    // The process's own time counts when it has ended.
    _ = subscriber.stop(deadline: Clock.monotonic() + 10_000_000_000)
    return (wall, cpu() - used)
  }

  /// `settling`: how the plugin is told to settle what it takes; nil: it acknowledges batches.
  func hosted(_ batch: Int, _ place: PluginPlace, settling: String? = nil) throws {
    let reader = EndlessReader(size: size)
    var settings = settings()
    settings.batch.records = batch
    settings.batch.bytes = Limits.maxBatchBytes
    if let settling { settings.configJSON = #"{"settle":"\#(settling)"}"# }
    let (wall, cpu) = try deliver(reader, settings, place) { Clock.monotonic() - $0 >= Int64(seconds * 1e9) }
    tell(settling.map { "\(place), settle \($0)" } ?? "\(place)", batch, reader.cursor - 1, wall, cpu)
  }
}

if CommandLine.arguments.dropFirst().first == PluginRunner.command { exit(PluginRunner.run()) }
var values: [String: String] = [:]
for word in CommandLine.arguments.dropFirst(2) {
  let parts = word.split(separator: "=").map(String.init)
  if parts.count == 2 { values[parts[0]] = parts[1] }
}
guard CommandLine.arguments.count > 1 else {
  print(
    "usage: host-bench PLUGIN.so seconds=2 size=1024 batches=1,64,1024 ways=direct,thread,process,range,each,log "
      + "records=… rounds=5"
  )
  exit(64)
}
var template = Array("/tmp/sluice-host-bench-XXXXXX".utf8CString)
guard mkdtemp(&template) != nil else { fatalError("no temporary directory") }
let bench = HostBench(
  plugin: CommandLine.arguments[1], seconds: Double(values["seconds"] ?? "2") ?? 2,
  size: Int(values["size"] ?? "1024") ?? 1024,
  state: String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
let ways = (values["ways"] ?? "direct,thread,process,range,each,log").split(separator: ",")
for batch in (values["batches"] ?? "1,64,1024").split(separator: ",").compactMap({ Int($0) }) {
  for way in ways {
    switch way {
    case "thread": try bench.hosted(batch, .thread)
    case "process": try bench.hosted(batch, .process)
    case "range", "each":
      for place in [PluginPlace.thread, .process] { try bench.hosted(batch, place, settling: "\(way)") }
    case "direct": bench.direct(batch)
    default: break
    }
  }
}
if ways.contains("log") {
  try LogRounds(
    bench: bench, records: UInt64(values["records"] ?? "1000000") ?? 1_000_000,
    rounds: Int(values["rounds"] ?? "5") ?? 5
  ).run()
}
