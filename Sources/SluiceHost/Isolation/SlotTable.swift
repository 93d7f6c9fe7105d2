// Who has which slot of the memory that a plugin's process reads batches from. What the process says of it is not believed:
//
//   event              free        staged      delivered      retained    given up
//   stage              staged      –           –              –           –           none is free: nil
//   unstage            –           free        –              –           –
//   take               delivered ¹ delivered   –              –           –           none is either: nil
//   end, not retained  –           –           free           –           fault
//   end, retained      –           –           retained ²     –           free
//   release            fault       fault       given up       free        fault
//
//   ¹ if none is staged
//   ² a fault if no slot is free or staged then: there would be none for the next batch, and the process was told how many
//     there are.
//
// One is delivered at a time, and one staged: written before its delivery, while the one before is delivered. A thread of the plugin's may release what `deliver` has retained before the daemon hears that it
// was retained: that is what "given up" is for. After a fault the table is not used any more.

struct SlotTable {
  enum Place { case free, staged, delivered, retained, givenUp }

  private(set) var places: [Place]

  init(count: Int) { places = Array(repeating: .free, count: count) }

  mutating func take() -> Int? {
    assert(!places.contains(.delivered) && !places.contains(.givenUp), "one batch is delivered at a time")
    guard let slot = places.firstIndex(of: .staged) ?? places.firstIndex(of: .free) else { return nil }
    places[slot] = .delivered
    return slot
  }

  mutating func stage() -> Int? {
    assert(!places.contains(.staged), "one batch is staged at a time")
    guard let slot = places.firstIndex(of: .free) else { return nil }
    places[slot] = .staged
    return slot
  }

  mutating func unstage() {
    if let slot = places.firstIndex(of: .staged) { places[slot] = .free }
  }

  /// `deliver` has returned.
  mutating func end(isRetained: Bool) throws(PacketFault) {
    guard let slot = places.firstIndex(where: { $0 == .delivered || $0 == .givenUp }) else {
      preconditionFailure("what ends was begun")
    }
    switch (places[slot], isRetained) {
    case (.delivered, true):
      guard places.contains(.free) || places.contains(.staged) else {
        throw PacketFault("more batches retained than there is room for")
      }
      places[slot] = .retained
    case (.givenUp, false): throw PacketFault("the release of a batch that was not retained")
    default: places[slot] = .free
    }
  }

  mutating func release(_ slot: Int) throws(PacketFault) {
    guard places.indices.contains(slot) else { throw PacketFault("the release of a batch that there is not") }
    switch places[slot] {
    case .delivered: places[slot] = .givenUp
    case .retained: places[slot] = .free
    case .free, .staged, .givenUp: throw PacketFault("the release of a batch that was not retained")
    }
  }
}
