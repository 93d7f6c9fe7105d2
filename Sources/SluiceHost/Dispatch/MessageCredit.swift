import Synchronization

/// How many messages more a plugin takes (`set_credit`). One word, so that what a delivery takes and gives back is of one
/// credit: of the one before, or of the one that has replaced it, whole.
///
///     bits 63 … 33   epoch: how often it was set
///     bit  32        limited: it was set since the instance was made
///     bits 31 … 0    messages, if it is limited
struct MessageCredit: ~Copyable, Sendable {
  private static let limited: UInt64 = 1 << 32
  private static let epochShift: UInt64 = 33
  private let word = Atomic<UInt64>(0)

  private static func messages(_ word: UInt64) -> UInt64 { word & UInt64(UInt32.max) }

  /// Rises with every `set`: that ends a wait which SLU_BUSY began.
  var epoch: UInt64 { word.load(ordering: .acquiring) >> MessageCredit.epochShift }

  /// How many messages the plugin takes yet.
  var room: Int {
    let word = word.load(ordering: .relaxed)
    return word & MessageCredit.limited == 0 ? .max : Int(MessageCredit.messages(word))
  }

  /// Takes these from what is left. Returns whose epoch's they are.
  func use(_ messages: Int) -> UInt64 {
    var now = word.load(ordering: .acquiring)
    while now & MessageCredit.limited != 0 {
      let taken = min(UInt64(messages), MessageCredit.messages(now))
      let (exchanged, other) = word.compareExchange(
        expected: now, desired: now - taken, ordering: .acquiringAndReleasing)
      if exchanged { break }
      now = other
    }
    return now >> MessageCredit.epochShift
  }

  /// The plugin took none of them: gives them back, unless a newer credit has replaced that of `epoch`.
  func giveBack(_ messages: Int, to epoch: UInt64) {
    var now = word.load(ordering: .relaxed)
    while now & MessageCredit.limited != 0, now >> MessageCredit.epochShift == epoch {
      let missing = UInt64(UInt32.max) - MessageCredit.messages(now)
      let (exchanged, other) = word.compareExchange(
        expected: now, desired: now + min(UInt64(messages), missing), ordering: .relaxed)
      if exchanged { return }
      now = other
    }
  }

  /// From any thread.
  func set(_ messages: UInt32) {
    var now = word.load(ordering: .relaxed)
    while true {
      let epoch = (now >> MessageCredit.epochShift &+ 1) << MessageCredit.epochShift
      let (exchanged, other) = word.compareExchange(
        expected: now, desired: epoch | MessageCredit.limited | UInt64(messages), ordering: .acquiringAndReleasing)
      if exchanged { return }
      now = other
    }
  }

  /// What an instance said is nothing for the next.
  func forget() { word.bitwiseAnd(~(MessageCredit.limited | UInt64(UInt32.max)), ordering: .relaxed) }
}
