// How the commands talk to a running daemon.
//
//   where     DATA/control.sock, a stream socket, mode 0600. The peer must be root or run as the daemon's user.
//   request   one line of JSON, at most `Limits.maxControlRequestBytes`: {"verb": V, …}
//               {"verb":"status"}
//               {"verb":"reload","dry_run":false}
//               {"verb":"tap","stream":S,"from":"oldest"|"newest"|LSN,"count":N,
//                "sources":[…],"topics":[GLOB…],"json":{"a.b":[V…]}}     all but the stream may be left out
//               {"verb":"forget","stream":S,"cursor":NAME}
//               {"verb":"replay","stream":S,"to":SUBSCRIBER,"from":LSN,"until":LSN,"since":NS,"before":NS,"rate":N}
//                 of from and since one, of until and before one; an item now and then says how far it is; the replay is
//                 cancelled when the peer hangs up
//               {"verb":"dead","do":"list"|"show"|"retry"|"export"|"purge","dead":STREAM,"subscriber":S,"stream":S,
//                "cause":C,"code":N,"first":LSN,"last":LSN,"limit":N,"all":B}   show needs "first"; retry and purge
//                                                                              need something that says which, or "all"
//   answer    lines of JSON: any number of {"item": …}, then one of
//               {"end":"ok"}
//               {"end":"error","code":C,"message":M}
//             and the daemon closes. An answer without its last line was cut, and is worth nothing.
//   codes     bad_request, forbidden, busy, not_found, stopping, failed
//
// A connection carries one request. One that sends none in time, or takes none of its answer in time, is cut. Requests
// with members that the daemon does not know are refused, so that none is half understood. The page of a version is not
// promised to the next: commands and daemon are one executable.

import SluiceCore
import SluiceTopology

/// Why a request was not answered.
struct ControlError: Error, Equatable {
  enum Code: String, CaseIterable {
    case badRequest = "bad_request"
    case forbidden, busy
    case notFound = "not_found"
    case stopping, failed
  }
  var code: Code
  var message: String

  init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }
}

/// What is asked of the daemon.
enum ControlRequest: Equatable {
  case status
  case reload(dryRun: Bool)
  case tap(TapRequest)
  case dead(DeadRequest)
  case forget(ForgetRequest)
  case replay(ReplayRequest)

  init(parsing line: [UInt8]) throws(ControlError) {
    let value: JSONValue
    do { value = try JSONValue(parsing: line) } catch { throw ControlError(.badRequest, "not JSON: \(error)") }
    var members = try ControlMembers(value)
    switch try members.text("verb") {
    case "status": self = .status
    case "reload": self = .reload(dryRun: try members.flag("dry_run"))
    case "tap": self = .tap(try TapRequest(&members))
    case "forget": self = .forget(try ForgetRequest(&members))
    case "replay": self = .replay(try ReplayRequest(&members))
    case "dead": self = .dead(try DeadRequest(&members))
    case let verb?: throw ControlError(.badRequest, "there is no verb '\(verb)'")
    case nil: throw ControlError(.badRequest, "the request has no verb")
    }
    try members.end()
  }
}

/// The members of a request, each to be asked for once.
struct ControlMembers {
  private var rest: [JSONValue.Member]

  init(_ value: JSONValue) throws(ControlError) {
    guard let members = value.members else { throw ControlError(.badRequest, "a request is a JSON object") }
    rest = members
  }

  mutating func take(_ name: String) -> JSONValue? {
    guard let place = rest.firstIndex(where: { $0.key == name }) else { return nil }
    return rest.remove(at: place).value
  }

  mutating func text(_ name: String) throws(ControlError) -> String? {
    guard let value = take(name) else { return nil }
    guard let text = value.string else { throw ControlError(.badRequest, "'\(name)' must be a string") }
    return text
  }

  mutating func flag(_ name: String) throws(ControlError) -> Bool {
    guard let value = take(name) else { return false }
    guard case .bool(let flag) = value else { throw ControlError(.badRequest, "'\(name)' must be true or false") }
    return flag
  }

  mutating func number(_ name: String) throws(ControlError) -> UInt64? {
    guard let value = take(name) else { return nil }
    guard case .integer(let number) = value, number >= 0 else {
      throw ControlError(.badRequest, "'\(name)' must be a whole number from 0")
    }
    return UInt64(number)
  }

  mutating func texts(_ name: String) throws(ControlError) -> [String] {
    guard let value = take(name) else { return [] }
    guard let texts = value.array?.map(\.string), !texts.contains(nil) else {
      throw ControlError(.badRequest, "'\(name)' must be a list of strings")
    }
    return texts.compactMap(\.self)
  }

  func end() throws(ControlError) {
    if let first = rest.first { throw ControlError(.badRequest, "'\(first.key)' is not known here") }
  }
}
