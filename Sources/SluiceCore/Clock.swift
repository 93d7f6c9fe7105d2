import Glibc

/// Time as the log and the daemon use it.
package enum Clock {
  /// Nanoseconds since 1970-01-01 UTC.
  package static func wall() -> Int64 { read(CLOCK_REALTIME) }

  /// Nanoseconds of a clock that never steps, for deadlines and durations.
  package static func monotonic() -> Int64 { read(CLOCK_MONOTONIC) }

  /// CPU time of the calling thread in ns: what its work takes, whatever else the machine does.
  package static func threadCPU() -> Int64 { read(CLOCK_THREAD_CPUTIME_ID) }

  private static func read(_ id: clockid_t) -> Int64 {
    var t = timespec()
    let rc = clock_gettime(id, &t)
    precondition(rc == 0, "clock_gettime refused a clock that Linux always has")
    return Int64(t.tv_sec) * 1_000_000_000 + Int64(t.tv_nsec)
  }
}
