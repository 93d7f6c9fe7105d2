import NIOCore

/// What is to be done with a connection.
enum LaneCondition: Equatable {
  /// The handshake is under way.
  case connecting
  case open
  /// Of no more use: close it, and connect again after so long, but not sooner than the usual backoff says.
  case broken(reconnectAfter: Int64)
  /// Everything is answered and the goodbyes are said.
  case done
  case failed(SendFailure)
}

/// One connection's side of a protocol, without its socket: bytes and times go in, bytes and a condition come out.
protocol SendMachine {
  var condition: LaneCondition { get }
  /// `turn` and `send` want to be called again at this time, if nothing else happens before; `.max`: never.
  var wakeAt: Int64 { get }

  /// The transport is there.
  mutating func connected(at now: Int64)
  mutating func received(_ bytes: ByteBuffer, at now: Int64, _ tally: inout SendTally)
  /// Ends what takes too long.
  mutating func turn(at now: Int64)
  /// Sends what may be sent now, when the condition is open; true when there may be more.
  mutating func send(from supply: inout RecordSupply, at now: Int64, _ tally: inout SendTally) -> Bool
  /// The transport is gone, whoever ended it.
  mutating func disconnected(at now: Int64, _ tally: inout SendTally)
  /// What to write, in order.
  mutating func takeOutput() -> [ByteBuffer]
}

/// Waits that double from the first to the longest.
struct Backoff {
  private let range: ClosedRange<Int64>
  private var round = 0

  init(_ range: ClosedRange<Int64>) { self.range = range }

  mutating func next() -> Int64 {
    let wait = min(range.lowerBound << min(round, 20), range.upperBound)
    round += 1
    return wait
  }

  mutating func reset() { round = 0 }
}
