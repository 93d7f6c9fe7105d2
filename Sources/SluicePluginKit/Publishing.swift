import CSluice

/// A record that a subscriber makes out of one that it was given. Borrows its bytes for the call it is passed to.
public struct Publication {
  /// Index in `Subscriber.outputs`.
  public var output: Int
  /// Token of the message that it was made from, not settled yet.
  public var parent: UInt64
  /// Tells the children of one parent apart; number them the same way in every attempt.
  public var ordinal: UInt64
  /// When it happened, ns since 1970; 0: when the parent did.
  public var eventTime: Int64 = 0
  /// Any bytes.
  public var topic = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Any bytes.
  public var key = UnsafeRawBufferPointer(start: nil, count: 0)
  /// In the raw form of the ABI: what `slu_headers_append` writes.
  public var headers = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Any bytes.
  public var payload: UnsafeRawBufferPointer

  /// A record without topic, key and headers.
  public init(output: Int, parent: UInt64, ordinal: UInt64, payload: UnsafeRawBufferPointer) {
    self.output = output
    self.parent = parent
    self.ordinal = ordinal
    self.payload = payload
  }

  /// What became of it.
  public enum Outcome: Sendable, Equatable {
    /// Taken, copied; the parent may be settled.
    case taken
    /// The target stream takes nothing now.
    case busy
    /// The topology maps no stream to the output.
    case unmapped
    /// An unknown output, a token that is not open, a record too large, or malformed headers.
    case invalid
    /// The daemon does not serve it.
    case unsupported
  }
}

extension Host {
  /// Publishes one record. May block while the target stream is full.
  public func publish(_ publication: Publication) -> Publication.Outcome {
    var item = slu_publication()
    item.struct_size = UInt32(MemoryLayout<slu_publication>.size)
    item.output = UInt32(clamping: publication.output)
    item.parent_token = publication.parent
    item.ordinal = publication.ordinal
    item.event_time_ns = publication.eventTime
    item.topic = slu_bytes(publication.topic)
    item.key = slu_bytes(publication.key)
    item.headers = slu_bytes(publication.headers)
    item.payload = slu_bytes(publication.payload)
    switch table.pointee.publish(table.pointee.context, &item, 1, item.struct_size) {
    case SLU_OK: return .taken
    case SLU_BUSY: return .busy
    case SLU_E_CONFIG: return .unmapped
    case SLU_E_UNSUPPORTED: return .unsupported
    default: return .invalid
    }
  }
}

extension slu_bytes {
  fileprivate init(_ buffer: UnsafeRawBufferPointer) {
    self.init(ptr: buffer.baseAddress, len: UInt64(buffer.count))
  }
}
