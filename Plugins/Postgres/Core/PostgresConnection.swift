// A conversation with the server in which every wait has a deadline and can be interrupted.
//
// libpq is used without blocking: it writes what the socket takes and reads what is there, and in between this file polls
// the socket. What libpq does on its own is resolving the host's name, while connecting: that waits as long as the
// system's resolver does (a few seconds), and neither deadline nor interrupt ends it.
//
// A connection that was late, interrupted or broken is in an unknown state and must be closed.

import CPQ
import Glibc
import SluicePluginKit

/// One answer of the server.
package struct Answer: ~Copyable {
  fileprivate let raw: OpaquePointer

  fileprivate init(_ raw: OpaquePointer) { self.raw = raw }

  deinit { PQclear(raw) }

  /// The rows, as text; NULL is nil.
  package var rows: [[String?]] {
    (0..<PQntuples(raw)).map { row in
      (0..<PQnfields(raw)).map { field in
        guard PQgetisnull(raw, row, field) == 0, let value = PQgetvalue(raw, row, field) else { return nil }
        return String(cString: value)
      }
    }
  }
}

package final class PostgresConnection {
  /// How much is handed to libpq before the socket has to take it.
  package static let pieceBytes = 256 << 10
  /// What the binary format has before all rows (signature, flags, no extension) and after them (-1).
  private static let copyHeader: [UInt8] =
    Array("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0] + [UInt8](repeating: 0, count: 8)
  private static let copyTrailer: [UInt8] = [0xFF, 0xFF]

  private let raw: OpaquePointer
  private let interruption: Interruption
  private let password: String

  // MARK: Connecting

  /// Connects before `deadline`, to the first of the hosts that answers.
  package init(url: String, interruption: Interruption, until deadline: Int64) throws(PostgresFailure) {
    // What stands after dbname wins over the URL, what stands before it is a default.
    let parameters: KeyValuePairs<String, String> = [
      "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3", "tcp_user_timeout": "60000",
      "fallback_application_name": "sluice", "dbname": url, "client_encoding": "UTF8",
    ]
    var keywords: [UnsafeMutablePointer<CChar>?] = parameters.map { strdup($0.key) } + [nil]
    var values: [UnsafeMutablePointer<CChar>?] = parameters.map { strdup($0.value) } + [nil]
    defer { for pointer in keywords + values { free(pointer) } }
    let made = keywords.withUnsafeMutableBufferPointer { keywords in
      values.withUnsafeMutableBufferPointer { values in
        keywords.withMemoryRebound(to: UnsafePointer<CChar>?.self) { keywords in
          values.withMemoryRebound(to: UnsafePointer<CChar>?.self) { values in
            PQconnectStartParams(keywords.baseAddress, values.baseAddress, 1)
          }
        }
      }
    }
    guard let made else { throw .broken("no memory for a connection") }
    raw = made
    self.interruption = interruption
    password = PQpass(made).map { String(cString: $0) } ?? ""
    // libpq would print notices to stderr.
    PQsetNoticeProcessor(made, { _, _ in }, nil)
    try connect(until: deadline)
    guard PQsetnonblocking(made, 1) == 0 else { throw broken() }
  }

  deinit { PQfinish(raw) }

  private func connect(until deadline: Int64) throws(PostgresFailure) {
    guard PQstatus(raw) != CONNECTION_BAD else { throw broken() }
    var interest = Interruption.Interest.writing
    while true {
      try wait(for: interest, until: deadline, "connect to \(place)")
      switch PQconnectPoll(raw) {
      case PGRES_POLLING_OK: return
      case PGRES_POLLING_READING: interest = .reading
      case PGRES_POLLING_WRITING: interest = .writing
      default: throw broken()
      }
    }
  }

  /// The server's address for people: never the password.
  package var place: String {
    let parts = [PQhost(raw), PQport(raw), PQdb(raw), PQuser(raw)].map { $0.map { String(cString: $0) } ?? "" }
    return "\(parts[0]):\(parts[1])/\(parts[2]) as \(parts[3])"
  }

  /// The server's version for people.
  package var version: String { PQparameterStatus(raw, "server_version").map { String(cString: $0) } ?? "unknown" }

  /// False when the server has hung up meanwhile: what it said last is read, nothing is sent.
  package func isOpen() -> Bool {
    var socket = pollfd(fd: PQsocket(raw), events: Int16(POLLIN), revents: 0)
    // A notice leaves the socket empty; a hang-up stays readable, and the read after the last byte fails.
    while socket.fd >= 0, poll(&socket, 1, 0) > 0 {
      guard PQconsumeInput(raw) == 1 else { return false }
      socket.fd = PQsocket(raw)
    }
    return PQstatus(raw) == CONNECTION_OK
  }

  // MARK: Statements

  /// Runs one or more statements.
  /// - Returns: the rows of the last that has any.
  @discardableResult
  package func run(_ sql: String, until deadline: Int64) throws(PostgresFailure) -> [[String?]] {
    try send(sql)
    return try finish(until: deadline, "run a statement")
  }

  /// Runs `sql`, which ends in a COPY FROM STDIN (FORMAT binary), with these rows. `ending` is called when all has been
  /// handed over: from then on the server may have the rows although no answer comes.
  /// - Returns: the rows of the last statement before the COPY that has any.
  package func copy(
    _ sql: String, rows: UnsafeRawBufferPointer, until deadline: Int64, ending: ([[String?]]) -> Void = { _ in }
  ) throws(PostgresFailure) {
    try send(sql)
    var before: [[String?]] = []
    while true {
      try flush(until: deadline)
      guard let answer = try next(until: deadline, "begin a COPY") else {
        throw .broken("the server began no COPY")
      }
      switch PQresultStatus(answer.raw) {
      case PGRES_COPY_IN:
        try send(rows, until: deadline) { ending(before) }
        try finish(until: deadline, "end a COPY")
        return
      case PGRES_TUPLES_OK: before = answer.rows
      case PGRES_COMMAND_OK: break
      default:
        let error = serverError(answer)
        try skip(until: deadline)
        throw error
      }
    }
  }

  private func send(_ sql: String) throws(PostgresFailure) {
    guard PQsendQuery(raw, sql) == 1 else { throw broken() }
  }

  private func send(
    _ rows: UnsafeRawBufferPointer, until deadline: Int64, ending: () -> Void
  ) throws(PostgresFailure) {
    try put(PostgresConnection.copyHeader, until: deadline)
    var at = 0
    while at < rows.count {
      let end = min(at + PostgresConnection.pieceBytes, rows.count)
      try put(UnsafeRawBufferPointer(rebasing: rows[at..<end]), until: deadline)
      try flush(until: deadline)
      at = end
    }
    try put(PostgresConnection.copyTrailer, until: deadline)
    ending()
    while true {
      let done = PQputCopyEnd(raw, nil)
      guard done >= 0 else { throw broken() }
      try flush(until: deadline)
      if done == 1 { return }
    }
  }

  private func put(_ bytes: [UInt8], until deadline: Int64) throws(PostgresFailure) {
    let result = bytes.withUnsafeBytes { bytes in
      Result { () throws(PostgresFailure) in try put(bytes, until: deadline) }
    }
    try result.get()
  }

  private func put(_ bytes: UnsafeRawBufferPointer, until deadline: Int64) throws(PostgresFailure) {
    while true {
      let taken = PQputCopyData(
        raw, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
      guard taken >= 0 else { throw broken() }
      if taken == 1 { return }
      try flush(until: deadline)
    }
  }

  /// Reads all answers to what was sent.
  @discardableResult
  private func finish(until deadline: Int64, _ what: String) throws(PostgresFailure) -> [[String?]] {
    try flush(until: deadline)
    var rows: [[String?]] = []
    while let answer = try next(until: deadline, what) {
      switch PQresultStatus(answer.raw) {
      case PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: break
      case PGRES_TUPLES_OK: rows = answer.rows
      default:
        let error = serverError(answer)
        try skip(until: deadline)
        throw error
      }
    }
    return rows
  }

  /// Reads what still comes after an error.
  private func skip(until deadline: Int64) throws(PostgresFailure) {
    while try next(until: deadline, "end a statement") != nil {}
    guard PQstatus(raw) == CONNECTION_OK else { throw broken() }
  }

  // MARK: Waiting

  /// The next answer; nil: there are no more.
  private func next(until deadline: Int64, _ what: String) throws(PostgresFailure) -> Answer? {
    while PQisBusy(raw) == 1 {
      try wait(for: .reading, until: deadline, what)
      guard PQconsumeInput(raw) == 1 else { throw broken() }
    }
    guard let result = PQgetResult(raw) else { return nil }
    return Answer(result)
  }

  /// Sends what libpq holds. Reads meanwhile, since a server that can't get rid of its answers takes no more.
  private func flush(until deadline: Int64) throws(PostgresFailure) {
    while true {
      switch PQflush(raw) {
      case 0: return
      case 1: break
      default: throw broken()
      }
      try wait(for: [.reading, .writing], until: deadline, "send")
      guard PQconsumeInput(raw) == 1 else { throw broken() }
    }
  }

  private func wait(
    for interest: Interruption.Interest, until deadline: Int64, _ what: String
  ) throws(PostgresFailure) {
    guard PQsocket(raw) >= 0 else { throw broken() }
    switch interruption.wait(for: interest, on: PQsocket(raw), until: deadline) {
    case .ready: return
    case .interrupted: throw .interrupted
    case .late: throw .late("no answer in time while trying to \(what)")
    }
  }

  // MARK: Errors

  private func broken() -> PostgresFailure { .broken(clean(PQerrorMessage(raw))) }

  private func serverError(_ answer: borrowing Answer) -> PostgresFailure {
    guard let state = PQresultErrorField(answer.raw, Int32(UInt8(ascii: "C"))) else {
      return .broken(clean(PQresultErrorMessage(answer.raw)))
    }
    return .refused(
      ServerError(
        sqlstate: String(cString: state),
        message: clean(PQresultErrorField(answer.raw, Int32(UInt8(ascii: "M")))),
        detail: clean(PQresultErrorField(answer.raw, Int32(UInt8(ascii: "D"))))))
  }

  /// In one line, and without the password.
  private func clean(_ text: UnsafePointer<CChar>?) -> String {
    guard let text else { return "" }
    let line = String(cString: text).split { $0 == "\n" || $0 == "\t" || $0 == "\r\n" }.joined(separator: " ")
    return redacted(line, password)
  }
}

/// The text with every occurrence of the secret blanked.
package func redacted(_ text: String, _ secret: String) -> String {
  guard !secret.isEmpty else { return text }
  let bytes = Array(text.utf8)
  let hidden = Array(secret.utf8)
  var shown: [UInt8] = []
  var at = 0
  while at < bytes.count {
    if bytes[at...].starts(with: hidden) {
      shown += Array("***".utf8)
      at += hidden.count
    } else {
      shown.append(bytes[at])
      at += 1
    }
  }
  return String(decoding: shown, as: UTF8.self)
}
