import CSluice
import SluiceCore
import Synchronization

/// Interrupts a call that takes too long, as the daemon does.
///
/// It has one thread from the beginning, so that a rule that counts threads does not count it.
final class CallWatch: Sendable {
  private struct Call {
    var time: RunningTime
    var target: Interruptible
  }

  private let call = Mutex<Call?>(nil)

  init() {
    _ = OSThread(name: "call watch") { [self] in
      let pause = Doorbell()
      while true {
        pause.wait(until: Clock.monotonic() + Limits.runningSliceNanoseconds)
        look()
      }
    }
  }

  private func look() {
    // Under the lock, so that the instance can't go in between.
    call.withLock { call in
      call?.time.look(at: Clock.monotonic())
      guard let late = call, late.time.isOver else { return }
      call = nil
      late.target.call()
    }
  }

  func begin(_ interrupt: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?, _ instance: UnsafeMutableRawPointer?) {
    guard interrupt != nil, instance != nil else { return }
    let target = Interruptible(function: interrupt, instance: instance)
    let time = RunningTime(Limits.conformanceInterruptNanoseconds, from: Clock.monotonic())
    call.withLock { $0 = Call(time: time, target: target) }
  }

  func end() { call.withLock { $0 = nil } }
}
