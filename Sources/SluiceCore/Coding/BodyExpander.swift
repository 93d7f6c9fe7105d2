// Expands compressed bodies. What comes out is bounded before it is made: a bomb costs no more than the largest body.
//
//   body    = one or more gzip members (RFC 1952), or one or more zstd frames (RFC 8878), and nothing behind them
//   begin ──► check (zstd: the frame's header) ──► run ⇄ grow ──► end ─┬─► begin      another member or frame follows
//                                                                      └─► expanded   the body is used up
//   every state ──► fault
//
// Members and frames cost time even when they are empty, so a body has at most `Limits.maxBodyMembers` of them. What a body
// cost is told (`costBytes`), so that who expands many can let others have a turn.
//
// Decoders and the room are made at their first use and kept, so that nothing is allocated per body in the steady state.

internal import CSluiceSystem

/// One per event loop; used by that alone.
package struct BodyExpander: ~Copyable {
  /// The largest window that a zstd frame may have: what RFC 9659 grants the coding in HTTP.
  package static var windowLog: Int32 { 23 }
  /// The least room that is made.
  private static var firstRoom: Int { 64 << 10 }

  // Made by this struct and freed by its deinit; it can't be copied, so nobody else has them.
  private var gzip: OpaquePointer?
  private var zstd: OpaquePointer?
  private var room = UnsafeMutableRawBufferPointer(start: nil, count: 0)

  /// What the last `expand` cost, whatever became of it: bytes read and made, and `Limits.bodyMemberCostBytes` for each
  /// member or frame.
  package private(set) var costBytes = 0

  package init() {}

  deinit {
    csluice_decoder_free(gzip)
    csluice_decoder_free(zstd)
    room.deallocate()
  }

  /// What the room takes, which is kept: one byte more than the largest limit so far, at most.
  package var roomBytes: Int { room.count }

  /// Whether bodies in this coding can be expanded. The first call may read files.
  package static func expands(_ coding: ContentCoding) -> Bool {
    switch coding {
    case .identity: true
    case .gzip: csluice_coding_is_here(CSLUICE_GZIP)
    case .zstd: csluice_coding_is_here(CSLUICE_ZSTD)
    }
  }

  /// What `body`, in a coding that `expands`, expands to: at most `limit` bytes, valid until the next call. Throws as soon
  /// as the limit is passed.
  package mutating func expand(
    _ body: UnsafeRawBufferPointer, _ coding: ContentCoding, limit: Int
  ) throws(ExpansionFault) -> UnsafeRawBufferPointer {
    guard let decoder = decoder(coding) else {
      if coding == .identity { return body }
      throw .noMemory
    }
    var used = 0
    var made = 0
    var members = 0
    defer { costBytes = used + made + members * Limits.bodyMemberCostBytes }
    repeat {
      let rest = UnsafeRawBufferPointer(rebasing: body[used...])
      if used > 0, !begins(rest, coding) { throw .trailingBytes }
      guard members < Limits.maxBodyMembers else { throw .tooManyMembers }
      members += 1
      var declared: Int?
      if coding == .zstd {
        declared = try ZstdFrame.contentBytes(rest, limit: limit - made, maxWindowBytes: 1 << Self.windowLog)
      }
      guard csluice_decoder_begin(decoder) else { throw .noMemory }
      try run(decoder, body, &used, &made, declared.map { made + $0 }, limit: limit)
    } while used < body.count
    return UnsafeRawBufferPointer(rebasing: room[..<made])
  }

  /// One member or frame. `declared`: where its bytes end by its own word. How far libzstd goes beyond that depends on the
  /// buffer that it has from before, so that is not left to it.
  private mutating func run(
    _ decoder: OpaquePointer, _ body: UnsafeRawBufferPointer, _ used: inout Int, _ made: inout Int,
    _ declared: Int?, limit: Int
  ) throws(ExpansionFault) {
    let most = declared ?? limit
    while true {
      // One byte more than allowed, so that a body of just the limit ends within.
      if made == room.count { grow(towards: limit + 1, for: body.count) }
      let end = min(room.count, most + 1)
      let result = csluice_decoder_run(
        decoder, body.baseAddress.map { $0 + used }, body.count - used, room.baseAddress.map { $0 + made }, end - made)
      used += result.consumed
      made += result.produced
      guard made <= most else { throw declared == nil ? .tooLarge : .notDecodable }
      if result.outcome == CSLUICE_DECODED {
        // libzstd lets a frame end early if its last block is empty.
        guard declared == nil || made == most else { throw .notDecodable }
        return
      }
      guard result.outcome == CSLUICE_DECODING else { throw .notDecodable }
      if result.consumed == 0, result.produced == 0 {
        throw used == body.count ? .cutShort : .notDecodable
      }
    }
  }

  /// Doubles the room, to `bound` at most, and keeps what is in it.
  private mutating func grow(towards bound: Int, for bytes: Int) {
    let count = max(room.count + 1, min(bound, max(2 * room.count, 4 * bytes, Self.firstRoom)))
    let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
    larger.copyMemory(from: UnsafeRawBufferPointer(room))
    room.deallocate()
    room = larger
  }

  private func begins(_ rest: UnsafeRawBufferPointer, _ coding: ContentCoding) -> Bool {
    if coding == .zstd { return ZstdFrame.begins(rest) }
    return rest[0] == 0x1F && (rest.count < 2 || rest[1] == 0x8B)
  }

  private mutating func decoder(_ coding: ContentCoding) -> OpaquePointer? {
    switch coding {
    case .identity: return nil
    case .gzip:
      if gzip == nil { gzip = csluice_decoder_make(CSLUICE_GZIP, Self.windowLog) }
      return gzip
    case .zstd:
      if zstd == nil { zstd = csluice_decoder_make(CSLUICE_ZSTD, Self.windowLog) }
      return zstd
    }
  }
}
