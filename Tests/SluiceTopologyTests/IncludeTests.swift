import SluiceTopology
import Testing

private func load(_ directory: TemporaryDirectory, _ main: String) throws -> TopologyResult {
  TopologyLoader.load(path: try directory.write("main.yaml", main), environment: [:], plugins: FakePlugins())
}

@Test func includedFilesAddTheirStreamsSourcesAndSubscribers() throws {
  let directory = try TemporaryDirectory()
  _ = try directory.write("conf/b.yaml", "streams: { b: {} }\ndaemon: { data: ./d }\n")
  _ = try directory.write("conf/a.yaml", "sluice: 1\nstreams:\n  a: {}\nsources:\n")
  let topology = try load(directory, "sluice: 1\ninclude: [ conf/*.yaml ]\nstreams: { m: {} }\n").get()
  #expect(topology.streams.map(\.name) == ["m", "a", "b"])
  #expect(topology.daemon.data == "\(directory.path)/conf/d")
  #expect(topology.files.count == 3)
}

@Test func aNameInTwoFilesIsAnErrorThatNamesBothPlaces() throws {
  let directory = try TemporaryDirectory()
  let other = try directory.write("other.yaml", "streams:\n  other: {}\n  events: {}\n")
  let errors = try load(directory, "sluice: 1\ninclude: other.yaml\nstreams:\n  events: {}\n").errors
  #expect(errors.count == 1)
  #expect(errors[0].file == other)
  #expect(errors[0].line == 3 && errors[0].column == 3)
  #expect(errors[0].message == "'events' is already defined at \(directory.path)/main.yaml:4:3")
}

@Test func aKeyThatCanNotBeMergedStandsInOneFileOnly() throws {
  let directory = try TemporaryDirectory()
  _ = try directory.write("other.yaml", "daemon: {}\n")
  let errors = try load(directory, "sluice: 1\ndaemon: {}\ninclude: other.yaml\n").errors
  #expect(errors.map(\.message) == ["'daemon' is already defined at \(directory.path)/main.yaml:2:1"])
}

@Test func filesThatIncludeEachOtherAreRefused() throws {
  let directory = try TemporaryDirectory()
  _ = try directory.write("a.yaml", "include: b.yaml\n")
  _ = try directory.write("b.yaml", "include: [ ./a.yaml ]\n")
  let errors = try load(directory, "sluice: 1\ninclude: a.yaml\n").errors
  #expect(errors.count == 1)
  #expect(errors[0].message.contains("a circle of files"))
  #expect(errors[0].file == "\(directory.path)/b.yaml")
}

@Test func aFileThatIsIncludedTwiceIsRefused() throws {
  let directory = try TemporaryDirectory()
  _ = try directory.write("a.yaml", "streams: { a: {} }\n")
  let errors = try load(directory, "sluice: 1\ninclude: [ a.yaml, '*a.yaml' ]\n").errors
  #expect(errors.count == 1)
  #expect(errors[0].message.contains("is included twice"))
}

@Test func errorsInIncludedFilesStandInThoseFiles() throws {
  let directory = try TemporaryDirectory()
  let other = try directory.write("other.yaml", "streams:\n  a: { rnig: 8MiB }\n")
  let errors = try load(directory, "sluice: 1\ninclude: other.yaml\nextra: 1\n").errors
  #expect(errors.map(\.file) == ["\(directory.path)/main.yaml", other])
  #expect(errors.map(\.line) == [3, 2])
}

@Test func aPatternThatFindsNothingIsAWarning() throws {
  let directory = try TemporaryDirectory()
  let result = try load(directory, "sluice: 1\ninclude: none/*.yaml\nstreams: {}\n")
  _ = try result.get()
  #expect(result.diagnostics.map(\.severity) == [.warning])
}

@Test func aFileThatIsNotThereOrIsNoFileIsAnErrorNotACrash() throws {
  let directory = try TemporaryDirectory()
  let missing = TopologyLoader.load(path: "\(directory.path)/none.yaml", environment: [:], plugins: FakePlugins())
  #expect(missing.errors.map(\.message) == ["the file can't be read: no such file or directory"])
  let folder = TopologyLoader.load(path: directory.path, environment: [:], plugins: FakePlugins())
  #expect(folder.errors.map(\.message) == ["the file can't be read: it is a directory"])
  let device = try load(directory, "sluice: 1\ninclude: /dev/zero\n")
  #expect(device.errors.first?.message.contains("not a regular file") == true)
}
