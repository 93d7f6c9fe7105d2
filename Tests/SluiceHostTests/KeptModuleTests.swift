import Foundation
import SluiceCore
import Testing

@testable import SluiceHost

/// The copy that a plugin's processes load, when somebody removes it.
@Suite struct KeptModuleTests {
  private let home = TemporaryDirectory()

  private func plugin() throws -> LoadedPlugin {
    let file = "\(Fixtures.directory("recorder"))/libsluice-recorder.so"
    let own = home.folder("plugins") + "/libsluice-recorder.so"
    try FileManager.default.copyItem(atPath: file, toPath: own)
    return try PluginLibrary(searchPaths: [], stateDirectory: home.folder("state")).load(own, place: .process)
  }

  @Test("A copy that is removed is made again when a process is started")
  func isMadeAgain() throws {
    let plugin = try plugin()
    Paths.remove(home.path + "/state")
    #expect(plugin.validate(configJSON: "{}").isEmpty && Paths.exists(plugin.loadedPath))
    Paths.remove(home.path + "/state")
    let rig = try SubscriberRig("recorder", plugin: plugin)
    rig.reader.append(["m0"])
    try rig.subscriber.start()
    #expect(rig.reader.waitUntilSettled(below: 2, seconds: 60))
    #expect(rig.stop(seconds: 60) == .stopped && rig.messages.count == 1)
  }

  @Test("Where the file is another by then, what is said is what happened and what helps")
  func isNotMadeOfOtherContent() throws {
    let plugin = try plugin()
    Files.write("no module", to: plugin.path)
    let rig = try SubscriberRig("recorder", plugin: plugin)
    try rig.subscriber.start()
    #expect(rig.stop(seconds: 60) == .stopped, "the copy is there")
    Paths.remove(home.path + "/state")
    let other = try SubscriberRig("recorder", plugin: plugin)
    let error = #expect(throws: HostError.self) { try other.subscriber.start() }
    #expect(error?.message.contains("the file is another now") == true, "\(String(describing: error))")
    let findings = plugin.validate(configJSON: "{}")
    #expect(findings.contains { $0.text.contains("the file is another now") }, "\(findings)")
  }
}
