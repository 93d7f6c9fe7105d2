import CSluice
import Glibc
import SluiceCore
import SluiceTopology
import Synchronization

extension ConformanceRule {
  /// Without these nothing is known of a module's kinds.
  static let readable = [
    "module-loads", "table-sizes", "abi-minor", "required-functions", "kind-names", "output-names", "texts-utf8",
  ]

  /// Without these a kind has no config.
  static let configurable = readable + ["schema-valid", "schema-defaults"]

  static let layout: [ConformanceRule] = [
    ConformanceRule(
      "module-loads", .layout,
      demand: "The file loads with RTLD_NOW and RTLD_LOCAL, exports sluice_module_v1, and the entry returns a table.",
      remedy: "Link everything that it needs (cc -Wl,-z,defs), and define the entry with SLU_EXPORT."
    ) { bench throws(RuleVerdict) in _ = try bench.image() },
    ConformanceRule(
      "one-export", .layout,
      demand: "The entry is the only symbol that the file exports.",
      remedy: "Build with -fvisibility=hidden; for C++, Rust and Swift use a version script."
    ) { bench throws(RuleVerdict) in try exports(bench) },
    ConformanceRule(
      "table-sizes", .layout, needs: ["module-loads"],
      demand: "Every struct_size covers the required fields, counts and flags are in range, and no table is NULL.",
      remedy: "Set struct_size to sizeof the struct and initialise the rest by name."
    ) { bench throws(RuleVerdict) in _ = try RawTables(bench) },
    ConformanceRule(
      "abi-minor", .layout, needs: ["table-sizes"],
      demand: "abi_minor_needed is at most abi_minor, and at most what this host speaks.",
      remedy: "Set abi_minor to SLU_ABI_MINOR and abi_minor_needed to the lowest that the plugin works with."
    ) { bench throws(RuleVerdict) in try minors(bench) },
    ConformanceRule(
      "required-functions", .layout, needs: ["table-sizes"],
      demand: "create, deliver and destroy of every kind are there.",
      remedy: "Fill them in; only the other functions may be NULL."
    ) { bench throws(RuleVerdict) in try functions(bench) },
    ConformanceRule(
      "kind-names", .layout, needs: ["table-sizes"],
      demand: "Every kind has a name of its own that matches [a-z][a-z0-9-]*, of at most 64 bytes.",
      remedy: "Rename the kind; the file is called libsluice-<kind>.so."
    ) { bench throws(RuleVerdict) in try kinds(bench) },
    ConformanceRule(
      "output-names", .layout, needs: ["table-sizes"],
      demand: "Outputs are as many as output_count says, and their names differ and match [a-z][a-z0-9_-]*.",
      remedy: "Point outputs to output_count names."
    ) { bench throws(RuleVerdict) in try outputs(bench) },
    ConformanceRule(
      "texts-utf8", .layout, needs: ["table-sizes"],
      demand: "Every text of the tables is UTF-8 and within its limit.",
      remedy: "Write the text as UTF-8; SLU_LITERAL counts its bytes."
    ) { bench throws(RuleVerdict) in try texts(bench) },
    ConformanceRule(
      "entry-stable", .layout, needs: ["module-loads", "table-sizes"],
      demand: "The entry gives the same answer every time, on any thread, and the tables do not change.",
      remedy: "Return a pointer to static, constant data."
    ) { bench throws(RuleVerdict) in try stable(bench) },
    ConformanceRule(
      "entry-quick", .layout, needs: ["module-loads"],
      demand: "The entry takes less than 100 ms.",
      remedy: "Move what takes time into create or start."
    ) { bench throws(RuleVerdict) in try quick(bench) },
    ConformanceRule(
      "entry-pure", .layout, needs: ["module-loads"],
      demand:
        "Loading and the entry start no thread, open nothing, and leave signals, locale, directory and environment.",
      remedy: "Do nothing in constructors and in the entry; start is the place for threads and files."
    ) { bench throws(RuleVerdict) in try pure(bench) },
    ConformanceRule(
      "trusted-place", .layout,
      demand: "The file and its folder belong to root or this user, and nobody else may write to them.",
      remedy: "chmod go-w the file and its folder, or install it elsewhere: the daemon would refuse it here."
    ) { bench throws(RuleVerdict) in
      do throws(PluginLoadError) { _ = try TrustedFile(opening: bench.request.file) } catch {
        throw .warn(error.message)
      }
    },
    ConformanceRule(
      "schema-valid", .layout, needs: readable,
      demand: "Every config schema is JSON Schema of the subset in docs/abi.md.",
      remedy: "Leave out the keyword that is named; what a schema can't say validate can."
    ) { bench throws(RuleVerdict) in try schemas(bench) { _ throws(RuleVerdict) in } },
    ConformanceRule(
      "schema-defaults", .layout, needs: readable + ["schema-valid"],
      demand: "Every default of a config schema satisfies the schema that it stands in.",
      remedy: "Correct the default, or the bound that it breaks."
    ) { bench throws(RuleVerdict) in
      try schemas(bench) { schema throws(RuleVerdict) in
        if let wrong = schema.wrongDefaults.first { throw .fail("the config schema: \(wrong)") }
      }
    },
  ]

  private static func exports(_ bench: RuleBench) throws(RuleVerdict) {
    guard let names = ModuleSymbols.exported(by: bench.request.file) else {
      throw .skip("the file's symbols can't be read: it has no section headers")
    }
    let others = names.filter { !$0.hasPrefix("sluice_module_v") }
    guard !others.isEmpty else { return }
    let shown = others.prefix(5).joined(separator: ", ")
    throw .fail("it exports \(others.count) more: \(shown)\(others.count > 5 ? ", …" : "")")
  }

  private static func minors(_ bench: RuleBench) throws(RuleVerdict) {
    let module = try RawTables(bench).module
    guard module.abi_minor_needed <= module.abi_minor else {
      throw .fail("abi_minor_needed is \(module.abi_minor_needed), more than abi_minor, which is \(module.abi_minor)")
    }
    let served = try bench.image().major
    guard module.abi_minor_needed <= served.minor else {
      throw .fail(
        "abi_minor_needed is \(module.abi_minor_needed), this sluice speaks ABI \(served.number).\(served.minor)")
    }
  }

  private static func functions(_ bench: RuleBench) throws(RuleVerdict) {
    for (index, kind) in try RawTables(bench).kinds.enumerated() {
      for (isThere, name) in [
        (kind.create != nil, "create"), (kind.deliver != nil, "deliver"), (kind.destroy != nil, "destroy"),
      ] where !isThere { throw .fail("\(name) of subscribers[\(index)] is NULL") }
    }
  }

  private static func kinds(_ bench: RuleBench) throws(RuleVerdict) {
    var seen: Set<String> = []
    for (index, kind) in try RawTables(bench).kinds.enumerated() {
      guard kind.kind.len <= UInt64(Limits.maxPluginKindBytes) else {
        throw .fail("kind of subscribers[\(index)] has \(kind.kind.len) bytes")
      }
      let name = kind.kind.text(limit: Limits.maxPluginKindBytes)
      guard ModuleReader.isName(name, also: "-") else { throw .fail("kind of subscribers[\(index)] is \"\(name)\"") }
      guard seen.insert(name).inserted else { throw .fail("two kinds are called \(name)") }
    }
  }

  private static func outputs(_ bench: RuleBench) throws(RuleVerdict) {
    for (index, kind) in try RawTables(bench).kinds.enumerated() where kind.output_count > 0 {
      guard kind.output_count <= UInt32(Limits.maxPluginOutputs) else {
        throw .fail("output_count of subscribers[\(index)] is \(kind.output_count)")
      }
      guard let outputs = kind.outputs else { throw .fail("outputs of subscribers[\(index)] is NULL") }
      var seen: Set<String> = []
      for output in 0..<Int(kind.output_count) {
        let name = outputs[output].text(limit: Limits.maxPluginKindBytes)
        guard ModuleReader.isName(name, also: "-_"), seen.insert(name).inserted else {
          throw .fail("outputs[\(output)] of subscribers[\(index)] is \"\(name)\"")
        }
      }
    }
  }

  private static func texts(_ bench: RuleBench) throws(RuleVerdict) {
    let tables = try RawTables(bench)
    for (bytes, name) in [
      (tables.module.name, "name"), (tables.module.version, "version"), (tables.module.vendor, "vendor"),
      (tables.module.runtime, "runtime"),
    ] { try text(bytes, "slu_module.\(name)", Limits.maxPluginTextBytes) }
    for (index, kind) in tables.kinds.enumerated() {
      try text(kind.summary, "summary of subscribers[\(index)]", Limits.maxPluginTextBytes)
      try text(kind.config_schema, "config_schema of subscribers[\(index)]", Limits.maxPluginSchemaBytes)
    }
  }

  private static func text(_ bytes: slu_bytes, _ name: String, _ limit: Int) throws(RuleVerdict) {
    guard bytes.len <= UInt64(limit) else { throw .fail("\(name) has \(bytes.len) bytes, at most \(limit) are taken") }
    guard bytes.len == 0 || bytes.ptr != nil else { throw .fail("\(name) has a NULL pointer and \(bytes.len) bytes") }
    guard String(validating: bytes.raw(limit: limit), as: UTF8.self) != nil else { throw .fail("\(name) is not UTF-8") }
  }

  private static func stable(_ bench: RuleBench) throws(RuleVerdict) {
    let image = try bench.image()
    let before = try RawTables(bench).bytes
    guard let handle = dlopen(bench.request.file, RTLD_NOW | RTLD_NOLOAD),
      let symbol = dlsym(handle, image.major.symbol)
    else { throw .skip("the entry can't be looked up again") }
    nonisolated(unsafe) let entry = unsafeBitCast(symbol, to: ModuleImage.Entry.self)
    let minor = image.major.minor
    bench.phase("the entry is called again")
    var answers = [UInt(bitPattern: entry(minor)), UInt(bitPattern: entry(minor))]
    let elsewhere = ElsewhereAnswer()
    OSThread(name: "entry") { elsewhere.pointer.withLock { $0 = UInt(bitPattern: entry(minor)) } }.join()
    answers.append(elsewhere.pointer.withLock { $0 })
    guard answers.allSatisfy({ $0 == UInt(bitPattern: image.module) }) else {
      throw .fail("the entry returned another pointer when it was called again")
    }
    guard try RawTables(bench).bytes == before else {
      throw .fail("the tables changed when the entry was called again")
    }
  }

  private static func quick(_ bench: RuleBench) throws(RuleVerdict) {
    let began = Mutex<ThreadTime>(ThreadTime())
    _ = try bench.image { began.withLock { $0 = ThreadTime() } }
    let (start, end) = (began.withLock { $0 }, ThreadTime())
    // Without the time in which the machine was busy with something else.
    let taken = (end.clock - start.clock) - (end.waiting - start.waiting)
    guard taken < Limits.conformanceEntryNanoseconds else {
      throw .fail("the entry took \(taken / 1_000_000) ms")
    }
  }

  private static func pure(_ bench: RuleBench) throws(RuleVerdict) {
    let before = ProcessSnapshot()
    let image = try bench.image()
    // Those that the loader has put back already.
    if let signal = image.changedSignals.first { throw .fail("it changed the handler of signal \(signal)") }
    if let difference = ProcessSnapshot().differences(since: before).first { throw .fail(difference) }
  }

  private static func schemas(
    _ bench: RuleBench, _ body: (PluginConfigCheck) throws(RuleVerdict) -> Void
  ) throws(RuleVerdict) {
    for kind in try bench.module().kinds {
      let schema: PluginConfigCheck
      do throws(PluginConfigCheck.SchemaFault) {
        schema = try PluginConfigCheck(schemaJSON: kind.schemaJSON)
      } catch {
        throw .fail("the config schema of \(kind.kind) \(error.message)")
      }
      try body(schema)
    }
  }
}

/// What the entry answered on another thread.
private final class ElsewhereAnswer: Sendable {
  let pointer = Mutex<UInt>(0)
}

/// What the calling thread has had of time, and what it had to wait for a processor.
struct ThreadTime: Sendable {
  let clock = Clock.monotonic()
  let waiting: Int64

  init() {
    var line = [CChar](repeating: 0, count: 128)
    let file = fopen("/proc/thread-self/schedstat", "r")
    defer { if let file { fclose(file) } }
    guard let file, fgets(&line, Int32(line.count), file) != nil else {
      waiting = 0
      return
    }
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let fields = text.split(whereSeparator: \.isWhitespace)
    waiting = fields.count > 1 ? Int64(fields[1]) ?? 0 : 0
  }
}

/// A module's tables, cut to what this host knows, before anything else of them is believed.
struct RawTables {
  let module: slu_module
  let kinds: [slu_subscriber]
  /// Of all tables, to tell whether they changed.
  let bytes: [UInt8]

  init(_ bench: RuleBench) throws(RuleVerdict) {
    let pointer = try bench.image().module
    bench.phase("its tables are read")
    let needed = MemoryLayout<slu_module>.offset(of: \.subscribers)! + MemoryLayout<UnsafeRawPointer>.size
    var bytes: [UInt8] = []
    module = try RawTables.copy(pointer, "slu_module", needed, &bytes)
    guard (1...UInt32(Limits.maxKindsPerModule)).contains(module.subscriber_count) else {
      throw .fail("slu_module.subscriber_count is \(module.subscriber_count)")
    }
    guard let subscribers = module.subscribers else { throw .fail("slu_module.subscribers is NULL") }
    var kinds: [slu_subscriber] = []
    for index in 0..<Int(module.subscriber_count) {
      guard let subscriber = subscribers[index] else { throw .fail("subscribers[\(index)] is NULL") }
      let needed = MemoryLayout<slu_subscriber>.offset(of: \.destroy)! + MemoryLayout<UnsafeRawPointer>.size
      let kind: slu_subscriber = try RawTables.copy(subscriber, "subscribers[\(index)]", needed, &bytes)
      guard kind.flags & ~UInt32(SLU_F_EXCLUSIVE | SLU_F_PROCESS_ONLY) == 0 else {
        throw .fail("flags of subscribers[\(index)] is \(kind.flags), which has bits that mean nothing")
      }
      kinds.append(kind)
    }
    self.kinds = kinds
    self.bytes = bytes
  }

  private static func copy<Table>(
    _ table: UnsafePointer<Table>, _ name: String, _ needed: Int, _ bytes: inout [UInt8]
  ) throws(RuleVerdict) -> Table {
    let raw = UnsafeRawPointer(table)
    guard UInt(bitPattern: raw) % UInt(MemoryLayout<Table>.alignment) == 0 else {
      throw .fail("\(name) lies at a misaligned address")
    }
    let size = Int(raw.load(as: UInt32.self))
    guard size >= needed, size <= Limits.maxPluginTableBytes else {
      throw .fail("struct_size of \(name) is \(size), at least \(needed) expected")
    }
    var copy = [UInt8](repeating: 0, count: MemoryLayout<Table>.size)
    let known = UnsafeRawBufferPointer(start: raw, count: min(size, copy.count))
    copy.replaceSubrange(0..<known.count, with: known)
    bytes += copy
    return copy.withUnsafeBytes { $0.loadUnaligned(as: Table.self) }
  }
}
