/// Syslog, datagrams and what sockets are told.
extension Limits {
  // MARK: Syslog

  /// Digits of an octet count; what begins with more is no count.
  package static let maxSyslogCountDigits = 7
  /// Facility 23, severity 7.
  package static let maxSyslogPriority = 191
  /// A host name, an application's name, a process's or a message's id: RFC 5424 has 255, 48, 128 and 32, and senders that
  /// go beyond the last three are common.
  package static let maxSyslogNameBytes = 255
  /// Larger structured data stands in the payload only.
  package static let maxSyslogStructuredHeaderBytes = 8 << 10

  // MARK: Datagrams

  /// The largest that IP carries.
  package static let maxDatagramBytes = 65_535
  /// What one system call brings at most.
  package static let datagramBatch = 32
  /// Bursts are what UDP loses: the kernel's 208 KiB hold a few hundred messages.
  package static let datagramReceiveBufferBytes = 4 << 20

  // MARK: Sockets

  package static let socketBufferBytes = 4 << 10...1 << 30
  package static let maxListenBacklog = 65_535
  package static let keepaliveNanoseconds: ClosedRange<Int64> = 1_000_000_000...32_767_000_000_000
  package static let maxKeepaliveProbes = 127
  package static let lingerNanoseconds: ClosedRange<Int64> = 0...60_000_000_000
  package static let userTimeoutNanoseconds: ClosedRange<Int64> = 1_000_000_000...86_400_000_000_000
}
