import SluiceCore

/// HELLO: who the client is and what it wants.
package struct WireHello: Equatable, Sendable {
  package var versionMin = WireLayout.version
  package var versionMax = WireLayout.version
  /// A `WireIntegrity`, or a number that is none.
  package var integrity = WireIntegrity.crc32c.rawValue
  /// A `WireAuthentication`, or a number that is none.
  package var authentication = WireAuthentication.none.rawValue
  package var epoch: UInt16
  package var featuresWanted: UInt32 = 0
  package var featuresRequired: UInt32 = 0
  /// The largest frame that the client takes.
  package var maxFrame = UInt32(Limits.defaultWireClientFrameBytes)
  package var stream: String
  package var producer: String
  package var identity = ""
  package var credential: [UInt8] = []
  package var fingerprint = ""
  package var software = ""
  /// With challenge–response 32 random bytes; else nothing, which is sent as zeros.
  package var clientNonce: [UInt8] = []

  static let fixedBytes = 72
  private static let texts = 28

  package init(stream: String = "", producer: String = "", epoch: UInt16 = 0) {
    self.stream = stream
    self.producer = producer
    self.epoch = epoch
  }

  package init(_ body: UnsafeRawBufferPointer) throws(WireFault) {
    let fields = try WireFields(body, atLeast: Self.fixedBytes)
    guard fields.u64(0) == WireLayout.magic else { throw WireFault(.magic, "not this protocol") }
    var at = try fields.fixedLength(at: 8, atLeast: Self.fixedBytes)
    versionMin = fields.u8(10)
    versionMax = fields.u8(11)
    integrity = fields.u8(12)
    authentication = fields.u8(13)
    epoch = fields.u16(14)
    featuresWanted = fields.u32(16)
    featuresRequired = fields.u32(20)
    maxFrame = fields.u32(24)
    let nonceIsUsed = authentication == WireAuthentication.challenge.rawValue
    guard nonceIsUsed || (0..<4).allSatisfy({ fields.u64(40 + 8 * $0) == 0 }) else {
      throw WireFault(.protocolViolation, "client_nonce is not zero")
    }
    if nonceIsUsed { clientNonce = fields.copy(40, count: Limits.identityKeyBytes) }
    stream = try fields.text(&at, fields.u16(Self.texts), "stream")
    producer = try fields.text(&at, fields.u16(Self.texts + 2), "producer")
    identity = try fields.text(&at, fields.u16(Self.texts + 4), "identity")
    credential = Array(
      try fields.bytes(&at, fields.u16(Self.texts + 6), "credential", limit: Limits.maxWireCredentialBytes))
    fingerprint = try fields.text(&at, fields.u16(Self.texts + 8), "fingerprint")
    software = try fields.text(&at, fields.u16(Self.texts + 10), "software")
  }
}

/// WELCOME: the handshake is done.
package struct WireWelcome: Equatable, Sendable {
  package var version = WireLayout.version
  package var durability: Durability
  package var integrity = WireIntegrity.crc32c.rawValue
  package var maxChannels: UInt16
  package var features: UInt32 = 0
  package var maxFrame: UInt32
  /// The largest producer part that the server takes.
  package var maxPart: UInt32
  /// 0 = never.
  package var idleTimeoutMilliseconds: UInt32
  /// Of channel 0's producer: the last sequence that is durable.
  package var lastSequence: UInt64
  package var serverTime: Int64
  package var credit: WireCredit
  package var logUUID: LogUUID
  package var stream: String
  package var software: String
  /// With challenge–response; nothing stands for zeros.
  package var serverSignature: [UInt8] = []

  static let fixedBytes = 112
  /// In the order of their numbers from 1 on.
  static let durabilities: [Durability] = [.memory, .written, .fsync]

  package init(
    durability: Durability, maxChannels: UInt16, maxFrame: UInt32, maxPart: UInt32, idleTimeoutMilliseconds: UInt32,
    lastSequence: UInt64, serverTime: Int64, credit: WireCredit, logUUID: LogUUID, stream: String, software: String
  ) {
    self.durability = durability
    self.maxChannels = maxChannels
    self.maxFrame = maxFrame
    self.maxPart = maxPart
    self.idleTimeoutMilliseconds = idleTimeoutMilliseconds
    self.lastSequence = lastSequence
    self.serverTime = serverTime
    self.credit = credit
    self.logUUID = logUUID
    self.stream = stream
    self.software = software
  }

  package init(_ body: UnsafeRawBufferPointer) throws(WireFault) {
    let fields = try WireFields(body, atLeast: Self.fixedBytes)
    var at = try fields.fixedLength(at: 0, atLeast: Self.fixedBytes)
    version = fields.u8(2)
    let number = Int(fields.u8(3))
    guard (1...Self.durabilities.count).contains(number) else {
      throw WireFault(.protocolViolation, "durability \(number)")
    }
    durability = Self.durabilities[number - 1]
    integrity = fields.u8(4)
    maxChannels = fields.u16(6)
    features = fields.u32(8)
    maxFrame = fields.u32(12)
    maxPart = fields.u32(16)
    idleTimeoutMilliseconds = fields.u32(20)
    lastSequence = fields.u64(24)
    serverTime = Int64(bitPattern: fields.u64(32))
    credit = WireCredit(bytes: fields.u64(40), records: fields.u64(48))
    guard fields.u8(5) == 0, fields.u32(60) == 0 else { throw WireFault(.protocolViolation, "WELCOME's zeros are not") }
    logUUID = LogUUID(high: fields.u64(64).byteSwapped, low: fields.u64(72).byteSwapped)
    let signature = fields.copy(80, count: Limits.identityKeyBytes)
    serverSignature = signature.allSatisfy { $0 == 0 } ? [] : signature
    stream = try fields.text(&at, fields.u16(56), "stream")
    software = try fields.text(&at, fields.u16(58), "software")
  }
}

/// CHALLENGE and PROOF: a nonce, and what was made of it.
package struct WireProof: Equatable, Sendable {
  /// 32 bytes.
  package var bytes: [UInt8]

  static let fixedBytes = 40

  package init(_ bytes: [UInt8]) { self.bytes = bytes }

  package init(_ body: UnsafeRawBufferPointer) throws(WireFault) {
    let fields = try WireFields(body, atLeast: Self.fixedBytes)
    _ = try fields.fixedLength(at: 0, atLeast: Self.fixedBytes)
    guard fields.u16(2) == 0, fields.u32(4) == 0 else {
      throw WireFault(.protocolViolation, "the zeros of a challenge or proof are not")
    }
    bytes = fields.copy(8, count: Limits.identityKeyBytes)
  }
}

/// OPEN: another producer on a channel of its own.
package struct WireOpen: Equatable, Sendable {
  package var epoch: UInt16
  package var producer: String

  static let fixedBytes = 8

  package init(producer: String, epoch: UInt16) {
    self.producer = producer
    self.epoch = epoch
  }

  package init(_ body: UnsafeRawBufferPointer) throws(WireFault) {
    let fields = try WireFields(body, atLeast: Self.fixedBytes)
    var at = try fields.fixedLength(at: 0, atLeast: Self.fixedBytes)
    epoch = fields.u16(2)
    guard fields.u16(6) == 0 else { throw WireFault(.protocolViolation, "OPEN's zero is not") }
    producer = try fields.text(&at, fields.u16(4), "producer")
  }
}

/// OPENED: the producer is the channel's.
package struct WireOpened: Equatable, Sendable {
  package var epoch: UInt16
  package var lastSequence: UInt64

  static let fixedBytes = 16

  package init(epoch: UInt16, lastSequence: UInt64) {
    self.epoch = epoch
    self.lastSequence = lastSequence
  }

  package init(_ body: UnsafeRawBufferPointer) throws(WireFault) {
    let fields = try WireFields(body, atLeast: Self.fixedBytes)
    _ = try fields.fixedLength(at: 0, atLeast: Self.fixedBytes)
    guard fields.u32(4) == 0 else { throw WireFault(.protocolViolation, "OPENED's zero is not") }
    epoch = fields.u16(2)
    lastSequence = fields.u64(8)
  }
}

/// NACK: a record that was not taken.
package struct WireNack: Equatable, Sendable {
  /// A `WireNackCode`, or one of a later version.
  package var code: UInt16
  /// Class 2: never will be. Otherwise it may be sent again, from `expected` on.
  package var isPermanent: Bool
  package var sequence: UInt64
  package var expected: UInt64
  package var retryAfterMilliseconds: UInt32
  package var text: String

  static let fixedBytes = 32

  package init(
    _ code: WireNackCode, sequence: UInt64, expected: UInt64, retryAfterMilliseconds: UInt32 = 0, text: String = ""
  ) {
    self.code = code.rawValue
    isPermanent = code.isPermanent
    self.sequence = sequence
    self.expected = expected
    self.retryAfterMilliseconds = retryAfterMilliseconds
    self.text = text
  }

  package init(_ body: UnsafeRawBufferPointer) throws(WireFault) {
    let fields = try WireFields(body, atLeast: Self.fixedBytes)
    var at = try fields.fixedLength(at: 0, atLeast: Self.fixedBytes)
    code = fields.u16(2)
    guard (1...2).contains(fields.u8(4)), fields.u8(5) == 0, fields.u32(28) == 0 else {
      throw WireFault(.protocolViolation, "NACK's class or zeros")
    }
    isPermanent = fields.u8(4) == 2
    sequence = fields.u64(8)
    expected = fields.u64(16)
    retryAfterMilliseconds = fields.u32(24)
    text = try fields.text(&at, fields.u16(6), "text", limit: Limits.maxWireTextBytes)
  }
}

/// CREDIT: what the client may have sent in DATA frames since WELCOME, in all.
package struct WireCredit: Equatable, Sendable {
  package var bytes: UInt64
  package var records: UInt64

  package init(bytes: UInt64, records: UInt64) {
    self.bytes = bytes
    self.records = records
  }

  package init(_ body: UnsafeRawBufferPointer) throws(WireFault) {
    let fields = try WireFields(body, atLeast: 16)
    bytes = fields.u64(0)
    records = fields.u64(8)
  }
}

/// GOAWAY, BYE and ERROR: an end and why.
package struct WireEnd: Equatable, Sendable {
  /// A `WireErrorCode`, one of a later version, or 0 for none.
  package var code: UInt16
  package var scope: WireScope
  package var retryAfterMilliseconds: UInt32
  /// Depends on the code.
  package var value: UInt64
  package var text: String

  static let fixedBytes = 24

  package init(
    _ code: WireErrorCode? = nil, scope: WireScope = .connection, retryAfterMilliseconds: UInt32 = 0, value: UInt64 = 0,
    text: String = ""
  ) {
    self.code = code?.rawValue ?? 0
    self.scope = scope
    self.retryAfterMilliseconds = retryAfterMilliseconds
    self.value = value
    self.text = text
  }

  package init(_ body: UnsafeRawBufferPointer) throws(WireFault) {
    let fields = try WireFields(body, atLeast: Self.fixedBytes)
    var at = try fields.fixedLength(at: 0, atLeast: Self.fixedBytes)
    code = fields.u16(2)
    guard let scope = WireScope(rawValue: fields.u8(4)), fields.u8(5) == 0, fields.u32(12) == 0 else {
      throw WireFault(.protocolViolation, "the scope or zeros of an end")
    }
    self.scope = scope
    retryAfterMilliseconds = fields.u32(8)
    value = fields.u64(16)
    text = try fields.text(&at, fields.u16(6), "text", limit: Limits.maxWireTextBytes)
  }
}
