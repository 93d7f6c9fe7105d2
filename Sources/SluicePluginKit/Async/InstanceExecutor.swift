import Glibc

/// Runs the tasks of one instance, one after the other, on a thread of the instance's own: neither the daemon's threads nor
/// Swift's pool, so that code which blocks there blocks nobody else.
final class InstanceExecutor: TaskExecutor {
  private struct Queue {
    var jobs: [UnownedJob] = []
    var isShut = false
  }

  private let queue = Monitor(Queue())
  /// The thread, from `begin` to `end`. Both are called by the one thread that drives the instance.
  private let thread = Monitor<pthread_t?>(nil)
  private let threadName: [UInt8]

  /// What Linux takes of a thread's name.
  private static let maxNameBytes = 15

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let isTaken = queue.update { queue in
      if !queue.isShut { queue.jobs.append(job) }
      return !queue.isShut
    }
    // A task that the plugin let outlive its instance: it must end somewhere.
    if !isTaken { globalConcurrentExecutor.enqueue(job) }
  }

  /// An executor that has no thread yet.
  init(name: String) { threadName = Array("async \(name)".utf8.prefix(InstanceExecutor.maxNameBytes)) }

  var hasThread: Bool { thread.update { $0 } != nil }

  /// Starts the thread. Does nothing when it runs.
  func begin() throws {
    guard !hasThread else { return }
    var made = pthread_t()
    let context = Unmanaged.passRetained(self)
    let code = pthread_create(
      &made, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<InstanceExecutor>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, context.toOpaque())
    guard code == 0 else {
      context.release()
      throw SubscriberError(.retryable, "cannot start a thread: \(String(cString: strerror(code)))")
    }
    thread.update { $0 = made }
  }

  /// Ends the thread, once it has run what it was given.
  func end() {
    queue.update { $0.isShut = true }
    if let thread = thread.update({ $0 }) { pthread_join(thread, nil) }
    thread.update { $0 = nil }
  }

  private func run() {
    takeName()
    while let jobs = next() {
      for job in jobs { job.runSynchronously(on: asUnownedTaskExecutor()) }
    }
  }

  /// As `pthread_setname_np` does, which Swift is not shown. Where there is no /proc the thread keeps its process's name.
  private func takeName() {
    let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    _ = write(file, threadName, threadName.count)
    close(file)
  }

  /// All jobs at hand; nil when there will be none.
  private func next() -> [UnownedJob]? {
    let jobs = queue.wait { queue -> [UnownedJob]? in
      guard !queue.jobs.isEmpty || queue.isShut else { return nil }
      defer { queue.jobs = [] }
      return queue.jobs
    }
    return jobs?.isEmpty == false ? jobs : nil
  }
}
