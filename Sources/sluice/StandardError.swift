import Glibc

/// Where complaints go, so that a pipe of results holds results only.
enum StandardError {
  private static let output = LogOutput(standard: STDERR_FILENO)

  static func print(_ line: String) { output.write(line + "\n") }

  static func write(_ text: String) { output.write(text) }

  static var isTerminal: Bool { isatty(STDERR_FILENO) == 1 }
}
