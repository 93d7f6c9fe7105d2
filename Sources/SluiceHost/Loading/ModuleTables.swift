// What a module says about itself, checked before anything else is done with it. Every table is size-prefixed:
//
//   struct_size < what the required fields need      refused, naming the table and the size
//   struct_size < ours (an older plugin)             the fields it does not have are zero: "not there"
//   struct_size > ours (a newer plugin)              what we don't know is not looked at
//   abi_minor_needed > our minor                     refused, naming both
//   a required function is NULL                      refused, naming the field
//
// Nothing is read outside struct_size; strings are bounded, checked as UTF-8, and copied.

import CSluice
import SluiceCore

/// What one module carries.
struct ModuleDescription {
  var name: String
  var version: String
  var vendor: String
  var runtime: String
  var abiMinor: UInt32
  var kinds: [KindDescription]
}

/// One kind of subscriber, as its module describes it.
struct KindDescription {
  /// What every function of the kind gets as `kind`: the plugin's own table.
  var original: UnsafePointer<slu_subscriber>
  /// Our copy of it, zero where the plugin's is shorter.
  var table: slu_subscriber
  var kind: String
  var summary: String
  var schemaJSON: String
  var outputs: [String]
}

/// Reads and checks tables of ABI 1, whatever number the host calls it by.
struct ModuleReader {
  /// For messages.
  let path: String
  let major: ModuleImage.Major

  func read(_ module: UnsafePointer<slu_module>) throws(PluginLoadError) -> ModuleDescription {
    let needed = MemoryLayout<slu_module>.offset(of: \.subscribers)! + MemoryLayout<UnsafeRawPointer>.size
    let table = try copy(module, "slu_module", needed: needed)
    guard table.abi_minor_needed <= major.minor else {
      throw PluginLoadError(
        .tooNew,
        "\(path) needs ABI \(major.number).\(table.abi_minor_needed), this sluice speaks ABI \(major.number).\(major.minor)",
        remedy: "use a newer sluice, or a plugin built for ABI \(major.number).\(major.minor)")
    }
    guard (1...UInt32(Limits.maxKindsPerModule)).contains(table.subscriber_count) else {
      throw bad(
        "slu_module.subscriber_count is \(table.subscriber_count)", "it must be 1...\(Limits.maxKindsPerModule)")
    }
    guard let subscribers = table.subscribers else {
      throw bad("slu_module.subscribers is NULL", "point it to subscriber_count pointers")
    }
    var kinds: [KindDescription] = []
    for index in 0..<Int(table.subscriber_count) {
      guard let subscriber = subscribers[index] else {
        throw bad("slu_module.subscribers[\(index)] is NULL", "point it to a slu_subscriber")
      }
      kinds.append(try kind(subscriber))
    }
    return ModuleDescription(
      name: try text(table.name, "slu_module.name"), version: try text(table.version, "slu_module.version"),
      vendor: try text(table.vendor, "slu_module.vendor"), runtime: try text(table.runtime, "slu_module.runtime"),
      abiMinor: table.abi_minor, kinds: kinds)
  }

  private func kind(_ subscriber: UnsafePointer<slu_subscriber>) throws(PluginLoadError) -> KindDescription {
    let needed = MemoryLayout<slu_subscriber>.offset(of: \.destroy)! + MemoryLayout<UnsafeRawPointer>.size
    let table = try copy(subscriber, "slu_subscriber", needed: needed)
    let kind = try text(table.kind, "slu_subscriber.kind", limit: Limits.maxPluginKindBytes)
    guard ModuleReader.isName(kind, also: "-") else {
      throw bad("slu_subscriber.kind is \"\(kind)\"", "it must match [a-z][a-z0-9-]*")
    }
    let known = UInt32(SLU_F_EXCLUSIVE | SLU_F_PROCESS_ONLY)
    guard table.flags & ~known == 0 else {
      throw bad(
        "slu_subscriber.flags of \(kind) is \(table.flags)", "only SLU_F_EXCLUSIVE and SLU_F_PROCESS_ONLY exist")
    }
    for (present, field) in [
      (table.create != nil, "create"), (table.deliver != nil, "deliver"), (table.destroy != nil, "destroy"),
    ] where !present {
      throw bad("slu_subscriber.\(field) of \(kind) is NULL", "every subscriber must have it")
    }
    let schema = try text(table.config_schema, "slu_subscriber.config_schema", limit: Limits.maxPluginSchemaBytes)
    return KindDescription(
      original: subscriber, table: table, kind: kind, summary: try text(table.summary, "slu_subscriber.summary"),
      schemaJSON: schema, outputs: try outputs(table, of: kind))
  }

  private func outputs(_ table: slu_subscriber, of kind: String) throws(PluginLoadError) -> [String] {
    guard table.output_count > 0 else { return [] }
    guard table.output_count <= UInt32(Limits.maxPluginOutputs) else {
      throw bad(
        "slu_subscriber.output_count of \(kind) is \(table.output_count)",
        "at most \(Limits.maxPluginOutputs) are served")
    }
    guard let outputs = table.outputs else {
      throw bad("slu_subscriber.outputs of \(kind) is NULL", "point it to output_count names")
    }
    var names: [String] = []
    for index in 0..<Int(table.output_count) {
      let name = try text(outputs[index], "slu_subscriber.outputs[\(index)]", limit: Limits.maxPluginKindBytes)
      guard ModuleReader.isName(name, also: "-_"), !names.contains(name) else {
        throw bad("slu_subscriber.outputs[\(index)] is \"\(name)\"", "names must match [a-z][a-z0-9_-]* and differ")
      }
      names.append(name)
    }
    return names
  }

  /// `min(struct_size, ours)` bytes of a table, the rest zero. `needed`: up to the last field that must be there.
  private func copy<Table>(_ table: UnsafePointer<Table>, _ name: String, needed: Int) throws(PluginLoadError) -> Table
  {
    let raw = UnsafeRawPointer(table)
    guard UInt(bitPattern: raw) % UInt(MemoryLayout<Table>.alignment) == 0 else {
      throw bad("\(name) lies at a misaligned address", "return a pointer to a static \(name)")
    }
    let size = Int(raw.load(as: UInt32.self))
    guard size >= needed, size <= Limits.maxPluginTableBytes else {
      throw bad(
        "\(name).struct_size is \(size), at least \(needed) expected", "set it to sizeof(\(name)) and build again")
    }
    return withUnsafeTemporaryAllocation(
      byteCount: MemoryLayout<Table>.size, alignment: MemoryLayout<Table>.alignment
    ) { buffer in
      buffer.initializeMemory(as: UInt8.self, repeating: 0)
      buffer.copyMemory(from: UnsafeRawBufferPointer(start: raw, count: min(size, buffer.count)))
      return buffer.load(as: Table.self)
    }
  }

  private func text(
    _ bytes: slu_bytes, _ field: String, limit: Int = Limits.maxPluginTextBytes
  ) throws(PluginLoadError) -> String {
    guard bytes.len <= UInt64(limit) else { throw bad("\(field) has \(bytes.len) bytes", "at most \(limit) are taken") }
    guard bytes.len > 0 else { return "" }
    guard let pointer = bytes.ptr else { throw bad("\(field).ptr is NULL with len \(bytes.len)", "set both or none") }
    let raw = UnsafeRawBufferPointer(start: pointer, count: Int(bytes.len))
    guard let text = String(validating: raw, as: UTF8.self) else {
      throw bad("\(field) is not valid UTF-8", "it must be UTF-8 text")
    }
    return text
  }

  private func bad(_ message: String, _ remedy: String) -> PluginLoadError {
    PluginLoadError(.badTable, "\(path): \(message)", remedy: remedy)
  }

  /// `[a-z][a-z0-9…]*`, with the characters of `also` allowed after the first.
  static func isName(_ text: String, also: String) -> Bool {
    guard let first = text.utf8.first, (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(first) else { return false }
    return text.utf8.allSatisfy { byte in
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        || also.utf8.contains(byte)
    }
  }
}
