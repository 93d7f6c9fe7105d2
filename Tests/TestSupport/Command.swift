import Foundation

/// Runs programs. Not Foundation's `Process`: it waits for whoever a program leaves behind, and a server is left behind on
/// purpose; and what another thread starts meanwhile has an end of its pipe. Children get no descriptors but the three
/// standard ones, and what they write goes into a file, which nobody waits for.
package enum Command {
  package struct Failure: Error, CustomStringConvertible {
    package let description: String
  }

  /// Runs a program found in PATH to its end; `output` is what it wrote to stdout and stderr.
  package static func run(
    _ command: [String], in directory: String? = nil,
    environment: [String: String] = ProcessInfo.processInfo.environment
  ) throws -> (status: Int32, output: String) {
    var template = Array("/tmp/sluice-output-XXXXXX".utf8CString)
    let output = mkstemp(&template)
    guard output >= 0 else { throw Failure(description: "mkstemp: errno \(errno)") }
    unlink(template)
    defer { close(output) }
    let null = open("/dev/null", O_RDONLY | O_CLOEXEC)
    defer { close(null) }
    let place = directory.map { ["env", "-C", $0] } ?? []
    let status = wait(try spawn(place + command, input: null, output: output, environment: environment))
    lseek(output, 0, SEEK_SET)
    var text: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = read(output, &chunk, chunk.count)
      guard count > 0 else { break }
      text += chunk[..<count]
    }
    return (status, String(decoding: text, as: UTF8.self))
  }

  /// Starts a program found in PATH.
  package static func spawn(
    _ command: [String], input: Int32, output: Int32,
    environment: [String: String] = ProcessInfo.processInfo.environment
  ) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, input, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, output, 2)
    ChildDescriptors.closeOthers(&actions)
    var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
    var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for pointer in arguments + variables { free(pointer) } }
    var pid = pid_t()
    let failed = posix_spawnp(&pid, command[0], &actions, nil, &arguments, &variables)
    guard failed == 0 else { throw Failure(description: "cannot run \(command[0]): errno \(failed)") }
    return pid
  }

  /// The exit status as the shell would put it.
  @discardableResult
  package static func wait(_ pid: pid_t) -> Int32 {
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
  }
}
