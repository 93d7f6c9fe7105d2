import CSluice

// What the C tables point to. Each takes its Swift object from the pointer the host carries, calls it, and turns what
// it threw into a return code and a message. They are `nonisolated`: an actor's executor check in one of them would
// trap on the host's threads.

@c(sluice_kit_validate)
nonisolated func kitValidate(
  _ table: UnsafePointer<slu_subscriber>?, _ config: slu_bytes, _ diagnose: slu_diagnose?,
  _ context: UnsafeMutableRawPointer?
) -> slu_rc {
  guard let table, let diagnose, let kind = kind(of: table) else { return SLU_E_INVALID }
  var findings: [Finding]
  do {
    if let fault = kind.fault { throw fault }
    findings = try validate(kind.type, config)
  } catch let error as ConfigError {
    findings = [Finding(.error, at: error.pointer, error.problem)]
  } catch {
    findings = [Finding(.error, at: "", "\(error)")]
  }
  for finding in findings {
    let lent = LentBytes([finding.pointer, finding.text])
    let severity = finding.severity == .error ? SLU_DIAGNOSE_ERROR : SLU_DIAGNOSE_WARNING
    diagnose(context, severity, lent[0], lent[1])
    lent.end()
  }
  return findings.contains { $0.severity == .error } ? SLU_E_CONFIG : SLU_OK
}

@c(sluice_kit_create)
nonisolated func kitCreate(
  _ table: UnsafePointer<slu_subscriber>?, _ host: UnsafePointer<slu_host>?, _ config: slu_bytes,
  _ instance: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ error: UnsafeMutablePointer<slu_error>?
) -> slu_rc {
  guard let table, let host, let instance, let kind = kind(of: table) else { return SLU_E_INVALID }
  return reporting(error) {
    if let fault = kind.fault { throw fault }
    let made = Instance(try make(kind.type, config, Host(host)), Host(host))
    instance.pointee = Unmanaged.passRetained(made).toOpaque()
    return SLU_OK
  }
}

@c(sluice_kit_start)
nonisolated func kitStart(
  _ instance: UnsafeMutableRawPointer?, _ deadline: Int64, _ error: UnsafeMutablePointer<slu_error>?
) -> slu_rc {
  calling(instance, error) { instance in
    try instance.subscriber.start(deadline: Deadline(raw: deadline))
    return SLU_OK
  }
}

@c(sluice_kit_deliver)
nonisolated func kitDeliver(
  _ instance: UnsafeMutableRawPointer?, _ batch: UnsafePointer<slu_batch>?, _ error: UnsafeMutablePointer<slu_error>?
) -> slu_rc {
  guard let batch else { return SLU_E_INVALID }
  return calling(instance, error) { instance in
    switch try instance.subscriber.deliver(Batch(batch, instance.host)) {
    case .done: SLU_OK
    case .accepted: SLU_ACCEPTED
    case .busy: SLU_BUSY
    }
  }
}

@c(sluice_kit_gap)
nonisolated func kitGap(
  _ instance: UnsafeMutableRawPointer?, _ gap: UnsafePointer<slu_gap>?, _ error: UnsafeMutablePointer<slu_error>?
) -> slu_rc {
  guard let gap else { return SLU_E_INVALID }
  return calling(instance, error) { instance in
    try instance.subscriber.gap(Gap(gap))
    return SLU_OK
  }
}

@c(sluice_kit_flush)
nonisolated func kitFlush(
  _ instance: UnsafeMutableRawPointer?, _ deadline: Int64, _ error: UnsafeMutablePointer<slu_error>?
) -> slu_rc {
  calling(instance, error) { instance in
    try instance.subscriber.flush(deadline: Deadline(raw: deadline))
    return SLU_OK
  }
}

@c(sluice_kit_drain)
nonisolated func kitDrain(
  _ instance: UnsafeMutableRawPointer?, _ deadline: Int64, _ error: UnsafeMutablePointer<slu_error>?
) -> slu_rc {
  calling(instance, error) { instance in
    try instance.subscriber.drain(deadline: Deadline(raw: deadline))
    return SLU_OK
  }
}

@c(sluice_kit_stop)
nonisolated func kitStop(
  _ instance: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<slu_error>?
) -> slu_rc {
  calling(instance, error) { instance in
    try instance.subscriber.stop()
    return SLU_OK
  }
}

@c(sluice_kit_destroy)
nonisolated func kitDestroy(_ instance: UnsafeMutableRawPointer?) {
  guard let instance else { return }
  Unmanaged<Instance>.fromOpaque(instance).release()
}

@c(sluice_kit_interrupt)
nonisolated func kitInterrupt(_ instance: UnsafeMutableRawPointer?) {
  guard let instance else { return }
  Unmanaged<Instance>.fromOpaque(instance).takeUnretainedValue().subscriber.interrupt()
}

@c(sluice_kit_reconfigure)
nonisolated func kitReconfigure(
  _ instance: UnsafeMutableRawPointer?, _ config: slu_bytes, _ error: UnsafeMutablePointer<slu_error>?
) -> slu_rc {
  calling(instance, error) { instance in
    try reconfigure(instance.subscriber, config) ? SLU_OK : SLU_E_UNSUPPORTED
  }
}

private func validate<Kind: Subscriber>(_ type: Kind.Type, _ config: slu_bytes) throws -> [Finding] {
  try type.validate(Kind.Configuration(json: config.buffer))
}

private func make<Kind: Subscriber>(_ type: Kind.Type, _ config: slu_bytes, _ host: Host) throws -> any Subscriber {
  try type.init(Kind.Configuration(json: config.buffer), host: host)
}

private func reconfigure<Kind: Subscriber>(_ subscriber: Kind, _ config: slu_bytes) throws -> Bool {
  try subscriber.reconfigure(Kind.Configuration(json: config.buffer))
}

private func kind(of table: UnsafePointer<slu_subscriber>) -> Kind? {
  guard let context = table.pointee.context else { return nil }
  return Unmanaged<Kind>.fromOpaque(context).takeUnretainedValue()
}

private func calling(
  _ instance: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<slu_error>?,
  _ body: (Instance) throws -> slu_rc
) -> slu_rc {
  guard let instance else { return SLU_E_INVALID }
  // The retain this takes is one atomic operation per call, that is per batch.
  let called = Unmanaged<Instance>.fromOpaque(instance).takeUnretainedValue()
  return reporting(error) { try body(called) }
}

private func reporting(_ target: UnsafeMutablePointer<slu_error>?, _ body: () throws -> slu_rc) -> slu_rc {
  do {
    return try body()
  } catch let error as SubscriberError {
    fill(target, error.message, error.code)
    switch error.kind {
    case .config: return SLU_E_CONFIG
    case .retryable: return SLU_E_RETRYABLE
    case .fatal: return SLU_E_FATAL
    case .timeout: return SLU_E_TIMEOUT
    }
  } catch let error as ConfigError {
    fill(target, error.description, 0)
    return SLU_E_CONFIG
  } catch {
    fill(target, "\(error)", 0)
    return SLU_E_RETRYABLE
  }
}

private func fill(_ target: UnsafeMutablePointer<slu_error>?, _ message: String, _ code: UInt32) {
  guard let target else { return }
  target.pointee.code = code
  // slu_fail takes C text: a NUL in a message ends it there, which is all right for people.
  _ = message.withCString { slu_fail(target, SLU_E_INTERNAL, $0) }
}
