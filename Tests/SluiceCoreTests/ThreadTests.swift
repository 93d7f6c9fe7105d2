import Foundation
import SluiceCore
import Synchronization
import Testing

struct DoorbellTests {
  @Test func aRingBeforeTheWaitIsNotLost() {
    let bell = Doorbell()
    bell.ring()
    #expect(bell.wait(until: .max))
  }

  @Test func manyRingsBeforeAWaitAreOne() {
    let bell = Doorbell()
    for _ in 0..<5 { bell.ring() }
    #expect(bell.wait(until: .max))
    #expect(!bell.wait(until: Clock.monotonic()))
  }

  @Test func aQuietBellAnswersFalseAtTheDeadlineAndNotBefore() {
    let bell = Doorbell()
    let deadline = Clock.monotonic() + 5_000_000
    #expect(!bell.wait(until: deadline))
    #expect(Clock.monotonic() >= deadline)
  }

  @Test func aDeadlineLongPastOrNegativeReturnsAtOnce() {
    let bell = Doorbell()
    #expect(!bell.wait(until: 0))
    #expect(!bell.wait(until: -1))
    #expect(!bell.wait(until: .min))
    bell.ring()
    #expect(bell.wait(until: .min))
  }

  @Test func aRingFromAnotherThreadWakesTheWaiter() {
    let bell = Doorbell()
    let thread = OSThread(name: "ringer") { bell.ring() }
    #expect(bell.wait(until: .max))
    thread.join()
  }

  @Test func noRingIsLostBetweenTwoThreadsThatTakeTurns() {
    let ping = Doorbell()
    let pong = Doorbell()
    let rounds = 20_000
    let thread = OSThread(name: "pong") {
      for _ in 0..<rounds {
        ping.wait(until: .max)
        pong.ring()
      }
    }
    for _ in 0..<rounds {
      ping.ring()
      pong.wait(until: .max)
    }
    thread.join()
  }

  @Test func ringersThatHurryDoNotHideTheLastRing() {
    let bell = Doorbell()
    let count = Atomic<Int>(0)
    let each = 20_000
    let threads = (0..<3).map { index in
      OSThread(name: "ringer \(index)") {
        for _ in 0..<each {
          count.add(1, ordering: .releasing)
          bell.ring()
        }
      }
    }
    // Ends only if the ring after the last count is seen.
    while count.load(ordering: .acquiring) < 3 * each { bell.wait(until: .max) }
    for thread in threads { thread.join() }
  }
}

struct OSThreadTests {
  @Test func aThreadRunsItsBodyUnderItsOwnNameCutTo15Bytes() {
    let seen = Mutex<(name: String, id: Int32)>(("", 0))
    let thread = OSThread(name: "commit of-a-long-stream") {
      let name = (try? String(contentsOfFile: "/proc/thread-self/comm", encoding: .utf8)) ?? "?"
      seen.withLock { $0 = (name.trimmingCharacters(in: .newlines), OSThread.currentID) }
    }
    thread.join()
    thread.join()
    #expect(seen.withLock { $0.name } == "commit of-a-lon")
    #expect(seen.withLock { $0.id } != OSThread.currentID)
  }
}

extension OSThreadTests {
  @Test("Where no thread is to be had, as for want of memory for its stack, that is an error and not the process's end")
  func noThread() {
    let error = #expect(throws: OSThread.Failure.self) { try OSThread(starting: "huge", stackBytes: 1 << 47) {} }
    #expect(error?.description.hasPrefix("no thread can be started: ") == true)
  }

  @Test("Each thread has a stack for handlers of signals with nothing below it, which is gone when the thread is")
  func signalStack() {
    let stacks = (0..<16).map { _ in
      let seen = Mutex<(at: UInt, bytes: Int, flags: Int32)>((0, 0, 0))
      OSThread(name: "stacked") {
        var stack = stack_t()
        sigaltstack(nil, &stack)
        seen.withLock { $0 = (UInt(bitPattern: stack.ss_sp), stack.ss_size, stack.ss_flags) }
      }.join()
      return seen.withLock { $0 }
    }
    #expect(stacks.allSatisfy { $0.at != 0 && $0.bytes == Limits.signalStackBytes && $0.flags == 0 })
    // Somebody else may have got the memory of some.
    #expect(stacks.contains { !isMapped($0.at) })
  }

  private func isMapped(_ address: UInt) -> Bool {
    var isThere: UInt8 = 0
    return mincore(UnsafeMutableRawPointer(bitPattern: address), 1, &isThere) == 0
  }
}

struct ClockTests {
  @Test func theMonotonicClockNeverStepsBackAndTheWallClockIsOurs() {
    var last = Clock.monotonic()
    for _ in 0..<1_000 {
      let now = Clock.monotonic()
      #expect(now >= last)
      last = now
    }
    let difference = Double(Clock.wall()) / 1e9 - Date().timeIntervalSince1970
    #expect(abs(difference) < 60)
  }
}

struct LogUUIDTests {
  @Test func theTextFormIsCanonical() {
    let uuid = LogUUID(high: 0x0011_2233_4455_4677, low: 0x8899_AABB_CCDD_EEFF)
    #expect(uuid.description == "00112233-4455-4677-8899-aabbccddeeff")
    #expect(
      uuid.bytes == [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x46, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF])
    #expect(LogUUID(high: 0, low: 1).description == "00000000-0000-0000-0000-000000000001")
  }

  @Test func aRandomOneIsVersion4AndNew() throws {
    let uuids = Set((0..<100).map { _ in LogUUID.random() })
    #expect(uuids.count == 100)
    for uuid in uuids {
      #expect(uuid.bytes[6] >> 4 == 4)
      #expect(uuid.bytes[8] >> 6 == 0b10)
      #expect(UUID(uuidString: uuid.description)?.uuidString.lowercased() == uuid.description)
    }
  }
}
