import Testing

@testable import SluiceHost

/// The rows of the table of slots.
@Suite struct SlotTableTests {
  private typealias Place = SlotTable.Place

  /// Where each of two slots is then; nil: a fault.
  private func end(_ events: (inout SlotTable) throws(PacketFault) -> Void) -> [Place]? {
    var table = SlotTable(count: 2)
    do throws(PacketFault) { try events(&table) } catch { return nil }
    return table.places
  }

  private func deliver(_ table: inout SlotTable, _ isRetained: Bool) throws(PacketFault) {
    _ = table.take()
    try table.end(isRetained: isRetained)
  }

  @Test("Taking, staging, and taking what was staged")
  func takeAndStage() throws {
    #expect(end { _ = $0.take() } == [.delivered, .free])
    #expect(end { _ = $0.stage() } == [.staged, .free])
    #expect(
      end { table throws(PacketFault) in
        _ = table.take()
        _ = table.stage()
      } == [.delivered, .staged])
    #expect(
      end { table throws(PacketFault) in
        _ = table.stage()
        table.unstage()
      } == [.free, .free])
    #expect(
      end { table throws(PacketFault) in
        _ = table.take()
        _ = table.stage()
        try table.end(isRetained: true)
        _ = table.take()
      } == [.retained, .delivered], "what is staged is taken, and counts as free until then")
    var one = SlotTable(count: 1)
    #expect(one.take() == 0 && one.stage() == nil)
  }

  @Test("The end of a delivery")
  func endOfDelivery() throws {
    #expect(end { table throws(PacketFault) in try deliver(&table, false) } == [.free, .free])
    #expect(end { table throws(PacketFault) in try deliver(&table, true) } == [.retained, .free])
    #expect(
      end { table throws(PacketFault) in
        try deliver(&table, true)
        try deliver(&table, true)
      } == nil)
    for (isRetained, places) in [(true, [Place.free, .free]), (false, nil)] {
      #expect(
        end { table throws(PacketFault) in
          _ = table.take()
          try table.release(0)
          try table.end(isRetained: isRetained)
        } == places)
    }
    var one = SlotTable(count: 1)
    _ = one.take()
    #expect(throws: PacketFault.self) { try one.end(isRetained: true) }
  }

  @Test("The release of a slot")
  func release() throws {
    #expect(end { table throws(PacketFault) in try table.release(0) } == nil)
    #expect(end { table throws(PacketFault) in try table.release(2) } == nil)
    #expect(
      end { table throws(PacketFault) in
        _ = table.stage()
        try table.release(0)
      } == nil)
    #expect(
      end { table throws(PacketFault) in
        _ = table.take()
        try table.release(0)
      } == [.givenUp, .free])
    #expect(
      end { table throws(PacketFault) in
        try deliver(&table, true)
        try table.release(0)
      } == [.free, .free])
    #expect(
      end { table throws(PacketFault) in
        _ = table.take()
        try table.release(0)
        try table.release(0)
      } == nil)
  }
}
