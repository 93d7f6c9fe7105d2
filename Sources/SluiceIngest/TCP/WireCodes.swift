/// Why a record was not taken. From 128 on for good; below, it may be sent again.
package enum WireNackCode: UInt16, Sendable, CaseIterable {
  case fullRing = 1
  case fullRetention, fullDisk, quota, checksum, gap, draining
  case tooLarge = 128
  case forbidden, malformed

  package var isPermanent: Bool { rawValue >= WireNackCode.tooLarge.rawValue }

  package var label: String {
    switch self {
    case .fullRing: "full_ring"
    case .fullRetention: "full_retention"
    case .fullDisk: "full_disk"
    case .quota: "quota"
    case .checksum: "checksum"
    case .gap: "gap"
    case .draining: "draining"
    case .tooLarge: "too_large"
    case .forbidden: "forbidden"
    case .malformed: "malformed"
    }
  }
}

/// Why a connection or a channel ends.
package enum WireErrorCode: UInt16, Sendable, CaseIterable {
  case protocolViolation = 1
  case magic, version, frameTooLarge, integrity, authRequired, authFailed, authInsecure, integrityRequired, feature
  case streamUnknown, forbidden, fenced, superseded, channel, credit, idle, draining, busy
  /// Reserved. A fault of this server's own ends the process, and with it every connection: it could not vouch for what it
  /// says any more. A client understands it, because another server may send it.
  case internalFault

  /// Whether connecting again, unchanged, can succeed.
  package var mayTryAgain: Bool {
    switch self {
    case .integrity, .idle, .draining, .busy, .internalFault: true
    default: false
    }
  }

  package var label: String {
    switch self {
    case .protocolViolation: "protocol"
    case .magic: "magic"
    case .version: "version"
    case .frameTooLarge: "frame_too_large"
    case .integrity: "integrity"
    case .authRequired: "auth_required"
    case .authFailed: "auth_failed"
    case .authInsecure: "auth_insecure"
    case .integrityRequired: "integrity_required"
    case .feature: "feature"
    case .streamUnknown: "stream_unknown"
    case .forbidden: "forbidden"
    case .fenced: "fenced"
    case .superseded: "superseded"
    case .channel: "channel"
    case .credit: "credit"
    case .idle: "idle"
    case .draining: "draining"
    case .busy: "busy"
    case .internalFault: "internal"
    }
  }
}

/// What protects the frames after the handshake.
package enum WireIntegrity: UInt8, Sendable, CaseIterable {
  case crc32c = 1
  case sha256, hmacSHA256
}

/// How a client says who it is.
package enum WireAuthentication: UInt8, Sendable, CaseIterable {
  case none = 0
  case bearer, challenge
}

/// What an ERROR ends.
package enum WireScope: UInt8, Sendable {
  case connection = 1
  case channel = 2
}
