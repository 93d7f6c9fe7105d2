import Synchronization
import Testing

@testable import SluiceCore

/// What a claimant was told, in order.
private final class Told: Sendable {
  enum Notice: Equatable { case ready(ProducerPosition), revoked(ClaimEnd) }
  private let notices = Mutex<[Notice]>([])
  var all: [Notice] { notices.withLock { $0 } }
  var hooks: ClaimNotices {
    ClaimNotices(
      ready: { position in self.notices.withLock { $0.append(.ready(position)) } },
      revoked: { end in self.notices.withLock { $0.append(.revoked(end)) } })
  }
}

@Suite("A producer and who writes to it")
struct ProducerTests {
  let producer = Producer(id: 1, name: "press-7", epoch: 3, lastSequence: 40)

  private func claim(_ epoch: UInt16, _ told: Told) throws -> ProducerClaim {
    guard case .granted(let claim) = producer.claim(epoch: epoch, told.hooks) else { throw CancellationError() }
    return claim
  }

  @Test func aFreeProducerIsReadyAtOnceWithWhatTheLogHas() throws {
    let told = Told()
    _ = try claim(3, told)
    #expect(told.all == [.ready(ProducerPosition(sequence: 40))])
  }

  @Test func aLowerEpochIsFenced() {
    #expect(producer.claim(epoch: 2, Told().hooks) == .fenced(highest: 3))
    guard case .fenced(highest: 3) = producer.sequence(epoch: 2, { _ in 0 }) else {
      Issue.record("a request with a lower epoch went through")
      return
    }
  }

  @Test func aNewcomerWaitsUntilTheOwnerHasLetGoAndLearnsItsLastSequence() throws {
    let old = Told()
    let new = Told()
    let first = try claim(3, old)
    _ = try claim(4, new)
    #expect(old.all.last == .revoked(.fenced(epoch: 4)))
    #expect(new.all.isEmpty)
    producer.release(first, at: ProducerPosition(sequence: 44, lsn: 900))
    #expect(new.all == [.ready(ProducerPosition(sequence: 44, lsn: 900))])
  }

  @Test func ofTwoThatWaitTheLaterOneWinsAndTheOwnerIsToldOnce() throws {
    let (owner, second, third) = (Told(), Told(), Told())
    let first = try claim(3, owner)
    let waiting = try claim(3, second)
    _ = try claim(3, third)
    #expect(owner.all.count == 2 && owner.all.last == .revoked(.superseded))
    #expect(second.all == [.revoked(.superseded)])
    producer.release(waiting, at: nil)
    producer.release(first, at: nil)
    #expect(second.all.count == 1)
    #expect(third.all == [.ready(ProducerPosition(sequence: 40))])
  }

  @Test func whoeverStopsWaitingIsNeverMadeTheOwner() throws {
    let (owner, other) = (Told(), Told())
    let first = try claim(3, owner)
    let waiting = try claim(3, other)
    producer.release(waiting, at: nil)
    producer.release(first, at: nil)
    #expect(other.all.isEmpty && producer.isFree)
  }

  @Test func aRequestRunsOnlyWhileNobodyOwnsTheProducer() throws {
    let owner = try claim(3, Told())
    guard case .owned = producer.sequence(epoch: 3, { _ in 0 }) else {
      Issue.record("a request wrote to a producer that a connection owns")
      return
    }
    producer.release(owner, at: nil)
    let outcome = producer.sequence(epoch: 5) { position in
      position = ProducerPosition(sequence: 41, lsn: 7)
      return position.sequence
    }
    guard case .done(41) = outcome else {
      Issue.record("the request did not run")
      return
    }
    #expect(producer.known.epoch == 5 && producer.known.position == ProducerPosition(sequence: 41, lsn: 7))
  }
}
