import SluiceCore
import Synchronization

/// Of the refusals of one (source, identity), one is told per interval, with how many were not. Of those who claim a name that
/// is no identity's, one per source: however many they make up, there is a place for those that are.
package final class RefusalLog: Sendable {
  package struct Refusal: Sendable, Equatable {
    package var source: String
    /// As it was claimed; empty: nobody was named.
    package var identity: String
    package var address: String
    package var reason: String
    /// Refusals of both since the last that was told.
    package var untold: Int
  }

  private struct Entry {
    var toldAt: Int64
    var untold = 0
  }

  private let entries = Mutex<[String: Entry]>([:])
  private let tell: @Sendable (Refusal) -> Void

  package init(tell: @escaping @Sendable (Refusal) -> Void) { self.tell = tell }

  package func refused(
    source: String, identity: String, isKnown: Bool, address: String, reason: String, at now: Int64
  ) {
    let identity = Self.isName(identity) ? identity : ""
    let untold = entries.withLock { entries -> Int? in
      var key = "\(source)\n\(isKnown ? identity : "")"
      if entries[key] == nil, entries.count >= Limits.maxRefusalLogEntries {
        entries = entries.filter { now - $0.value.toldAt < Limits.refusalLogNanoseconds }
        if entries.count >= Limits.maxRefusalLogEntries { key = "\n" }
      }
      if let entry = entries[key], now - entry.toldAt < Limits.refusalLogNanoseconds {
        entries[key]?.untold += 1
        return nil
      }
      let untold = entries[key]?.untold ?? 0
      entries[key] = Entry(toldAt: now)
      return untold
    }
    guard let untold else { return }
    tell(Refusal(source: source, identity: identity, address: address, reason: reason, untold: untold))
  }

  /// What strangers claim may be anything; a log shows what can be a name.
  private static func isName(_ text: String) -> Bool {
    text.utf8.count <= Limits.maxNameCharacters
      && text.utf8.allSatisfy { byte in
        byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
          || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
      }
  }
}
