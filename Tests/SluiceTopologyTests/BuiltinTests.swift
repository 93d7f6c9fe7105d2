import SluiceTopology
import Testing

private func builtin(_ environment: [String: String]) -> TopologyResult {
  TopologyLoader.load(
    text: BuiltinTopology.yaml(environment: environment), name: BuiltinTopology.name, environment: environment,
    plugins: FakePlugins())
}

@Test func theBuiltInTopologyWorksWithNothingSet() throws {
  let topology = try builtin([:]).get()
  #expect(topology.daemon.data == "data" && topology.daemon.eventLoops == nil)
  #expect(topology.sources.map { $0.listen?.description } == ["0.0.0.0:8080"])
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

@Test func aBufferSizeIsABoundOnTheSubscribersLag() {
  let yaml = BuiltinTopology.yaml(environment: ["BUFFER_SIZE": "1000"])
  #expect(yaml.contains("    max_lag:\n      records: ${BUFFER_SIZE}\n      then: reject\n    config:"))
  #expect(!BuiltinTopology.yaml(environment: ["BUFFER_SIZE": ""]).contains("max_lag"))
}

@Test func theExampleThatIsInstalledLoads() throws {
  let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
  let result = TopologyLoader.load(path: "/\(root)/etc/sluice.yaml", environment: [:], plugins: FakePlugins())
  let topology = try result.get()
  #expect(result.diagnostics.isEmpty, "\(Diagnostic.rendered(result.diagnostics))")
  #expect(topology.subscribers.count >= 1 && topology.sources.count >= 1)
}
