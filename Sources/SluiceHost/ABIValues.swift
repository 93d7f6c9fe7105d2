import CSluice
import SluiceCore

/// What a plugin's function answered. Unknown values mean `internalError`, as the ABI says.
enum ReturnCode: Equatable, Sendable {
  case ok, accepted, busy, config, retryable, fatal, timeout, internalError, unsupported, invalid

  init(_ rc: slu_rc) {
    switch rc {
    case SLU_OK: self = .ok
    case SLU_ACCEPTED: self = .accepted
    case SLU_BUSY: self = .busy
    case SLU_E_CONFIG: self = .config
    case SLU_E_RETRYABLE: self = .retryable
    case SLU_E_FATAL: self = .fatal
    case SLU_E_TIMEOUT: self = .timeout
    case SLU_E_UNSUPPORTED: self = .unsupported
    case SLU_E_INVALID: self = .invalid
    default: self = .internalError
    }
  }

  /// As it stands in the headers.
  var name: String {
    switch self {
    case .ok: "SLU_OK"
    case .accepted: "SLU_ACCEPTED"
    case .busy: "SLU_BUSY"
    case .config: "SLU_E_CONFIG"
    case .retryable: "SLU_E_RETRYABLE"
    case .fatal: "SLU_E_FATAL"
    case .timeout: "SLU_E_TIMEOUT"
    case .internalError: "SLU_E_INTERNAL"
    case .unsupported: "SLU_E_UNSUPPORTED"
    case .invalid: "SLU_E_INVALID"
    }
  }
}

extension slu_bytes {
  /// As text, cut at `limit` bytes, with invalid UTF-8 repaired.
  func text(limit: Int) -> String { String(decoding: raw(limit: limit), as: UTF8.self) }

  /// The bytes in place, cut at `limit`; none if `ptr` is NULL.
  func raw(limit: Int) -> UnsafeRawBufferPointer {
    guard let ptr else { return .empty }
    return UnsafeRawBufferPointer(start: ptr, count: Int(min(len, UInt64(limit))))
  }

  init(_ bytes: UnsafeRawBufferPointer) { self.init(ptr: bytes.baseAddress, len: UInt64(bytes.count)) }
}

extension String {
  /// Calls `body` with this text's UTF-8 bytes, valid until it returns.
  func withBytes<Result>(_ body: (slu_bytes) -> Result) -> Result {
    var copy = self
    return copy.withUTF8 { body(slu_bytes(UnsafeRawBufferPointer($0))) }
  }
}

extension slu_error {
  /// The plugin's text. Its length is checked: it is the plugin's word.
  var said: String {
    withUnsafeBytes(of: message) { bytes in
      String(decoding: bytes.prefix(Int(min(length, UInt64(bytes.count)))), as: UTF8.self)
    }
  }

  /// `rc` and what the plugin said about it, for people.
  func description(of rc: slu_rc) -> String {
    let said = said
    let number = code == 0 ? "" : " (code \(code))"
    return said.isEmpty ? ReturnCode(rc).name + number : "\(ReturnCode(rc).name): \(said)\(number)"
  }
}

/// Text that C code may look at as long as this object lives.
///
/// `@unchecked Sendable`: the bytes are written in `init` and never again.
final class CText: @unchecked Sendable {
  private let storage: UnsafeMutableRawBufferPointer

  init(_ text: String) {
    let utf8 = Array(text.utf8)
    // One more byte, zero, so that a plugin that forgets the length reads no further.
    storage = .allocate(byteCount: utf8.count + 1, alignment: 1)
    storage.copyBytes(from: utf8)
    storage[utf8.count] = 0
  }

  deinit { storage.deallocate() }

  var bytes: slu_bytes { slu_bytes(ptr: storage.baseAddress, len: UInt64(storage.count - 1)) }
}
