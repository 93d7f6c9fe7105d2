// The header fields that mean something here. No imports: the fuzz targets compile this file alone.

/// What has been seen of a request's fields; all but `close` may stand once.
struct SeenFields: OptionSet {
  let rawValue: UInt16
  static var host: SeenFields { SeenFields(rawValue: 1) }
  static var contentLength: SeenFields { SeenFields(rawValue: 2) }
  static var transferEncoding: SeenFields { SeenFields(rawValue: 4) }
  static var contentEncoding: SeenFields { SeenFields(rawValue: 8) }
  static var expect: SeenFields { SeenFields(rawValue: 16) }
  static var topic: SeenFields { SeenFields(rawValue: 32) }
  static var key: SeenFields { SeenFields(rawValue: 64) }
  static var time: SeenFields { SeenFields(rawValue: 128) }
  /// `Connection: close`, which may stand more than once.
  static var close: SeenFields { SeenFields(rawValue: 256) }
  static var producer: SeenFields { SeenFields(rawValue: 512) }
  static var epoch: SeenFields { SeenFields(rawValue: 1024) }
  static var sequence: SeenFields { SeenFields(rawValue: 2048) }
  static var authorization: SeenFields { SeenFields(rawValue: 4096) }
  static var fingerprint: SeenFields { SeenFields(rawValue: 8192) }
}

extension HTTPRequestParser {
  /// Takes note of a field if it is one of those; the length and the first letter of its name rule out most.
  @inline(__always)
  mutating func note(_ name: UnsafeRawBufferPointer, _ span: ByteSpan, _ base: UnsafeRawPointer) -> HTTPRefusal? {
    let value = UnsafeRawBufferPointer(start: base + Int(span.start), count: Int(span.count))
    switch (name.count, name[0] | 0x20) {
    case (4, UInt8(ascii: "h")) where HTTPBytes.equals(name, ignoringCase: "host"):
      for byte in value where !HTTPBytes.isHost(byte) { return .badHost }
      head.host = span
      return once(.host)
    case (6, UInt8(ascii: "a")) where HTTPBytes.equals(name, ignoringCase: "accept"):
      if head.accept.isEmpty { head.accept = span }
    case (6, UInt8(ascii: "e")) where HTTPBytes.equals(name, ignoringCase: "expect"):
      guard HTTPBytes.equals(value, ignoringCase: "100-continue") else { return .unknownExpectation }
      head.expectsContinue = head.minorVersion == 1
      return once(.expect)
    case (10, UInt8(ascii: "c")) where HTTPBytes.equals(name, ignoringCase: "connection"):
      connection(value)
    case (10, UInt8(ascii: "s")) where HTTPBytes.equals(name, ignoringCase: "sluice-key"):
      head.key = span
      return once(.key)
    case (11, UInt8(ascii: "s")) where HTTPBytes.equals(name, ignoringCase: "sluice-time"):
      head.time = span
      return once(.time)
    case (12, UInt8(ascii: "s")) where HTTPBytes.equals(name, ignoringCase: "sluice-topic"):
      head.topic = span
      return once(.topic)
    case (12, UInt8(ascii: "s")) where HTTPBytes.equals(name, ignoringCase: "sluice-epoch"):
      head.epoch = span
      return once(.epoch)
    case (15, UInt8(ascii: "s")) where HTTPBytes.equals(name, ignoringCase: "sluice-producer"):
      head.producer = span
      return once(.producer)
    case (15, UInt8(ascii: "s")) where HTTPBytes.equals(name, ignoringCase: "sluice-sequence"):
      head.sequence = span
      return once(.sequence)
    case (13, UInt8(ascii: "a")) where HTTPBytes.equals(name, ignoringCase: "authorization"):
      head.authorization = span
      return once(.authorization)
    case (18, UInt8(ascii: "s")) where HTTPBytes.equals(name, ignoringCase: "sluice-fingerprint"):
      head.fingerprint = span
      return once(.fingerprint)
    case (14, UInt8(ascii: "c")) where HTTPBytes.equals(name, ignoringCase: "content-length"):
      guard let length = decimal(value) else { return .badContentLength }
      head.contentLength = length
      return once(.contentLength)
    case (16, UInt8(ascii: "c")) where HTTPBytes.equals(name, ignoringCase: "content-encoding"):
      head.coding = coding(value)
      return once(.contentEncoding)
    case (17, UInt8(ascii: "t")) where HTTPBytes.equals(name, ignoringCase: "transfer-encoding"):
      guard HTTPBytes.equals(value, ignoringCase: "chunked") else { return .badTransferEncoding }
      head.isChunked = true
      return once(.transferEncoding)
    default:
      break
    }
    return nil
  }

  @inline(__always)
  private mutating func once(_ field: SeenFields) -> HTTPRefusal? {
    guard !seen.contains(field) else { return .duplicateHeader }
    seen.insert(field)
    return nil
  }

  /// Digits and nothing else. A length of more than 18 digits is taken for the largest number: too large, whatever
  /// the limit is.
  private func decimal(_ text: UnsafeRawBufferPointer) -> Int? {
    guard !text.isEmpty else { return nil }
    var value = 0
    for byte in text {
      guard isDigit(byte) else { return nil }
      value = value > Int.max / 10 - 1 ? Int.max : value * 10 + Int(byte - UInt8(ascii: "0"))
    }
    return value
  }

  /// The coding of a list that names one beside `identity`, which changes nothing.
  private func coding(_ list: UnsafeRawBufferPointer) -> HTTPCoding {
    var coding = HTTPCoding.identity
    var start = 0
    while start < list.count {
      let name = element(of: list, from: &start)
      if name.isEmpty || HTTPBytes.equals(name, ignoringCase: "identity") { continue }
      guard coding == .identity else { return .other }
      if HTTPBytes.equals(name, ignoringCase: "gzip") || HTTPBytes.equals(name, ignoringCase: "x-gzip") {
        coding = .gzip
      } else {
        coding = HTTPBytes.equals(name, ignoringCase: "zstd") ? .zstd : .other
      }
    }
    return coding
  }

  /// The element of a list at `start`, which moves behind its comma, without the blanks around it.
  private func element(of list: UnsafeRawBufferPointer, from start: inout Int) -> UnsafeRawBufferPointer {
    var first = start
    var last = start
    while last < list.count, list[last] != UInt8(ascii: ",") { last += 1 }
    start = last + 1
    while first < last, isBlank(list[first]) { first += 1 }
    while last > first, isBlank(list[last - 1]) { last -= 1 }
    return UnsafeRawBufferPointer(rebasing: list[first..<last])
  }

  /// `close` wins over everything; `keep-alive` matters on HTTP/1.0; other options are for proxies.
  private mutating func connection(_ list: UnsafeRawBufferPointer) {
    var start = 0
    while start < list.count {
      let option = element(of: list, from: &start)
      if HTTPBytes.equals(option, ignoringCase: "close") {
        seen.insert(.close)
        head.keepAlive = false
      } else if head.minorVersion == 0, HTTPBytes.equals(option, ignoringCase: "keep-alive") {
        head.keepAlive = !seen.contains(.close)
      }
    }
  }
}
