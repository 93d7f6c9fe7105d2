import NIOCore
import SluiceCore

/// The connections of one event loop, and what became of their records.
///
/// `@unchecked Sendable`: every variable is touched on `eventLoop` only; whoever else holds a loop submits to it.
final class SendLoop: @unchecked Sendable {
  let eventLoop: any EventLoop
  var tally = SendTally()
  /// Somebody is there.
  var everConnected = false
  private var lanes: [SendLane] = []
  private var ready = 0
  private var ended = 0
  private let allReady: EventLoopPromise<Void>
  private let allEnded: EventLoopPromise<Void>

  init(_ eventLoop: any EventLoop) {
    self.eventLoop = eventLoop
    allReady = eventLoop.makePromise()
    allEnded = eventLoop.makePromise()
  }

  /// Every connection has done its handshake, or the first failure.
  var isReady: EventLoopFuture<Void> { allReady.futureResult }

  /// Every connection has come to its end, or the first failure.
  var hasEnded: EventLoopFuture<Void> { allEnded.futureResult }

  /// On the loop, once.
  func connect(_ machines: [any SendMachine], addresses: [SocketAddress], tls: SendTLS?) {
    eventLoop.assertInEventLoop()
    lanes = machines.map { SendLane(self, addresses: addresses, tls: tls, machine: $0) }
    for lane in lanes { lane.connect() }
  }

  /// On the loop. `wakes`: who calls when records come for a lane that waited.
  func begin(_ supplies: [RecordSupply], _ queues: [LineQueue]) {
    eventLoop.assertInEventLoop()
    for (lane, queue) in zip(lanes, queues) {
      let bound = NIOLoopBound(lane, eventLoop: eventLoop)
      queue.onArrival { [eventLoop] in eventLoop.execute { bound.value.turn() } }
    }
    for (lane, supply) in zip(lanes, supplies) { lane.begin(supply) }
  }

  func stop() { for lane in lanes { lane.stop() } }

  func abort() { for lane in lanes { lane.abort() } }

  /// Why connections are not there, if one is not.
  var obstacle: String? { lanes.lazy.compactMap(\.obstacle).first }

  func laneIsReady() {
    ready += 1
    if ready == lanes.count { allReady.succeed() }
  }

  func laneEnded(_ failure: SendFailure?, wasOpen: Bool) {
    ended += 1
    if let failure {
      allReady.fail(failure)
      allEnded.fail(failure)
    } else if ended == lanes.count {
      if ready < lanes.count { allReady.fail(SendFailure.unavailable(obstacle ?? "not every connection was made")) }
      allEnded.succeed()
    }
  }
}
