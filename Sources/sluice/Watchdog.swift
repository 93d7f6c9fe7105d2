import SluiceCore
import SluiceHost
import Synchronization

/// Looks at every subscriber now and then: one whose plugin does not return is interrupted and shown as stuck. It waits for
/// none of them.
final class Watchdog: Sendable {
  private let isOver = Atomic<Bool>(false)
  private let bell = Doorbell()
  private let thread: Mutex<OSThread?> = Mutex(nil)

  func start(_ view: DaemonView) {
    thread.withLock {
      $0 = OSThread(name: "watchdog") { [self] in
        while !isOver.load(ordering: .acquiring) {
          let now = Clock.monotonic()
          for subscriber in view.state.subscribers { subscriber.instance.watch(now: now) }
          bell.wait(until: now + Limits.watchdogNanoseconds)
        }
      }
    }
  }

  func stop() {
    isOver.store(true, ordering: .releasing)
    bell.ring()
    thread.withLock { $0 }?.join()
  }
}
