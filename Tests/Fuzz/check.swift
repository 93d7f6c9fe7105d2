// What becomes of a property that does not hold: the fuzzer wants the process to die, `swift test` an issue.

#if FUZZING
  import Glibc
#else
  import Testing
#endif

func check(_ condition: Bool, _ message: StaticString) {
  guard !condition else { return }
  #if FUZZING
    perror("property violated: \(message)")
    abort()
  #else
    Issue.record("property violated: \(message)")
  #endif
}
