import SluiceCore
import SluiceHost
import SluiceJournal
import SluiceTopology
import Synchronization

/// Which records a tap shows.
struct TapRequest: Equatable {
  enum From: Equatable {
    case oldest, newest
    case lsn(UInt64)
  }

  var stream: String
  var from = From.newest
  /// Nil: until the peer goes.
  var count: UInt64?
  var match = SubscriberSettings.Match()

  init(_ members: inout ControlMembers) throws(ControlError) {
    guard let stream = try members.text("stream") else { throw ControlError(.badRequest, "a tap is of a 'stream'") }
    self.stream = stream
    switch members.take("from") {
    case nil, .string("newest")?: from = .newest
    case .string("oldest")?: from = .oldest
    case .integer(let lsn)? where lsn > 0: from = .lsn(UInt64(lsn))
    default: throw ControlError(.badRequest, "'from' must be oldest, newest or an LSN from 1")
    }
    count = try members.number("count")
    match.sources = try members.texts("sources")
    match.topics = try members.texts("topics")
    match.members = try Self.members(members.take("json") ?? .object([]))
    guard match.sources.count + match.topics.count + match.members.count <= Limits.maxTapFilters else {
      throw ControlError(.badRequest, "more than \(Limits.maxTapFilters) filters")
    }
  }

  static func members(_ value: JSONValue) throws(ControlError) -> [SubscriberSettings.Match.Member] {
    guard let members = value.members else { throw ControlError(.badRequest, "'json' must be an object") }
    var result: [SubscriberSettings.Match.Member] = []
    for member in members {
      guard let values = member.value.array, values.allSatisfy({ $0.array == nil && $0.members == nil }),
        member.key.utf8.count(where: { $0 == UInt8(ascii: ".") }) < Limits.maxMatchDepth
      else { throw ControlError(.badRequest, "'json' takes paths and lists of strings, numbers, booleans or null") }
      result.append(.init(path: member.key, values: values))
    }
    return result
  }
}

/// Shows records to those who asked, each on the thread of its connection. A tap reads like a subscriber but has no
/// cursor: nothing is kept for its sake, and what it is too slow for is told as a gap.
final class Taps: Sendable {
  private let count = Atomic<Int>(0)

  func run(_ request: TapRequest, on view: DaemonView, _ reply: ControlReply) throws(ControlError) {
    guard let log = view.state.streams.first(where: { $0.settings.name == request.stream })?.log else {
      let names = view.state.streams.map(\.settings.name).joined(separator: ", ")
      throw ControlError(.notFound, "there is no stream '\(request.stream)'; there are: \(names)")
    }
    defer { count.subtract(1, ordering: .relaxed) }
    guard count.add(1, ordering: .relaxed).newValue <= Limits.maxTaps else {
      throw ControlError(.busy, "there are \(Limits.maxTaps) taps already")
    }
    let start =
      switch request.from {
      case .oldest: log.oldestLSN
      case .newest: log.committedLSN + 1
      case .lsn(let lsn): lsn
      }
    let reader = log.openScan(at: start)
    defer { reader.close() }
    do {
      try show(request, from: reader, reply) { log.status.state == .closed }
    } catch {
      throw ControlError(.failed, error.message)
    }
  }

  private func show(
    _ request: TapRequest, from reader: any StreamReader, _ reply: ControlReply, isClosed: () -> Bool
  ) throws(StreamReadError) {
    let bell = Doorbell()
    reader.setDoorbell(bell)
    defer { reader.setDoorbell(nil) }
    let matcher = RecordMatcher(request.match, reader: reader)
    let batch = RecordBatch(capacity: Limits.tapBatchRecords)
    var left = request.count ?? .max
    while left > 0, !reply.isCut {
      switch try reader.read(into: batch, maxRecords: batch.capacity, maxBytes: Limits.tapBatchBytes) {
      case .nothingYet:
        if isClosed() { return }
        bell.wait(until: Clock.monotonic() + Limits.tapLookNanoseconds)
      case .gap(let first, let last, let reason):
        reply.item(["gap": ["first": .count(first), "last": .count(last), "reason": .string(reason.rawValue)]])
      case .records:
        // Taken down before anything is sent, so that a slow peer holds no slab of the ring.
        var lines: [JSONValue] = []
        for index in 0..<batch.count where UInt64(lines.count) < left {
          let record = batch[index]
          guard record.type == RecordLayout.typeData, matcher?.matches(record) ?? true else { continue }
          lines.append(
            .object(
              [.init("lsn", .count(batch.firstLSN + UInt64(index)))]
                + RecordJSON.members(
                  of: record, source: reader.sourceName(record.source), producer: reader.producerName(record.producer)))
          )
        }
        let next = batch.lastLSN + 1
        batch.release()
        reader.settle(below: next)
        left -= UInt64(lines.count)
        for line in lines where !reply.item(line) { return }
      }
    }
  }
}
