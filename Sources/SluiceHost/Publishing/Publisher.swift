// What an instance publishes: records of its own making, into the streams that the topology maps its outputs to.
//
//   publish ──check──► hold the parents' cursors ──reserve, append, submit──► SLU_OK
//              │                                    │ no room                    │ …committed, as the stream's durability
//              └► SLU_E_INVALID, SLU_E_CONFIG       └► SLU_BUSY, nothing taken   └► the hold ends
//
// A parent may be settled at once after SLU_OK: its cursor waits at the hold. So after a crash a parent without its children
// comes again, and one whose children are kept may come again too: (parent, ordinal) tells which those are. They are known
// from this process's own publishing, and at the start from the target streams (`recover`).
//
// Locks: a publisher's own, and under it the tracker's and the lanes'.

import CSluice
import Glibc
import SluiceCore
import SluiceJournal
import Synchronization

/// A stream that one of a plugin's outputs goes to.
package struct PublishTarget: Sendable {
  package var output: String
  package var log: StreamLog

  package init(output: String, log: StreamLog) {
    self.output = output
    self.log = log
  }

  /// What one call may publish to it at most, so that an empty ring takes it.
  var maxCallBytes: Int { log.ringBytes / 2 }
}

/// What an instance published, by output.
package struct PublishCounts: Equatable, Sendable {
  package var output: String
  package var stream: String
  package var records: UInt64 = 0
  /// That were there already.
  package var duplicates: UInt64 = 0
  /// Calls that the stream had no room for, or that found too many records published whose parents are not settled.
  package var refused: UInt64 = 0
}

/// The same while they are counted.
private final class PublishCounters: Sendable {
  let output: String
  let stream: String
  let records = Atomic<UInt64>(0)
  let duplicates = Atomic<UInt64>(0)
  let refused = Atomic<UInt64>(0)

  init(output: String, stream: String) {
    self.output = output
    self.stream = stream
  }

  var counts: PublishCounts {
    PublishCounts(
      output: output, stream: stream, records: records.load(ordering: .relaxed),
      duplicates: duplicates.load(ordering: .relaxed), refused: refused.load(ordering: .relaxed))
  }
}

/// `@unchecked Sendable`: what changes is atomic, or in `locked`, behind its lock; lanes are used under it too, by one thread at a time.
final class Publisher: @unchecked Sendable {
  /// A call of `publish` whose records are not all kept yet.
  struct Awaited {
    var hold: UInt64
    var target: Int
    var position: UInt64
  }

  /// `@unchecked Sendable`: it lives inside a mutex, and what `calls` borrows is used during one call alone.
  struct State: @unchecked Sendable {
    /// None behind `close`: a publisher outlives its subscriber, as a plugin's late thread may still call it.
    var targets: [PublishTarget]
    var lanes: [any IngestLane] = []
    var awaited: [Awaited] = []
    var children: PublishedChildren
    /// By target, the LSN behind the last record that is this subscriber's.
    var ends: [UInt64]
    /// The logs of the feeds, by place; what is replayed last.
    var logs: [LogUUID]
    var calls: [Call] = []
    var lineage = LineageWriter()
    var isClosed = false
  }

  /// One record of a call, checked.
  struct Call {
    var target: Int
    var feed: Int
    var lsn: UInt64
    var parent: PublishedLineage
    var fields: RecordFields
    var isThere = false
  }

  /// By the plugin's outputs: the place among the targets; nil: not mapped.
  let outputs: [Int?]
  private let counters: [PublishCounters]
  let subscriber: String
  let locked: Mutex<State>
  let bell: Doorbell
  /// Where `PublishedFloors` are kept.
  let floorsPath: String
  let streams: Int
  private let replay: ReplayQueue
  /// Of the subscriber's thread, as `nextFloors` is.
  var writtenFloors = PublishedFloors()
  var nextFloors: Int64 = 0

  /// `logs`: of the streams that the subscriber is given, `cursors`: of all its feeds.
  init(
    subscriber: String, targets: [PublishTarget], pluginOutputs: [String], logs: [LogUUID], cursors: [UInt64],
    replay: ReplayQueue, dataDirectory: String, bell: Doorbell
  ) {
    self.subscriber = subscriber
    self.bell = bell
    self.replay = replay
    outputs = pluginOutputs.map { output in targets.firstIndex { $0.output == output } }
    counters = targets.map { PublishCounters(output: $0.output, stream: $0.log.streamName) }
    floorsPath = PublishedFloors.path(dataDirectory: dataDirectory, subscriber: subscriber)
    streams = logs.count
    let none = LogUUID(high: 0, low: 0)
    locked = Mutex(
      State(
        targets: targets, children: PublishedChildren(cursors: cursors),
        ends: targets.map { _ in 1 },
        logs: logs + Array(repeating: none, count: cursors.count - logs.count)))
  }

  /// From any thread. Not behind the lock: a call may hold that for as long as it copies half a ring.
  var counts: [PublishCounts] { counters.map(\.counts) }

  // MARK: Publishing, on any thread

  func publish(_ items: UnsafeRawPointer, _ count: Int, _ stride: Int, _ tracker: borrowing Mutex<SettleTracker>)
    -> slu_rc
  {
    locked.withLock { state in
      guard !state.isClosed else { return SLU_E_INVALID }
      state.calls.removeAll(keepingCapacity: true)
      for index in 0..<count {
        let rc = check(items + index * stride, stride, &state)
        guard rc == SLU_OK else { return rc }
      }
      // From here on the parents' cursors stay: another thread may settle the parents at any time.
      let hold = state.awaited.count < Limits.maxAwaitedPublications ? nil : state.awaited.last?.hold
      guard let hold = tracker.withLock({ locate(&state.calls, hold, in: &$0) }) else { return SLU_E_INVALID }
      let rc = store(&state, hold)
      if state.awaited.last?.hold != hold { tracker.withLock { $0.endHolds([hold]) } }
      return rc
    }
  }

  /// Stores the records of a call whose parents are held.
  private func store(_ state: inout State, _ hold: UInt64) -> slu_rc {
    for index in state.calls.indices where state.calls[index].feed >= state.logs.count - 2 {
      guard name(&state.calls[index], state.logs) else { return SLU_E_INVALID }
    }
    for index in state.calls.indices where state.calls[index].feed < streams {
      state.calls[index].parent.log = state.logs[state.calls[index].feed]
    }
    return take(&state, hold)
  }

  /// Reads one item and sees whether its record could be one.
  private func check(_ item: UnsafeRawPointer, _ stride: Int, _ state: inout State) -> slu_rc {
    let size = Int(item.loadUnaligned(as: UInt32.self))
    guard size >= MemoryLayout<slu_publication>.size, size <= stride else { return SLU_E_INVALID }
    let item = item.loadUnaligned(as: slu_publication.self)
    guard item.output < UInt32(outputs.count) else { return SLU_E_INVALID }
    guard let target = outputs[Int(item.output)] else { return SLU_E_CONFIG }
    let stream = state.targets[target].log
    guard item.topic.isThere, item.key.isThere, item.headers.isThere, item.payload.isThere,
      item.topic.len <= UInt64(Limits.maxTopicBytes), item.key.len <= UInt64(Limits.maxKeyBytes),
      item.headers.len <= UInt64(Limits.maxHeadersBytes - PublishedLineage.maxBytes),
      item.payload.len <= UInt64(stream.maxRecordBytes), Publisher.areHeaders(item.headers)
    else { return SLU_E_INVALID }
    let fields = RecordFields(
      eventTime: item.event_time_ns, topic: item.topic.raw(limit: .max), key: item.key.raw(limit: .max),
      headers: item.headers.raw(limit: .max), payload: item.payload.raw(limit: .max))
    guard fits(fields, stream) else { return SLU_E_INVALID }
    state.calls.append(
      Call(
        target: target, feed: 0, lsn: item.parent_token,
        parent: PublishedLineage(log: LogUUID(high: 0, low: 0), lsn: 0, ordinal: item.ordinal), fields: fields))
    return SLU_OK
  }

  private static func areHeaders(_ headers: slu_bytes) -> Bool {
    var iterator = slu_headers_begin(headers)
    var header = slu_pair()
    while true {
      let rc = slu_headers_next(&iterator, &header)
      guard rc == 1 else { return rc == 0 }
    }
  }

  /// Puts in place of each parent's token where the record is, and holds the parents: with `hold`, if there is one that goes
  /// on. Returns the hold; nil if a token is not open.
  private func locate(_ calls: inout [Call], _ hold: UInt64?, in tracker: inout SettleTracker) -> UInt64? {
    for index in calls.indices {
      guard let place = tracker.openRecord(calls[index].lsn) else { return nil }
      calls[index].feed = place.stream
      calls[index].lsn = place.lsn
      calls[index].parent.lsn = place.lsn
      if calls[index].fields.eventTime == 0 { calls[index].fields.eventTime = place.eventTime }
    }
    let hold = hold ?? tracker.beginHold()
    for call in calls { tracker.hold(hold, stream: call.feed, lsn: call.lsn) }
    return hold
  }

  /// What is delivered once more is the child of the record in its own log.
  private func name(_ call: inout Call, _ logs: [LogUUID]) -> Bool {
    if call.feed == logs.count - 1 {
      call.parent.log = logs[call.feed]
      return true
    }
    guard let own = replay.identity(of: call.lsn) else { return false }
    call.parent.log = own.log
    call.parent.lsn = own.lsn
    return true
  }

  /// Stores what is not there yet, all or nothing.
  private func take(_ state: inout State, _ hold: UInt64) -> slu_rc {
    var bytes = Array(repeating: 0, count: state.targets.count)
    var largest = bytes
    var added = Array(repeating: 0, count: state.logs.count)
    for index in state.calls.indices {
      let call = state.calls[index]
      // Within one call the second of the same is a duplicate as well, so each goes in at once.
      guard state.children.insert(feed: call.feed, lsn: call.lsn, ordinal: call.parent.ordinal) else {
        state.calls[index].isThere = true
        continue
      }
      added[call.feed] += 1
      bytes[call.target] += Self.maxBytes(of: call.fields)
      largest[call.target] = max(largest[call.target], Self.maxBytes(of: call.fields))
    }
    let rc = reserve(bytes, largest, added, &state)
    guard rc == SLU_OK else {
      forget(&state)
      return rc
    }
    append(&state)
    submit(hold, bytes, &state)
    return SLU_OK
  }

  /// Room for so many bytes in each target, in records of at most `largest`, or for nothing.
  private func reserve(_ bytes: [Int], _ largest: [Int], _ added: [Int], _ state: inout State) -> slu_rc {
    for target in bytes.indices {
      // Two outputs may go to one stream.
      let log = state.targets[target].log
      let all = bytes.indices.reduce(0) { state.targets[$1].log === log ? $0 + bytes[$1] : $0 }
      guard all <= state.targets[target].maxCallBytes else { return SLU_E_INVALID }
    }
    var rc = SLU_OK
    for feed in added.indices where added[feed] > 0 && state.children.isFull(feed) { rc = SLU_BUSY }
    if rc == SLU_BUSY {
      for target in bytes.indices where bytes[target] > 0 { counters[target].refused.add(1, ordering: .relaxed) }
      return rc
    }
    for target in bytes.indices where bytes[target] > 0 {
      guard state.lanes[target].reserve(bytes: bytes[target], largest: largest[target]) != nil else { continue }
      counters[target].refused.add(1, ordering: .relaxed)
      rc = SLU_BUSY
      break
    }
    if rc != SLU_OK {
      // Also what was reserved before goes back.
      for lane in state.lanes { _ = lane.submit() }
    }
    return rc
  }

  private func fits(_ fields: RecordFields, _ log: StreamLog) -> Bool {
    Self.maxBytes(of: fields) <= log.maxRecordBytes
  }

  /// With its parent.
  private static func maxBytes(of fields: RecordFields) -> Int { fields.recordBytes + PublishedLineage.maxBytes + 8 }

  /// The children of a call that is not taken are none.
  private func forget(_ state: inout State) {
    for call in state.calls where !call.isThere {
      state.children.remove(feed: call.feed, lsn: call.lsn, ordinal: call.parent.ordinal)
    }
  }

  private func append(_ state: inout State) {
    for call in state.calls {
      guard !call.isThere else {
        counters[call.target].duplicates.add(1, ordering: .relaxed)
        continue
      }
      counters[call.target].records.add(1, ordering: .relaxed)
      let lane = state.lanes[call.target]
      let result = state.lineage.withHeaders(of: call.parent, and: call.fields.headers) { headers in
        var fields = call.fields
        fields.headers = headers
        return lane.append(fields)
      }
      precondition(result == .accepted, "there is room for what was reserved")
    }
  }

  private func submit(_ hold: UInt64, _ bytes: [Int], _ state: inout State) {
    for target in bytes.indices where bytes[target] > 0 {
      let last = state.lanes[target].submit()
      extend(hold, to: last, in: target, &state)
      state.ends[target] = last + 1
      for feed in 0..<state.logs.count {
        let parents = state.calls.lazy.filter { $0.target == target && $0.feed == feed && !$0.isThere }.map(\.lsn)
        guard let highest = parents.max() else { continue }
        let all = state.calls.lazy.filter { $0.target == target && !$0.isThere }.count
        state.children.note(target: target, feed: feed, maxParent: highest, first: last - UInt64(all) + 1)
      }
    }
  }

  /// The hold ends no earlier than when the record `position` of the target is kept. One that goes on waits for the later
  /// records in place of the earlier.
  private func extend(_ hold: UInt64, to position: UInt64, in target: Int, _ state: inout State) {
    var index = state.awaited.endIndex - 1
    while index >= 0, state.awaited[index].hold == hold {
      if state.awaited[index].target == target {
        state.awaited[index].position = position
        return
      }
      index -= 1
    }
    state.awaited.append(Awaited(hold: hold, target: target, position: position))
  }

  // MARK: Books, on the subscriber's thread

  /// Nothing was published yet: the streams begin at `cursors`.
  func begin(at cursors: [UInt64]) {
    locked.withLock { state in
      for (feed, cursor) in cursors.enumerated() { state.children.restart(feed: feed, at: cursor) }
    }
  }

  /// The part of a stream that is replayed from now on.
  func beginReplay(of log: LogUUID, at lsn: UInt64) {
    locked.withLock { state in
      state.logs[state.logs.count - 1] = log
      state.children.restart(feed: state.logs.count - 1, at: lsn)
    }
  }

  /// Ends the holds of what is kept by now; a ring comes when more is. Then `settle` is to be called.
  func endHolds(_ tracker: borrowing Mutex<SettleTracker>) {
    locked.withLock { state in
      while !state.awaited.isEmpty {
        var ended: Set<UInt64> = []
        state.awaited.removeAll { awaited in
          guard state.lanes[awaited.target].acknowledged >= awaited.position else { return false }
          ended.insert(awaited.hold)
          return true
        }
        // A call with records in two streams holds until both have them.
        for awaited in state.awaited { ended.remove(awaited.hold) }
        if !ended.isEmpty { tracker.withLock { $0.endHolds(ended) } }
        guard let next = state.awaited.first else { return }
        if state.lanes[next.target].requestWake(at: next.position) { return }
      }
    }
  }

  var isWaiting: Bool { locked.withLock { !$0.awaited.isEmpty } }

  /// Lets go of the streams. From any thread; more than once does nothing.
  func close() {
    locked.withLock { state in
      state.isClosed = true
      for lane in state.lanes { lane.close() }
      state.lanes = []
      state.targets = []
      state.awaited = []
      state.calls = []
      state.lineage = LineageWriter()
      state.children.forgetAll()
    }
  }
}

extension slu_bytes {
  fileprivate var isThere: Bool { ptr != nil || len == 0 }
}
