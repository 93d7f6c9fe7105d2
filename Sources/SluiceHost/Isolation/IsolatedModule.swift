import CSluice
import SluiceCore

/// A kind whose code runs in processes of its own: a table of the ABI like any other, whose functions pass calls on. So
/// what delivers to a plugin need not know where it is.
///
/// Never freed, as the tables of a module that is loaded.
final class IsolatedModule: Sendable {
  /// What its processes load, and how messages call it.
  let path: String
  let name: String
  let kind: String
  let runner: String
  /// Who sees that the file is there; the plugin's own, which lives for as long as anybody calls its table. Nil: whoever has
  /// put it there does.
  private unowned let kept: KeptModule?

  init(path: String, kept: KeptModule?, name: String, kind: String, runner: String) {
    self.path = path
    self.kept = kept
    self.name = name
    self.kind = kind
    self.runner = runner
  }

  /// Before a process is started. From any thread.
  func makeSure() throws(PluginLoadError) { try kept?.makeSure() }

  /// The kind's description, with a table that leads to `IsolatedInstance`.
  static func description(
    of kind: RemoteDescription.Kind, path: String, keptBy kept: KeptModule? = nil, name: String, runner: String
  ) -> KindDescription {
    let module = IsolatedModule(path: path, kept: kept, name: name, kind: kind.kind, runner: runner)
    var table = slu_subscriber()
    table.struct_size = UInt32(MemoryLayout<slu_subscriber>.size)
    table.flags = kind.flags
    // Kept for ever, as said above.
    table.context = UnsafeRawPointer(Unmanaged.passRetained(module).toOpaque())
    table.want_records = kind.wants.records
    table.want_bytes = kind.wants.bytes
    table.want_linger_ms = kind.wants.lingerMilliseconds
    table.max_inflight = kind.wants.maxInflight
    table.ack_deadline_ms = kind.wants.ackDeadlineMilliseconds
    table.create = createInstance
    table.deliver = { instance, batch, error in IsolatedModule.with(instance, error) { $0.deliver(batch!) } }
    table.destroy = destroyInstance
    // What the plugin has not got has the host's default, here as well.
    if kind.functions.contains(.validate) { table.validate = validateConfig }
    if kind.functions.contains(.start) {
      table.start = { instance, deadline, error in
        IsolatedModule.with(instance, error) { $0.start(.start, deadline: deadline) }
      }
    }
    if kind.functions.contains(.gap) {
      table.gap = { instance, gap, error in IsolatedModule.with(instance, error) { $0.gap(gap!.pointee) } }
    }
    if kind.functions.contains(.flush) {
      table.flush = { instance, deadline, error in
        IsolatedModule.with(instance, error) { $0.start(.flush, deadline: deadline) }
      }
    }
    if kind.functions.contains(.drain) {
      table.drain = { instance, deadline, error in
        IsolatedModule.with(instance, error) { $0.start(.drain, deadline: deadline) }
      }
    }
    table.stop = { instance, error in IsolatedModule.with(instance, error) { $0.stop() } }
    table.interrupt = { instance in IsolatedModule.object(instance).interrupt() }
    if kind.functions.contains(.reconfigure) {
      table.reconfigure = { instance, config, error in IsolatedModule.with(instance, error) { $0.reconfigure(config) } }
    }
    let original = UnsafeMutablePointer<slu_subscriber>.allocate(capacity: 1)
    original.initialize(to: table)
    return KindDescription(
      original: original, table: table, kind: kind.kind, summary: kind.summary, schemaJSON: kind.schemaJSON,
      outputs: kind.outputs)
  }

  /// The table's `validate`, as a user.
  static func validate(
    _ kind: UnsafePointer<slu_subscriber>?, _ config: slu_bytes, as user: String?, _ diagnose: slu_diagnose?,
    _ context: UnsafeMutableRawPointer?
  ) -> slu_rc {
    let module = of(kind)
    let look = FirstLook(runner: module.runner, user: user)
    switch look.validate(module, config: config.text(limit: .max)) {
    case .success(let (rc, findings)):
      for finding in findings {
        finding.pointer.withBytes { pointer in
          finding.text.withBytes { diagnose?(context, finding.severity, pointer, $0) }
        }
      }
      return rc
    case .failure(let failure):
      failure.message.withBytes { diagnose?(context, UInt32(SLU_DIAGNOSE_ERROR), slu_bytes(), $0) }
      return SLU_E_CONFIG
    }
  }

  fileprivate static func of(_ kind: UnsafePointer<slu_subscriber>?) -> IsolatedModule {
    Unmanaged<IsolatedModule>.fromOpaque(UnsafeMutableRawPointer(mutating: kind!.pointee.context!))
      .takeUnretainedValue()
  }

  fileprivate static func object(_ instance: UnsafeMutableRawPointer?) -> IsolatedInstance {
    Unmanaged<IsolatedInstance>.fromOpaque(instance!).takeUnretainedValue()
  }

  /// Calls, and puts what came of it where the caller looks.
  fileprivate static func with(
    _ instance: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<slu_error>?,
    _ body: (IsolatedInstance) -> IsolatedInstance.Reply
  ) -> slu_rc {
    let reply = body(object(instance))
    return fail(error, reply.rc, reply.code, reply.message)
  }

  fileprivate static func fail(
    _ error: UnsafeMutablePointer<slu_error>?, _ rc: slu_rc, _ code: UInt32, _ message: String
  ) -> slu_rc {
    guard let error else { return rc }
    error.pointee.code = code
    var message = message
    message.withUTF8 { text in
      withUnsafeMutableBytes(of: &error.pointee.message) { place in
        let count = min(text.count, place.count)
        place.copyBytes(from: text.prefix(count))
        error.pointee.length = UInt64(count)
      }
    }
    return rc
  }
}

private func createInstance(
  _ kind: UnsafePointer<slu_subscriber>?, _ host: UnsafePointer<slu_host>?, _ config: slu_bytes,
  _ made: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ error: UnsafeMutablePointer<slu_error>?
) -> slu_rc {
  let object = Unmanaged<AnyObject>.fromOpaque(host!.pointee.context!).takeUnretainedValue()
  guard let services = object as? any IsolationHost, let settings = services.isolation else {
    preconditionFailure("a kind in a process has a host with the settings of one")
  }
  let module = IsolatedModule.of(kind)
  do throws(PluginLoadError) {
    try module.makeSure()
  } catch let failure {
    return IsolatedModule.fail(error, SLU_E_RETRYABLE, 0, failure.description)
  }
  let instance: IsolatedInstance
  do throws(PluginProcess.Failure) {
    instance = try IsolatedInstance(module, services, settings)
  } catch let failure {
    return IsolatedModule.fail(error, SLU_E_RETRYABLE, 0, failure.message)
  }
  services.setProcess(instance)
  let reply = instance.create(config, settings)
  guard reply.rc == SLU_OK else {
    _ = instance.destroy()
    services.setProcess(nil)
    return IsolatedModule.fail(error, reply.rc, reply.code, reply.message)
  }
  made?.pointee = Unmanaged.passRetained(instance).toOpaque()
  return SLU_OK
}

private func destroyInstance(_ instance: UnsafeMutableRawPointer?) {
  let instance = Unmanaged<IsolatedInstance>.fromOpaque(instance!).takeRetainedValue()
  _ = instance.destroy()
  instance.services.setProcess(nil)
}

private func validateConfig(
  _ kind: UnsafePointer<slu_subscriber>?, _ config: slu_bytes, _ diagnose: slu_diagnose?,
  _ context: UnsafeMutableRawPointer?
) -> slu_rc {
  IsolatedModule.validate(kind, config, as: nil, diagnose, context)
}
