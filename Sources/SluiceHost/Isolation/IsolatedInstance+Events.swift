import CSluice
import SluiceCore
import Synchronization

/// What the process says, on the relay thread. None of it is believed: what can't be, or comes when it must not, is a fault,
/// which ends the process; numbers that mean something to the daemon's books go through the functions that any plugin calls.
extension IsolatedInstance {

  func relay() {
    do throws(PacketFault) {
      while let packet = try process.channel.receive() {
        var payload = packet.payload
        try hear(packet.kind, &payload)
      }
    } catch {
      process.kill("was killed, since it said what makes no sense (\(error.what)),")
    }
    let death = process.reap(afterClosing: true)
    // Before anybody sees the death: the call that ends with it asks whether it was a crash.
    if !state.withLock({ $0.isExpected }) {
      services.noteCrash(ProcessDeath(why: death, isLate: wasLate.load(ordering: .acquiring)))
    }
    state.withLock { $0.death = death }
    bell.ring()
  }

  private func hear(_ kind: PacketKind, _ payload: inout PacketReader) throws(PacketFault) {
    let table = services.table.pointee
    switch kind {
    case .base: try takeBase(try payload.number())
    case .phase: _ = try payload.text()
    case .reply: try takeReply(&payload)
    case .settle: try settle(&payload)
    case .log: try log(&payload)
    case .credit: _ = table.set_credit(table.context, try payload.number())
    case .health:
      let health = try payload.number(UInt32.self)
      try payload.text().withBytes { services.setHealth(health, $0, mayTell: mayLog) }
    case .register: try register(&payload)
    case .add, .set:
      let number = metrics[try payload.number()] ?? 0
      let value = try payload.double()
      if kind == .add {
        table.metric_add(table.context, number, value)
      } else {
        table.metric_set(table.context, number, value)
      }
    case .publish: return try publish(&payload)
    case .release:
      let slot = Int(try payload.number(UInt32.self))
      try state.withLock { state throws(PacketFault) in try state.slots.release(slot) }
    default: throw PacketFault("\(kind), which is not for it to say")
    }
    try payload.end()
  }

  /// Once, before `create` returns. Every address of the memory is to be a number.
  private func takeBase(_ base: UInt64) throws(PacketFault) {
    let bytes = UInt64(arena.slotBytes * arena.slots)
    guard base > 0, base.isMultiple(of: 4096), !base.addingReportingOverflow(bytes).overflow else {
      throw PacketFault("memory at an address where none can be")
    }
    try state.withLock { state throws(PacketFault) in
      guard state.call == .create, state.base == 0 else { throw PacketFault("another place of its memory") }
      state.base = UInt(base)
    }
  }

  /// One to each call.
  private func takeReply(_ payload: inout PacketReader) throws(PacketFault) {
    var reply = Reply(
      rc: try payload.number(), code: try payload.number(), message: try payload.text(limit: Limits.maxPluginTextBytes))
    // A copy, since what is changed from outside can't go into the closure.
    var more = payload
    try state.withLock { state throws(PacketFault) in
      guard let call = state.call else { throw PacketFault("a reply to nothing") }
      switch call {
      case .deliver:
        let isRetained = try more.number(UInt8.self)
        guard isRetained <= 1 else { throw PacketFault.broken }
        try state.slots.end(isRetained: isRetained == 1)
      case .stop: reply.leases = try more.number()
      default: break
      }
      try more.end()
      state.call = nil
      state.reply = reply
    }
    payload = more
    bell.ring()
  }

  private func settle(_ payload: inout PacketReader) throws(PacketFault) {
    let table = services.table.pointee
    for _ in 0..<(try payload.count(least: Limits.isolationSettlementBytes)) {
      var item = slu_settlement()
      item.first_token = try payload.number()
      item.count = try payload.number()
      item.verdict = try payload.number()
      item.delay_ms = try payload.number()
      item.code = try payload.number()
      let reason = try payload.raw()
      reason.withUnsafeBytes { bytes in
        item.reason = slu_bytes(bytes)
        _ = table.settle(table.context, &item, 1)
      }
    }
  }

  private func log(_ payload: inout PacketReader) throws(PacketFault) {
    let level = try payload.number(UInt32.self)
    let message = try payload.text(limit: Limits.maxPluginLogMessageBytes)
    let pairs = try pairs(&payload, most: Limits.maxPluginLogPairs, limit: Limits.maxPluginLogPairBytes)
    guard services.isLogged(level) else { return }
    let bytes = pairs.reduce(message.utf8.count) { $0 + $1.0.utf8.count + $1.1.utf8.count }
    if mayLog(bytes: bytes) { services.log(level, message, pairs) }
  }

  private func pairs(_ payload: inout PacketReader, most: Int, limit: Int) throws(PacketFault) -> [(String, String)] {
    let count = try payload.count(least: 8)
    guard count <= most else { throw PacketFault("\(count) pairs of texts") }
    var pairs: [(String, String)] = []
    for _ in 0..<count { pairs.append((try payload.text(limit: limit), try payload.text(limit: limit))) }
    return pairs
  }

  private func register(_ payload: inout PacketReader) throws(PacketFault) {
    let limit = Limits.maxPluginTextBytes
    let number = try payload.number(UInt64.self)
    let kind = try payload.number(UInt32.self)
    let name = try payload.text(limit: limit)
    let (unit, help) = (try payload.text(limit: limit), try payload.text(limit: limit))
    let labels = try pairs(&payload, most: Limits.maxPluginMetricLabels, limit: limit)
    let count = try payload.count(least: 8)
    guard count <= Limits.maxPluginMetricBounds else { throw PacketFault("\(count) bounds of a metric") }
    var bounds: [Double] = []
    for _ in 0..<count { bounds.append(try payload.double()) }
    guard let kind = MetricRequest.Kind(kind), metrics.count < Limits.maxPluginMetrics * 16 else { return }
    metrics[number] = services.register(
      MetricRequest(kind: kind, name: name, unit: unit, help: help, labels: labels, bounds: bounds))
  }
}
