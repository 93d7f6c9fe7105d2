import SluiceTopology
import Testing

@Test func aPointerIntoTheConfigLeadsToItsValueOrTheNearestAroundIt() {
  let here = SourcePosition(file: "a.yaml", line: 9, column: 3)
  var settings = SubscriberSettings(name: "s", plugin: "disk", streams: ["e"], position: here)
  #expect(settings.position(ofPointer: "/x") == here)
  let root = SourcePosition(file: "a.yaml", line: 10, column: 5)
  let item = SourcePosition(file: "a.yaml", line: 12, column: 9)
  settings.configPositions.value = ["": root, "/list/0": item]
  #expect(settings.position(ofPointer: "/list/0/name") == item)
  #expect(settings.position(ofPointer: "/list/1") == root)
  #expect(settings.position(ofPointer: "nonsense") == root)
}
