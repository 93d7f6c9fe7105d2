import SluiceCore
import Synchronization

/// The names that the log has interned, its producers, and what of that the commit thread has not heard of yet.
///
/// A producer is remembered as long as a record of it is in the log. When there are as many as there may be, those
/// without one, and that nobody holds, are forgotten, the longest silent first. An identity that has made as many as it may
/// makes room among its own only.
final class LogNames: Sendable {
  private struct Known {
    /// As the log had it when it was opened, or new.
    var definition: Definition
    /// Made when it is first asked for. From then on it knows more than `definition`.
    var producer: Producer?
    /// Of the identity that made it, if it was one of this process.
    var allowance: ProducerAllowance?

    /// Nobody else holds the object, so nobody can add to its records.
    mutating func isUnused() -> Bool {
      guard producer != nil else { return true }
      return isKnownUniquelyReferenced(&producer) && producer?.isFree == true
    }

    /// No record of it has a higher LSN.
    func lastLSN(recovered: UInt64) -> UInt64 {
      max(producer?.known.position.lsn ?? 0, definition.highWater > 0 ? recovered : 0)
    }
  }

  private struct State {
    var table: DefinitionTable
    var known: [ProducerName: Known] = [:]
    /// What all definitions take in a group.
    var bytes = 0
    var unwritten: [Definition] = []
    var forgotten: [UInt32] = []
    /// A look for producers to forget found few, and is not made again until then.
    var nextSweep: Int64 = 0
  }
  private let state: Mutex<State>
  /// So that the commit thread need not take the mutex for each group.
  private let hasNews = Atomic<Bool>(false)
  /// No record from before this process has a higher LSN.
  private let recoveredLSN: UInt64
  private let maxBytes: Int

  /// `maxBytes`: how much of a segment definitions may take.
  init(_ table: DefinitionTable, recoveredLSN: UInt64, maxBytes: Int) {
    var first = State(table: table)
    for definition in table.all {
      first.bytes += DefinitionCodec.bytes(of: definition.name)
      if definition.kind == .producer { first.known[ProducerName(definition.name)] = Known(definition: definition) }
    }
    state = Mutex(first)
    self.recoveredLSN = recoveredLSN
    self.maxBytes = maxBytes
  }

  // MARK: Sources

  /// The id of `source`. When all ids are taken, 0: its records look as if the daemon had made them.
  func intern(source: String) -> UInt16 {
    state.withLock { state in
      guard let (id, new) = state.table.intern(source: source) else { return 0 }
      if let new { define(new, &state) }
      return id
    }
  }

  private func define(_ definition: Definition, _ state: inout State) {
    state.bytes += DefinitionCodec.bytes(of: definition.name)
    state.unwritten.append(definition)
    hasNews.store(true, ordering: .releasing)
  }

  func knows(source: String) -> Bool { state.withLock { $0.table.knows(source: source) } }

  func sourceName(_ id: UInt16) -> String { state.withLock { $0.table.sourceName(id) } ?? "source-\(id)" }

  // MARK: Producers

  /// The producer of this name; nil when it can't be remembered. `allowance`: of the identity that asks, if it is one.
  /// `oldestLSN`: of the records that the log still has.
  func producer(named name: String, within allowance: ProducerAllowance? = nil, oldestLSN: UInt64) -> Producer? {
    guard !name.isEmpty, name.utf8.count <= Limits.maxInternedNameBytes else { return nil }
    let key = ProducerName(name)
    return state.withLock { state in
      if let known = state.known[key] {
        if let producer = known.producer { return producer }
        let definition = known.definition
        let producer = Producer(
          id: definition.id, name: name, epoch: definition.epoch, lastSequence: definition.highWater)
        state.known[key]?.producer = producer
        return producer
      }
      if !hasRoom(for: name, within: allowance, state), Clock.monotonic() >= state.nextSweep {
        // A look costs as much as there are names: one that freed little is not made again for each new name.
        let count = state.known.count
        if forgetSilent(below: oldestLSN, &state) < count / 8 { state.nextSweep = Self.nextSweep() }
      }
      guard hasRoom(for: name, within: allowance, state) else { return nil }
      guard takes(from: allowance, oldestLSN, &state) else { return nil }
      guard let definition = state.table.intern(producer: name) else {
        allowance?.giveBack()
        return nil
      }
      define(definition, &state)
      let producer = Producer(id: definition.id, name: name)
      state.known[key] = Known(definition: definition, producer: producer, allowance: allowance)
      return producer
    }
  }

  var producerCount: Int { state.withLock { $0.known.count } }
  func producerName(_ id: UInt32) -> String { state.withLock { $0.table.producerName(id) } ?? "producer-\(id)" }

  /// A quarter of the table is for identities.
  private func hasRoom(for name: String, within allowance: ProducerAllowance?, _ state: State) -> Bool {
    func share(_ whole: Int) -> Int { allowance == nil ? whole - whole / 4 : whole }
    return state.known.count < share(Limits.maxProducersPerLog)
      && state.bytes + DefinitionCodec.bytes(of: name) <= share(maxBytes)
  }

  /// False: its owner has made as many as it may, and none of them can be forgotten.
  private func takes(from allowance: ProducerAllowance?, _ oldestLSN: UInt64, _ state: inout State) -> Bool {
    guard let allowance, !allowance.take() else { return true }
    guard Clock.monotonic() >= allowance.nextSweep else { return false }
    allowance.nextSweep = Self.nextSweep()
    forgetSilent(below: oldestLSN, &state, madeWithin: allowance)
    return allowance.take()
  }

  private static func nextSweep() -> Int64 { Clock.monotonic() + Limits.producerSweepNanoseconds }

  /// Of all producers, or of those that one identity made. Returns how many are gone.
  @discardableResult
  private func forgetSilent(
    below oldestLSN: UInt64, _ state: inout State, madeWithin allowance: ProducerAllowance? = nil
  ) -> Int {
    var silent: [(name: ProducerName, lastLSN: UInt64)] = []
    for name in Array(state.known.keys) {
      guard let known = state.known[name], allowance == nil || known.allowance === allowance else { continue }
      let last = known.lastLSN(recovered: recoveredLSN)
      // The highest id stays, so that the next one is above all that were ever given.
      if last < oldestLSN, known.definition.id != state.table.highestProducer { silent.append((name, last)) }
    }
    silent.sort { $0.lastLSN < $1.lastLSN }
    var gone: Set<UInt32> = []
    for (name, _) in silent where gone.count < Limits.maxProducersPerLog / 4 {
      guard state.known[name]?.isUnused() == true, let id = state.known[name]?.definition.id else { continue }
      state.known.removeValue(forKey: name)?.allowance?.giveBack()
      state.table.removeProducer(id)
      state.bytes -= DefinitionCodec.bytes(of: name.text)
      gone.insert(id)
    }
    let count = gone.count
    // What the commit thread has not heard of it need not hear of. One walk for all of them: there may be as many of
    // either as there are producers, and a source's event loop waits.
    state.unwritten.removeAll { $0.kind == .producer && gone.remove($0.id) != nil }
    guard !gone.isEmpty else { return count }
    state.forgotten.append(contentsOf: gone)
    hasNews.store(true, ordering: .releasing)
    return count
  }

  // MARK: For the commit thread

  /// What was defined and forgotten since the last call; nil when nothing was.
  func takeNews() -> (unwritten: [Definition], forgotten: [UInt32])? {
    guard hasNews.load(ordering: .acquiring) else { return nil }
    return state.withLock { state in
      defer {
        state.unwritten = []
        state.forgotten = []
      }
      hasNews.store(false, ordering: .releasing)
      return (state.unwritten, state.forgotten)
    }
  }
}
