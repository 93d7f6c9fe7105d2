import Glibc

/// What children that tests start get of the descriptors of the tests' process: a child that has an end of another test's
/// pipe or socket keeps it open for as long as it runs, and who waits for its end waits for the child's.
package enum ChildDescriptors {
  private typealias CloseFrom = @convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32

  /// Swift's Glibc module does not have it.
  private static let closeFrom: CloseFrom = {
    guard let address = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np") else {
      preconditionFailure("this C library can't close the descriptors of a child: glibc 2.34 and later can")
    }
    return unsafeBitCast(address, to: CloseFrom.self)
  }()

  /// Behind the actions that give the child what it is to have: it gets none but the three standard ones.
  package static func closeOthers(_ actions: inout posix_spawn_file_actions_t) {
    let code = closeFrom(&actions, STDERR_FILENO + 1)
    precondition(code == 0, "no closing of descriptors: errno \(code)")
  }

  /// Runs a program found in PATH to its end, with the environment and the standard descriptors of this process. Returns what
  /// `waitpid` says, or nil when it can't be started.
  package static func run(_ arguments: [String]) -> Int32? {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    closeOthers(&actions)
    var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var child = pid_t()
    guard posix_spawnp(&child, arguments[0], &actions, nil, &words, environ) == 0 else { return nil }
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 { guard errno == EINTR else { return nil } }
    return status
  }
}
