import Testing

@testable import sluice

@Suite struct SendScheduleTests {
  @Test("in an open loop record p is due at start + p / rate, and not before")
  func openLoop() {
    let schedule = SendSchedule(rate: 1000, start: 5_000)
    #expect(schedule.due(0) == 5_000)
    #expect(schedule.due(3) == 3_005_000)
    #expect(schedule.moment(of: 3, at: 3_004_999) == .later(3_005_000))
    #expect(schedule.moment(of: 3, at: 3_005_000) == .now)
  }

  @Test("a record that would be due at the end of the run or later is not made, however late it is")
  func openLoopEnds() {
    let schedule = SendSchedule(rate: 1000, start: 0, end: 2_000_000)
    #expect(schedule.moment(of: 1, at: 9_000_000) == .now)
    #expect(schedule.moment(of: 2, at: 0) == .over)
  }

  @Test("in a closed loop records are due at once, until the end")
  func closedLoop() {
    let schedule = SendSchedule(start: 0, end: 10)
    #expect(schedule.due(7) == nil)
    #expect(schedule.moment(of: 7, at: 9) == .now)
    #expect(schedule.moment(of: 7, at: 10) == .over)
  }
}
