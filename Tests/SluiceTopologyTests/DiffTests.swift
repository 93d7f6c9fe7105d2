import Testing

@testable import SluiceTopology

@Test func theSameTopologyWrittenInAnotherWayIsUntouched() throws {
  let other = """
    # a comment
    sluice: 1
    subscribers:
      archive:
        config: { rotate: 65536KiB, path: "./out" }
        streams: [ "events" ]
        plugin: disk
    sources:
      api: { stream: events, listen: "127.0.0.1:8080", type: http, topic: api }
    streams:
      events: { ring: 65536KiB }
    """
  let diff = TopologyDiff(from: try load(minimal).get(), to: try load(other).get())
  #expect(diff.isEmpty)
  #expect(diff.streams.untouched == ["events", "dead"])
  #expect(diff.subscribers.untouched == ["archive"])
}

@Test func whatIsAddedRemovedAndChangedIsNamed() throws {
  let other = """
    sluice: 1
    daemon: { data: ./elsewhere }
    streams:
      audit: {}
      events: { retain: { age: 1d } }
    sources:
      web: { type: http, listen: "127.0.0.1:8080", stream: events }
    subscribers:
      archive: { plugin: disk, streams: [ events ], config: { path: ./out, format: raw } }
    """
  let old = try load(minimal).get()
  let new = try load(other).get()
  let diff = TopologyDiff(from: old, to: new)
  #expect(diff.streams == .init(added: ["audit"], changed: ["events"], untouched: ["dead"], removed: []))
  #expect(diff.sources == .init(added: ["web"], changed: [], untouched: [], removed: ["api"]))
  #expect(diff.subscribers.changed == ["archive"])
  #expect(diff.daemonChanged && !diff.identitiesChanged && !diff.isEmpty)
  let back = TopologyDiff(from: new, to: old)
  #expect(back.streams.removed == ["audit"] && back.sources.added == ["api"])
}

@Test func anotherSecretIsAChange() throws {
  let text = minimal.replacing("disk", with: "s3").replacing("path: ./out", with: "secret_key: \"${KEY}\"")
  let old = try load(text, environment: ["KEY": "hunter22"]).get()
  let new = try load(text, environment: ["KEY": "hunter23"]).get()
  #expect(TopologyDiff(from: old, to: new).subscribers.changed == ["archive"])
}
