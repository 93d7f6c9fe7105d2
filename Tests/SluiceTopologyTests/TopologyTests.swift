import SluiceCore
import Testing

@testable import SluiceTopology

/// Loads without a look at whether sources that ask who sends can be told.
private func loadAll(_ text: String) -> TopologyResult {
  TopologyLoader.load(
    bytes: Array(text.utf8), name: "etc/t.yaml", environment: [:], plugins: FakePlugins(),
    checksAuthentication: false)
}

@Test func defaultsAreThoseOfTheReference() throws {
  let topology = try load(minimal).get()
  #expect(topology.daemon.data == "data")
  #expect(topology.daemon.admin == nil && topology.daemon.eventLoops == nil)
  #expect(topology.daemon.logLevel == .info && topology.daemon.logTarget == .stdout)
  let stream = try #require(topology.stream(named: "events"))
  #expect(stream.durability == .fsync && stream.whenFull == .reject && stream.onCorruption == .gap)
  #expect(stream.ringBytes == 64 << 20 && stream.segmentBytes == 64 << 20 && stream.maxRecordBytes == 1 << 20)
  #expect(stream.retainBytes == 10 << 30 && stream.retainAgeNanoseconds == nil)
  #expect(stream.cursorExpiryNanoseconds == Limits.cursorExpiryNanoseconds && stream.commitLingerNanoseconds == 0)
  let source = topology.sources[0]
  #expect(source.kind == .http && source.topic == "api" && source.authentication == .optional)
  #expect(source.listen == ListenAddress(host: "127.0.0.1", port: 8080))
  let subscriber = topology.subscribers[0]
  #expect(subscriber.batch == .init(records: 4096, bytes: 1 << 20, waitNanoseconds: 50_000_000))
  #expect(subscriber.retry == .init(firstNanoseconds: 100_000_000, maxNanoseconds: 30_000_000_000, attempts: nil))
  #expect(subscriber.order == .relaxed && subscriber.isolation == .automatic && subscriber.start == .oldest)
  #expect(subscriber.configJSON == #"{"path":"./out","format":"ndjson","rotate":67108864}"#)
}

@Test func theBuiltInStreamForDeadRecordsIsThereWhenSomebodyNeedsIt() throws {
  let topology = try load(minimal).get()
  let dead = try #require(topology.stream(named: "dead"))
  #expect(dead.isBuiltin && dead.retainBytes == 1 << 30 && dead.ringBytes == 4 * dead.maxRecordBytes)
  let own = try load(minimal.replacing("events: {}", with: "events: {}\n  dead: { durability: written }")).get()
  #expect(own.stream(named: "dead")?.isBuiltin == false)
  #expect(own.streams.count == 2)
}

@Test func theWholeVocabularyIsReadAndChecked() throws {
  let topology = try loadAll(
    """
    sluice: 1
    daemon:
      data: /var/lib/sluice
      plugins: [ ./plugins, /opt/p ]
      admin: 127.0.0.1:9400
      event_loops: 2
      log: { level: debug, format: json, to: { file: ./log/sluice.log } }
    identities: ./identities.yaml
    streams:
      events:
        { durability: written, ring: 128MiB, segment: 32MiB, retain: { bytes: 1GiB, age: 7d, cursors: 30d }, when_full: block,
          block_timeout: 2s, max_record: 4MiB, commit: { linger: 5ms }, on_corruption: halt }
      anomalies: {}
      lost: { when_full: drop_oldest }
    sources:
      modules: { type: tcp, listen: "0.0.0.0:7400", stream: events, tls: { cert: c.pem, key: /k.pem, client_ca: ca.pem } }
      local: { type: tcp, listen: "[::1]:7401", stream: events, framing: lines, block_timeout: 1s }
      api: { type: http, listen: ":8080", stream: events, auth: required, topic: web, max_body: 8MiB,
             header_timeout: 5s, body_timeout: 7s, idle_timeout: 1m, max_connections: 10 }
    subscribers:
      archive:
        plugin: disk
        streams: [ events ]
        match: { source: [ api, local ], topic: "audit.*", json: { level: [ error, 5 ], user.name: x } }
        batch: { records: 1, bytes: 2MiB, wait: 0s }
        retry: { first: 1s, max: 1m, attempts: 3 }
        order: strict
        max_lag: { bytes: 5GiB, records: 10, age: 1h, then: gap }
        ack_deadline: 60s
        publish: { results: anomalies }
        dead_letter: lost
        isolation: { process: { user: nobody, memory: 256MiB } }
        start: 2026-08-01T10:00:00Z
        config: { path: x }
    """
  ).get()
  #expect(topology.daemon.plugins == ["etc/plugins", "/opt/p"])
  #expect(topology.daemon.logTarget == .file("etc/log/sluice.log"))
  #expect(topology.identities == "etc/identities.yaml")
  let events = topology.streams[0]
  #expect(events.whenFull == .block && events.blockTimeoutNanoseconds == 2_000_000_000)
  #expect(events.commitLingerNanoseconds == 5_000_000 && events.onCorruption == .halt)
  #expect(events.retainAgeNanoseconds == 604_800_000_000_000)
  #expect(events.cursorExpiryNanoseconds == 30 * 86_400_000_000_000)
  #expect(topology.streams.count == 3)
  let modules = topology.sources[0]
  #expect(modules.authentication == .required, "TCP off loopback asks for authentication unless told otherwise")
  #expect(modules.tls?.client == .required && modules.tls?.minimumVersion == .tls12, "a CA is there to be asked for")
  #expect(modules.tlsFiles == .init(certificate: "etc/c.pem", key: "/k.pem", clientCA: "etc/ca.pem"))
  #expect(modules.blockTimeoutNanoseconds == 2_000_000_000, "the stream's, when the source has none")
  #expect(topology.sources[1].authentication == .optional)
  #expect(topology.sources[1].blockTimeoutNanoseconds == 1_000_000_000)
  #expect(topology.sources[2].maxBodyBytes == 8 << 20 && topology.sources[2].maxConnections == 10)
  let archive = topology.subscribers[0]
  #expect(archive.match?.sources == ["api", "local"] && archive.match?.topics == ["audit.*"])
  #expect(archive.match?.members[0] == .init(path: "level", values: [.string("error"), .integer(5)]))
  #expect(archive.maxLag == .init(bytes: 5 << 30, records: 10, ageNanoseconds: 3_600_000_000_000, then: .gap))
  #expect(archive.publish == [.init(output: "results", stream: "anomalies")])
  #expect(archive.isolation == .process(user: "nobody", memoryBytes: 256 << 20))
  #expect(archive.start == .time(1_785_578_400_000_000_000))
  #expect(archive.retry.attempts == 3 && archive.deadLetter == "lost")
}

@Test func whatTheJournalServesPassesTheListOfWhatIsNotServed() throws {
  let text = "events: { commit: { linger: 5ms }, on_corruption: halt, retain: { cursors: 1m } }"
  let stream = try #require(try load(minimal.replacing("events: {}", with: text)).get().stream(named: "events"))
  #expect(stream.commitLingerNanoseconds == 5_000_000 && stream.onCorruption == .halt)
  #expect(stream.cursorExpiryNanoseconds == 60_000_000_000)
}

@Test func streamsInACircleAreAnErrorWhereTheCircleCloses() {
  let errors = loadAll(
    """
    sluice: 1
    streams: { a: {}, b: {}, c: {} }
    subscribers:
      one: { plugin: disk, streams: [ a ], config: { path: x }, publish: { out: b } }
      two: { plugin: disk, streams: [ b ], config: { path: x }, publish: { out: c } }
      three: { plugin: disk, streams: [ c ], config: { path: x }, dead_letter: a }
    """
  ).errors
  #expect(errors.map(\.message) == ["streams in a circle: a → one → b → two → c → three → a"])
  #expect(errors.map(\.line) == [6])
}

@Test func aSubscriberThatWritesToItsOwnStreamIsACircle() {
  let own = minimal.replacing("    config", with: "    publish: { out: events }\n    config")
  #expect(loadAll(own).errors.map(\.message) == ["streams in a circle: events → archive → events"])
  let dead = minimal.replacing("[ events ]", with: "[ dead ]")
  #expect(loadAll(dead).errors.map(\.message) == ["streams in a circle: dead → archive → dead"])
}

@Test func whatASubscriberMatchesHasToExist() {
  let errors = loadAll(minimal.replacing("    config", with: "    match: { source: ap }\n    config")).errors
  #expect(errors.map(\.suggestion) == ["api"])
  #expect(errors.map(\.column) == [22])
}

@Test func errorsBeyondTheLimitAreCounted() {
  let keys = (0..<150).map { "bad\($0): 1\n" }.joined()
  let all = load("sluice: 1\n" + keys).diagnostics
  #expect(all.count == Limits.maxDiagnostics + 1)
  #expect(all.last?.message == "50 more findings are not shown")
}

@Test func aDiagnosticIsShownWithItsLineItsCaretAndWhatToDo() throws {
  let errors = load("sluice: 1\nstreams:\n  events:\n    durability: fsnc\n").errors
  #expect(
    try #require(errors.first).rendered() == """
      t.yaml:4:17: error: streams.events.durability can't be the string 'fsnc'
          4 |     durability: fsnc
            |                 ^~~~
            = expected: memory, written or fsync
            = did you mean 'fsync'?
      """)
  #expect(errors[0].rendered(colour: true).hasPrefix("\u{1B}[1mt.yaml:4:17:\u{1B}[0m \u{1B}[1;31merror:\u{1B}[0m"))
}

@Test func aLongLineIsShownAroundTheCaretAndControlCharactersAreNotShown() throws {
  let text = "sluice: 1\nstreams: { a: {} } #\(String(repeating: "x", count: 500))\nbad: \"\u{9B}31m\"\n"
  let bad = try #require(load(text).errors.first)
  #expect(!bad.rendered().contains("\u{9B}"))
  let long =
    "sluice: 1\nstreams: { \(String(repeating: "a", count: 60)): {}, \(String(repeating: "b: {}, ", count: 1))"
    + String(repeating: " ", count: 400) + "c: { x: 1 } }\n"
  let error = try #require(load(long).errors.first)
  let excerpt = try #require(error.excerpt)
  #expect(excerpt.line.unicodeScalars.count <= 170)
  let characters = Array(excerpt.line)
  #expect(characters[excerpt.column - 1] == "x")
}

@Test func aTopologyShowsItsLinesForLaterFindingsToo() throws {
  let topology = try load(minimal).get()
  let place = topology.subscribers[0].position(ofPointer: "/path")
  let shown = topology.diagnostic(at: place, .error, "the directory is not writable", help: "chown it").rendered()
  #expect(shown.contains("t.yaml:10:21: error: the directory is not writable"))
  #expect(shown.contains("config: { path: ./out }"))
}
