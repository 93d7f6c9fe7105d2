import CSluice
import Glibc
import SluiceCore

/// What a call of the instance answered.
struct Answer {
  var call: String
  var rc: slu_rc
  /// What the plugin wrote into the error.
  var text: String
  /// What is wrong with how it wrote that.
  var fault: String?

  var isTaken: Bool { rc == SLU_OK || rc == SLU_ACCEPTED }
  /// The world is at fault.
  var isRetryable: Bool { rc == SLU_E_RETRYABLE || rc == SLU_E_TIMEOUT }
  var isKnown: Bool { (SLU_E_INVALID...SLU_STALE).contains(rc) }
  var name: String { isKnown ? (rc == SLU_STALE ? "SLU_STALE" : ReturnCode(rc).name) : "\(rc)" }
  /// "start answered SLU_E_RETRYABLE: connection refused".
  var sentence: String { "\(call) answered \(name)" + (text.isEmpty ? "" : ": \(text)") }
}

/// One instance in a rule's hands. Every call says what it is before it is made, so that a crash has a place.
///
/// Of the process's main thread, which is the instance's.
final class TestInstance {
  let host: ConformanceHost
  private let bench: RuleBench
  private let kind: KindDescription
  private var instance: UnsafeMutableRawPointer?
  private let error = UnsafeMutablePointer<slu_error>.allocate(capacity: 1)
  /// Batches may be needed until `stop`.
  private var batches: [BatchMemory] = []
  private(set) var isRunning = false

  init(_ bench: RuleBench, _ kind: KindDescription, host: ConformanceHost) {
    self.bench = bench
    self.kind = kind
    self.host = host
  }

  deinit { error.deallocate() }

  private var table: slu_subscriber { kind.table }

  /// `doing`: what is shown of it.
  private func call(_ name: String, _ doing: String? = nil, _ body: (UnsafeMutablePointer<slu_error>) -> slu_rc)
    -> Answer
  {
    bench.phase(doing ?? name)
    UnsafeMutableRawPointer(error).initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<slu_error>.size)
    bench.watch.begin(table.interrupt, instance)
    let rc = body(error)
    bench.watch.end()
    var answer = Answer(call: name, rc: rc, text: "")
    withUnsafeBytes(of: error.pointee.message) { bytes in
      let said = bytes.prefix(Int(min(error.pointee.length, UInt64(bytes.count))))
      answer.text = String(decoding: said, as: UTF8.self)
      if error.pointee.length > UInt64(bytes.count) {
        answer.fault = "\(name) wrote an error of \(error.pointee.length) bytes, and it has room for \(bytes.count)"
      } else if String(validating: said, as: UTF8.self) == nil {
        answer.fault = "\(name) wrote an error that is not UTF-8: \(answer.text)"
      }
    }
    if bench.keepsAnswers { bench.answers.append(answer) }
    return answer
  }

  func create(_ config: String) -> Answer {
    let answer = call("create", "create with \(config.shownAsConfig)") { error in
      config.withBytes { table.create(kind.original, host.table, $0, &instance, error) }
    }
    if answer.rc != SLU_OK { instance = nil }
    return answer
  }

  func start(deadline: Int64? = nil) -> Answer {
    host.enter(.running)
    let deadline = deadline ?? Clock.monotonic() + Limits.conformanceDeadlineNanoseconds
    let answer = call("start") { table.start?(instance, deadline, $0) ?? SLU_OK }
    isRunning = answer.rc == SLU_OK
    return answer
  }

  func deliver(_ batch: BatchMemory) -> Answer {
    if !batches.contains(where: { $0 === batch }) { batches.append(batch) }
    host.beginDelivery(batch)
    let answer = call("deliver", "deliver of \(batch.description)") { table.deliver(instance, batch.table, $0) }
    host.endDelivery(batch, answer.rc)
    return answer
  }

  func gap(_ gap: slu_gap) -> Answer {
    var gap = gap
    return call("gap") { table.gap?(instance, &gap, $0) ?? SLU_OK }
  }

  func flush() -> Answer {
    let deadline = Clock.monotonic() + Limits.conformanceDeadlineNanoseconds
    return call("flush") { table.flush?(instance, deadline, $0) ?? SLU_OK }
  }

  func drain() -> Answer {
    let deadline = Clock.monotonic() + Limits.conformanceDeadlineNanoseconds
    return call("drain") { (table.drain ?? table.flush)?(instance, deadline, $0) ?? SLU_OK }
  }

  func reconfigure(_ config: String) -> Answer {
    call("reconfigure") { error in
      config.withBytes { table.reconfigure?(instance, $0, error) ?? SLU_E_UNSUPPORTED }
    }
  }

  @discardableResult func stop() -> Answer {
    let answer = call("stop") { table.stop?(instance, $0) ?? SLU_OK }
    isRunning = false
    host.enter(.stopped)
    return answer
  }

  func destroy() {
    host.enter(.stopped)
    bench.phase("destroy")
    table.destroy(instance)
    instance = nil
  }

  /// On the calling thread, which may be any.
  func interrupt() { table.interrupt?(instance) }

  /// For a thread that interrupts while this one delivers.
  var interruption: Interruptible { Interruptible(function: table.interrupt, instance: instance) }

  func hasExtension(_ name: String) -> Bool {
    bench.phase("get_extension")
    return name.withBytes { table.get_extension?(instance, $0) } != nil
  }
}

/// `@unchecked Sendable`: the function is one that may be called on any thread.
struct Interruptible: @unchecked Sendable {
  let function: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?
  let instance: UnsafeMutableRawPointer?

  func call() { function?(instance) }
}
