import ArgumentParser

/// Why a run, or one of its connections, can't go on.
struct SendFailure: Error, Equatable, Sendable {
  var status: ExitCode
  var message: String

  static func unavailable(_ message: String) -> SendFailure {
    SendFailure(status: ExitStatus.unavailable, message: message)
  }
  /// The other side does not speak what was expected.
  static func protocolError(_ message: String) -> SendFailure {
    SendFailure(status: ExitStatus.protocolError, message: message)
  }
  static func noPermission(_ message: String) -> SendFailure {
    SendFailure(status: ExitStatus.noPermission, message: message)
  }
  static func dataError(_ message: String) -> SendFailure {
    SendFailure(status: ExitStatus.dataError, message: message)
  }
  /// Somebody else writes under the producer's name.
  static func superseded(_ producer: String, epoch: UInt16) -> SendFailure {
    SendFailure(
      status: ExitStatus.temporary,
      message:
        "another producer took the name \(producer) with epoch \(epoch); what it has not answered may be stored or not")
  }
}
