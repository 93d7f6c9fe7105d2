import DaemonTestSupport
import Foundation
import Testing

/// Sends datagrams to a port of this machine.
private func sendDatagrams(_ texts: [String], port: Int) {
  let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
  defer { close(descriptor) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = in_port_t(port).bigEndian
  address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  for text in texts {
    let sent = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(descriptor, text, text.utf8.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    #expect(sent == text.utf8.count)
  }
}

@Suite struct SyslogTests {
  private func delivered(_ folder: TemporaryFolder) -> [[String: Any]] {
    let out = folder.path + "/out"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: out)) ?? []
    return names.filter { $0.hasSuffix(".ndjson") }.sorted().flatMap { name in
      let text = FileManager.default.contents(atPath: out + "/" + name).map { String(decoding: $0, as: UTF8.self) }
      return (text ?? "").split(separator: "\n").compactMap {
        try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
      }
    }
  }

  @Test("Syslog over TCP and UDP is delivered with its topic, and a reload takes sources of both away and brings them")
  func overBoth() throws {
    let folder = TemporaryFolder()
    var sketch = Sketch()
    sketch.sources = """
        stream: { type: tcp, framing: syslog, listen: "127.0.0.1:0", stream: events }
        grams: { type: udp, listen: "127.0.0.1:0", stream: events, socket: { receive_buffer: 256KiB } }
      """
    let daemon = try #require(Daemon(topology: sketch.write(to: folder)))
    let (tcp, udp) = (try #require(daemon.ports["stream"]), try #require(daemon.ports["grams"]))
    do {
      let connection = try #require(HTTPConnection(port: tcp))
      #expect(connection.send("<34>1 2026-01-04T10:22:33Z web-1 su - ID47 - one\n12 <30>app: two<191>x: three"))
    }
    sendDatagrams(["<13>four", "five"], port: udp)
    #expect(eventually { delivered(folder).count == 5 })
    let topics = Set(delivered(folder).compactMap { $0["topic"] as? String })
    #expect(topics == ["auth.crit", "daemon.info", "local7.debug", "user.notice", "grams"])
    sketch.sources = """
        grams: { type: udp, framing: messages, listen: "127.0.0.1:0", stream: events, topic: raw }
        more: { type: udp, listen: "127.0.0.1:0", stream: events }
      """
    sketch.write(to: folder)
    let outcome = reload(folder)
    #expect(outcome.status == 0, "\(outcome.text)")
    sendDatagrams(["<13>six"], port: udp)
    #expect(eventually { delivered(folder).count == 6 })
    #expect(delivered(folder).filter { $0["topic"] as? String == "raw" }.count == 1)
    #expect(names(try status(folder), "sources").sorted() == ["api", "grams", "more"])
    #expect(daemon.stop() == 0)
  }
}
