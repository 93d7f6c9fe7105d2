import NIOCore
import NIOPosix
import SluiceCore
import SluiceIngest
import SluiceTopology

/// How a run ended.
struct SendOutcome: Sendable {
  var tally = SendTally()
  var failure: SendFailure?
  var isInterrupted = false
  var nanoseconds: Int64 = 0
}

/// A run: connects everything, begins, and watches until all is answered, something fails, or nothing goes on.
///
///   connecting ── every handshake is done ──► running ── every connection has ended ──► over
///       │ signal, failure, time                  │ signal ──► stopping ── ended, 10 s ──► over
///       └──────────────────► over                └ failure, nothing acknowledged for too long ──► over
struct Sender {
  private enum Event: Sendable {
    case ready, ended, signal, tick
    case failed(SendFailure)
  }

  private let plan: SendPlan
  private let addresses: [SocketAddress]
  private let tls: SendTLS?
  private let group: MultiThreadedEventLoopGroup
  private let loops: [SendLoop]
  private let readAhead = ReadAhead()
  private let queues: [LineQueue]
  private let reader: InputReader?

  /// `input`: the open file of a plan that sends one.
  init(_ plan: SendPlan, addresses: [SocketAddress], tls: SendTLS?, input: Int32?) {
    self.plan = plan
    self.tls = tls
    self.addresses = addresses
    let threads = min(plan.connections, System.coreCount)
    group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
    loops = group.makeIterator().map { SendLoop($0) }
    if case .file(let path) = plan.input, let input {
      let readAhead = readAhead
      let queues = (0..<plan.connections).map { _ in LineQueue(readAhead) }
      self.queues = queues
      reader = InputReader(input, path: path, queues: queues, readAhead: readAhead)
    } else {
      queues = []
      reader = nil
    }
  }

  /// The connections of the loop at `index`.
  private func lanes(of index: Int) -> [Int] { Array(stride(from: index, to: plan.connections, by: loops.count)) }

  /// `show` is called now and then with what has happened so far, and the time that passed.
  func run(signals: AsyncStream<Int32>, show: (SendTally, Int64) -> Void) async -> SendOutcome {
    let (events, sink) = AsyncStream.makeStream(of: Event.self)
    let tasks = [
      Task { for await _ in signals { sink.yield(.signal) } },
      Task {
        while !Task.isCancelled {
          try? await Task.sleep(for: .nanoseconds(Limits.sendProgressNanoseconds))
          sink.yield(.tick)
        }
      },
    ]
    connect(sink)
    var outcome = SendOutcome()
    var watch = SendWatch(timeout: plan.timeout, start: Clock.monotonic())
    var began: Int64?
    watching: for await event in events {
      let now = Clock.monotonic()
      switch event {
      case .ready:
        began = now
        await begin(at: now)
      case .ended: break watching
      case .failed(let failure):
        outcome.failure = failure
        break watching
      case .signal:
        outcome.isInterrupted = true
        guard began != nil else { break watching }
        watch.stop(at: now)
        await onEveryLoop { $0.stop() }
      case .tick:
        let tally = await collect()
        if let began { show(tally, now - began) }
        if watch.isOver(tally, isConnecting: began == nil, at: now) {
          if !outcome.isInterrupted { outcome.failure = .unavailable(await standstill(tally)) }
          break watching
        }
      }
    }
    for task in tasks { task.cancel() }
    outcome.tally = await collect()
    outcome.nanoseconds = Clock.monotonic() - (began ?? Clock.monotonic())
    outcome.failure = outcome.failure ?? reader?.failure
    await close()
    return outcome
  }

  // MARK: Phases

  private func connect(_ sink: AsyncStream<Event>.Continuation) {
    EventLoopThreads.name(group, "send")
    for (index, loop) in loops.enumerated() {
      let lanes = lanes(of: index)
      loop.eventLoop.execute {
        loop.connect(lanes.map { plan.machine($0) }, addresses: addresses, tls: tls)
      }
    }
    func report(_ futures: [EventLoopFuture<Void>], _ event: Event) {
      EventLoopFuture.andAllSucceed(futures, on: group.any()).whenComplete { result in
        switch result {
        case .success: sink.yield(event)
        case .failure(let error):
          sink.yield(.failed(error as? SendFailure ?? .unavailable("\(error)")))
        }
      }
    }
    report(loops.map(\.isReady), .ready)
    report(loops.map(\.hasEnded), .ended)
  }

  private func begin(at now: Int64) async {
    let end = plan.duration.map { now + $0 } ?? .max
    let schedule = SendSchedule(rate: plan.rate, start: now, end: end)
    let run = String(UInt32.random(in: 1 << 28 ... .max), radix: 16)
    for (index, loop) in loops.enumerated() {
      let lanes = lanes(of: index)
      let ours = queues.isEmpty ? [] : lanes.map { queues[$0] }
      let feeds = Dictionary(uniqueKeysWithValues: zip(lanes, ours))
      _ = try? await loop.eventLoop.submit {
        loop.begin(
          lanes.map { lane in
            let source: RecordSupply.Source
            switch plan.input {
            case .generated(let count, let size):
              source = .generated(GeneratedRecords(run: run, size: size, count: count))
            case .file:
              guard let queue = feeds[lane] else { preconditionFailure("every connection has its lines") }
              source = .lines(LineFeed(queue))
            }
            return RecordSupply(source, schedule, connection: lane, of: plan.connections)
          }, ours)
      }.get()
    }
    reader?.start()
  }

  private func close() async {
    readAhead.stop()
    await onEveryLoop { $0.abort() }
    // The process ends next; a group that can't be shut down changes nothing.
    try? await group.shutdownGracefully()
  }

  // MARK: Looking

  private func onEveryLoop(_ body: @escaping @Sendable (SendLoop) -> Void) async {
    for loop in loops { _ = try? await loop.eventLoop.submit { body(loop) }.get() }
  }

  private func collect() async -> SendTally {
    var tally = SendTally()
    for loop in loops {
      if let part = try? await loop.eventLoop.submit({ loop.tally }).get() { tally.add(part) }
    }
    return tally
  }

  /// Why nothing goes on.
  private func standstill(_ tally: SendTally) async -> String {
    let limit = Units.describe(nanoseconds: plan.timeout ?? 0)
    for loop in loops {
      if let obstacle = try? await loop.eventLoop.submit({ loop.obstacle }).get() {
        return "nothing was acknowledged for \(limit): \(obstacle)"
      }
    }
    return "nothing was acknowledged for \(limit): the server "
      + (tally.retried > 0 ? "refuses records for now" : "does not answer")
  }
}

/// When to give up: something waits for an answer, and none came for too long.
struct SendWatch {
  private let timeout: Int64?
  private var lastChange: Int64
  private var lastAnswered: UInt64 = 0
  private var stopBy = Int64.max

  init(timeout: Int64?, start: Int64) {
    self.timeout = timeout
    lastChange = start
  }

  /// What is under way has this long to be answered.
  mutating func stop(at now: Int64) { stopBy = now + Limits.drainNanoseconds }

  mutating func isOver(_ tally: SendTally, isConnecting: Bool, at now: Int64) -> Bool {
    let answered = tally.made - tally.pending + tally.skipped
    if answered != lastAnswered || (tally.pending == 0 && !isConnecting) {
      lastAnswered = answered
      lastChange = now
    }
    return now >= stopBy || timeout.map { now - lastChange >= $0 } ?? false
  }
}
