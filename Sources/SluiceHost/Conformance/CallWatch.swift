import CSluice
import SluiceCore
import Synchronization

/// Interrupts a call that takes too long, as the daemon does.
///
/// It has one thread from the beginning, so that a rule that counts threads does not count it.
final class CallWatch: Sendable {
  private struct Call {
    var began: Int64
    var target: Interruptible
  }

  private let call = Mutex<Call?>(nil)

  init() {
    _ = OSThread(name: "call watch") { [self] in
      let pause = Doorbell()
      while true {
        pause.wait(until: Clock.monotonic() + Limits.conformanceInterruptNanoseconds / 10)
        look()
      }
    }
  }

  private func look() {
    // Under the lock, so that the instance can't go in between.
    call.withLock { call in
      guard let late = call, Clock.monotonic() - late.began > Limits.conformanceInterruptNanoseconds else { return }
      call = nil
      late.target.call()
    }
  }

  func begin(_ interrupt: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?, _ instance: UnsafeMutableRawPointer?) {
    guard interrupt != nil, instance != nil else { return }
    let target = Interruptible(function: interrupt, instance: instance)
    call.withLock { $0 = Call(began: Clock.monotonic(), target: target) }
  }

  func end() { call.withLock { $0 = nil } }
}
