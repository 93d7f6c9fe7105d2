import SluiceCore
import SluiceTopology
import Testing

private let postgres = """
  {"type": "object", "additionalProperties": false, "required": ["url"], "properties": {
    "url": {"type": "string", "x-sluice-secret": true}, "table": {"type": "string"}}}
  """

private func builtin(_ environment: [String: String]) -> TopologyResult {
  TopologyLoader.load(
    text: BuiltinTopology.yaml(environment: environment), name: BuiltinTopology.name, environment: environment,
    plugins: FakePlugins(["postgres": postgres]))
}

@Test func theBuiltInTopologyWorksWithNothingSet() throws {
  let topology = try builtin([:]).get()
  #expect(topology.daemon.data == "data" && topology.daemon.eventLoops == nil)
  #expect(topology.sources.map { $0.listen?.description } == ["0.0.0.0:8080", "127.0.0.1:7400"])
  #expect(topology.sources.map(\.kind) == [.http, .tcp] && topology.subscribers.map(\.name) == ["disk"])
  #expect(topology.streams[0].retainBytes == 1 << 30)
  #expect(topology.subscribers[0].configJSON.hasPrefix(#"{"path":"./data/out","format":"ndjson""#))
}

@Test func theBuiltInTopologyListensOnADDRWithSoManyWorkers() throws {
  let topology = try builtin(["ADDR": "127.0.0.1:9000", "WORKER_COUNT": "3"]).get()
  #expect(topology.sources[0].listen?.port == 9000 && topology.daemon.eventLoops == 3)
}

@Test func whatIsWrongInTheEnvironmentIsSaidAtItsPlaceInTheBuiltInTopology() {
  let errors = builtin(["ADDR": "nonsense: { a: b }", "WORKER_COUNT": "many"]).errors
  #expect(errors.map(\.file) == ["built-in", "built-in"])
  #expect(errors.map { $0.rendered().contains("${") } == [true, true])
}

@Test func aBufferSizeIsABoundOnEverySubscribersLag() throws {
  let environment = ["BUFFER_SIZE": "1000", "DATABASE_URL": "postgresql://u:p@h/d"]
  let topology = try builtin(environment).get()
  #expect(topology.subscribers.map(\.name) == ["disk", "postgres"])
  #expect(topology.subscribers.map { $0.maxLag?.records } == [1000, 1000])
  #expect(topology.subscribers.allSatisfy { $0.maxLag?.then == .reject })
  #expect(!BuiltinTopology.yaml(environment: ["BUFFER_SIZE": ""]).contains("max_lag"))
}

@Test func aDatabaseURLMakesASubscriberOfItWhateverCharactersItHas() throws {
  for url in ["postgresql://u:p@h/d", "host=h password='a: {b} # \"c\"'", "8080", "${X}"] {
    let topology = try builtin(["DATABASE_URL": url]).get()
    let sink = try #require(topology.subscribers.first { $0.name == "postgres" })
    let written = url.replacing("\"", with: "\\\"")
    #expect(sink.plugin == "postgres" && sink.configJSON.contains("\"url\":\"\(written)\""), "\(sink.configJSON)")
    #expect(sink.configJSON.contains("\"table\":\"logs\"") && sink.maxLag == nil)
  }
  #expect(!BuiltinTopology.yaml(environment: ["DATABASE_URL": ""]).contains("postgres"))
}

@Test func theExampleThatIsInstalledLoads() throws {
  let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
  let result = TopologyLoader.load(path: "/\(root)/etc/sluice.yaml", environment: [:], plugins: FakePlugins())
  let topology = try result.get()
  #expect(result.diagnostics.isEmpty, "\(Diagnostic.rendered(result.diagnostics))")
  #expect(topology.subscribers.count >= 1 && topology.sources.count >= 1)
}
