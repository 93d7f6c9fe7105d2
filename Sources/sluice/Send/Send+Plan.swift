import ArgumentParser
import SluiceCore
import SluiceTopology

/// "50ms", "30s", "1h30m".
struct Nanoseconds: ExpressibleByArgument {
  let value: Int64

  init(_ value: Int64) { self.value = value }

  init?(argument: String) {
    guard let value = Units.duration(argument) else { return nil }
    self.value = value
  }

  var defaultValueDescription: String { Units.describe(nanoseconds: value) }
}

/// "128", "4KiB".
struct ByteCount: ExpressibleByArgument {
  let value: Int

  init?(argument: String) {
    guard let value = Units.size(argument) else { return nil }
    self.value = Int(value)
  }
}

extension Send {
  /// The options as a plan, or what is wrong with them.
  func plan() throws -> SendPlan {
    var plan = SendPlan(target: try target(), input: try input())
    let isHTTP = if case .http = plan.target { true } else { false }
    plan.isJSON = ndjson
    plan.rate = try rate.map { try checked($0, 0.001...1e9, "--rate") }
    plan.duration = duration?.value
    plan.connections = try checked(connections, 1...Limits.maxSendConnections, "--connections")
    plan.inFlight = try checked(
      inFlight ?? (isHTTP ? 1 : Limits.defaultSendInFlightRecords), 1...Limits.maxSendInFlight, "--in-flight")
    plan.batch = try checked(batch ?? 1, 1...Limits.maxSendBatchRecords, "--batch")
    guard isHTTP || batch == nil else { throw ValidationError("--batch is for HTTP; TCP always sends many at once.") }
    plan.topic = try text(topic, "--topic", limit: Limits.maxTopicBytes)
    plan.token = try text(token, "--token", limit: Limits.maxKeyBytes)
    guard token.isEmpty || tokenFile == nil else { throw ValidationError("Choose one of --token and --token-file.") }
    plan.fingerprint = try text(fingerprint, "--fingerprint", limit: Limits.maxWireNameBytes)
    plan.retries = !noRetry
    plan.timeout = timeout.value > 0 ? timeout.value : nil
    plan.producer = try producerName()
    plan.tls = try tlsOptions()
    let isClear = isHTTP && plan.tls == nil && !SendTarget.isThisMachine(plan.target.host)
    guard !isClear || (token.isEmpty && tokenFile == nil) else {
      throw ValidationError(
        "Others can read a token on its way to \(plan.target.host): use https://, or 127.0.0.1, [::1] or localhost on this machine."
      )
    }
    return plan
  }

  private func target() throws -> SendTarget {
    switch (http, tcp) {
    case (_?, _?): throw ValidationError("Choose one of --http and --tcp.")
    case (let url?, nil):
      guard let target = SendTarget(http: url) else {
        throw ValidationError("--http takes http://HOST[:PORT] or https://HOST[:PORT]; '\(url)' is not that.")
      }
      return target
    case (nil, let address?):
      guard let target = SendTarget(tcp: address) else {
        throw ValidationError("--tcp takes HOST:PORT; '\(address)' is not that.")
      }
      return target
    case (nil, nil): return .http(host: "localhost", port: 8080, path: "")
    }
  }

  private func tlsOptions() throws -> SendTLS.Options? {
    let isHTTPS = http.map(SendTarget.isHTTPS) ?? false
    guard !tls || tcp != nil || isHTTPS else { throw ValidationError("--tls is for --tcp; for HTTP, write https://.") }
    guard tls || isHTTPS else {
      guard ca == nil, cert == nil, key == nil, !insecure else {
        throw ValidationError("--ca, --cert, --key and --insecure are for TLS: --tcp … --tls, or --http https://….")
      }
      return nil
    }
    guard (cert == nil) == (key == nil) else { throw ValidationError("--cert and --key come together.") }
    guard ca == nil || !insecure else { throw ValidationError("Choose one of --ca and --insecure.") }
    return SendTLS.Options(ca: ca, certificate: cert, key: key, isInsecure: insecure)
  }

  private func input() throws -> SendPlan.Input {
    if let file {
      guard count == nil, duration == nil, size == nil else {
        throw ValidationError(
          "--file sends all lines of a file; --count, --duration and --size are for generated records.")
      }
      return .file(file)
    }
    guard count != nil || duration != nil else {
      throw ValidationError(
        "Say what to send: --file FILE, --count N or --duration 30s. `sluice send --help` has examples.")
    }
    guard !ndjson else { throw ValidationError("--ndjson says what the lines of --file are.") }
    let size = try checked(
      size?.value ?? Limits.defaultSendSize, Limits.minSendSize...Limits.maxMaxRecordBytes, "--size")
    return .generated(count: count, size: size)
  }

  /// What records are numbered under: only what is sent again when it has to be may have numbers.
  private func producerName() throws -> String? {
    if let producer {
      guard !noProducer, !noRetry else {
        throw ValidationError(
          "--producer numbers the records; --no-producer and --no-retry leave them without numbers.")
      }
      guard !producer.isEmpty else { throw ValidationError("--producer needs a name.") }
      // Room for which of how many connections it is.
      return try text(producer, "--producer", limit: Limits.maxInternedNameBytes - 16)
    }
    guard file != nil, !noProducer, !noRetry else { return nil }
    let number = UInt64.random(in: 1 << 60 ... .max)
    return "send-\(String(number, radix: 16))"
  }

  private func text(_ text: String, _ option: String, limit: Int) throws -> String {
    guard text.utf8.count <= limit, !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
      throw ValidationError("\(option) takes at most \(limit) bytes without control characters.")
    }
    return text
  }

  private func checked<Value: Comparable>(_ value: Value, _ range: ClosedRange<Value>, _ option: String) throws -> Value
  {
    guard range.contains(value) else {
      throw ValidationError("\(option) takes \(range.lowerBound) to \(range.upperBound).")
    }
    return value
  }
}
