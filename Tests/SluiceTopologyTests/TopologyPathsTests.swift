import SluiceCore
import Testing

@testable import SluiceTopology

@Suite struct TopologyPathsTests {
  @Test func everyRelativePathIsMadeAbsoluteAndAbsoluteOnesStay() {
    var topology = Topology(
      file: "conf/sluice.yaml", daemon: DaemonSettings(), streams: [], sources: [], subscribers: [],
      texts: SourceTexts())
    topology.daemon.data = "conf/data"
    topology.daemon.plugins = ["conf/plugins", "/opt/plugins"]
    topology.daemon.logTarget = .file("conf/log")
    topology.subscribers = ["disk", "conf/x.so"].map {
      SubscriberSettings(
        name: "s", plugin: $0, streams: [], position: SourcePosition(file: "conf/sluice.yaml", line: 1, column: 1))
    }
    let absolute = topology.absolute(from: "/home/me")
    #expect(absolute.daemon.data == "/home/me/conf/data")
    #expect(absolute.daemon.plugins == ["/home/me/conf/plugins", "/opt/plugins"])
    #expect(absolute.daemon.logTarget == .file("/home/me/conf/log"))
    #expect(absolute.subscribers.map(\.plugin) == ["disk", "/home/me/conf/x.so"])
    #expect(topology.directory == "conf")
  }
}
