import ArgumentParser

/// The exit codes of sysexits(3) that the commands use; `check` alone answers 0 or 1.
enum ExitStatus {
  static let usage = ExitCode(64)
  static let dataError = ExitCode(65)
  static let noInput = ExitCode(66)
  static let noHost = ExitCode(68)
  static let unavailable = ExitCode(69)
  static let software = ExitCode(70)
  static let systemError = ExitCode(71)
  static let cannotCreate = ExitCode(73)
  static let ioError = ExitCode(74)
  static let temporary = ExitCode(75)
  static let protocolError = ExitCode(76)
  static let noPermission = ExitCode(77)
  static let configuration = ExitCode(78)
}
