import SluiceCore
import Testing

/// Patience on a clock that jumps.
@Suite struct RunningTimeTests {
  private let slice = Limits.runningSliceNanoseconds

  /// Looks whenever it is to, each time so much too late, until it is over. Returns how often, and when.
  private func looks(_ time: RunningTime, from begin: Int64, late: (Int) -> Int64) -> (count: Int, end: Int64) {
    var (time, now, count) = (time, begin, 0)
    while !time.isOver {
      now = time.nextLook + late(count)
      time.look(at: now)
      count += 1
    }
    return (count, now)
  }

  @Test("Where nothing stands still it is over at its end and not before, also when that lies within a slice")
  func onTime() {
    for length in [1, slice - 1, slice, 10 * slice, 10 * slice + 7] {
      let (count, end) = looks(RunningTime(length, from: 50), from: 50) { _ in 0 }
      #expect(end == 50 + length && count == Int((length + slice - 1) / slice))
    }
    #expect(RunningTime(0, from: 50).isOver && RunningTime(-1, from: 50).isOver)
  }

  @Test("A stall, however long, counts as one slice")
  func stalls() {
    let (count, end) = looks(RunningTime(100 * slice, from: 0), from: 0) { $0 == 3 ? 1_000 * slice : 0 }
    #expect(count == 100 && end == 1_100 * slice)
  }

  @Test("Where every slice takes twice as long, so does the whole")
  func crawls() {
    let (count, end) = looks(RunningTime(10 * slice, from: 0), from: 0) { _ in slice }
    #expect(count == 10 && end == 20 * slice)
  }

  @Test("Looks that come before they are due count what has passed")
  func early() {
    var time = RunningTime(2 * slice, from: 0)
    for now in stride(from: 0, to: 2 * slice, by: 1_000) {
      time.look(at: now)
      #expect(!time.isOver && time.nextLook <= min(now + slice, 2 * slice))
    }
    time.look(at: 2 * slice)
    #expect(time.isOver)
  }
}
