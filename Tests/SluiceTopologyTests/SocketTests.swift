import SluiceCore
import Testing

@testable import SluiceTopology

private func source(_ text: String) throws -> SourceSettings {
  let topology = try load("sluice: 1\nstreams: { events: {} }\nsources: { in: { stream: events, \(text) } }\n").get()
  return topology.sources[0]
}

@Test func aSourceOfDatagramsListensBesideOneOfConnections() throws {
  let topology = try load(
    """
    sluice: 1
    streams: { events: {} }
    sources:
      a: { type: udp, listen: "127.0.0.1:514", stream: events }
      b: { type: tcp, framing: syslog, listen: "127.0.0.1:514", stream: events }
      c: { type: udp, framing: messages, listen: ":515", stream: events, auth: none }
    """
  ).get()
  #expect(topology.sources.map(\.framing) == [.syslog, .syslog, .messages])
  #expect(topology.sources.map { $0.listen?.transport } == [.udp, .tcp, .udp])
}

@Test func whatIsNotSaidOfASocketHasItsDefault() throws {
  let settings = try source(#"type: tcp, listen: "127.0.0.1:1""#).socket
  #expect(settings == SocketOptions() && settings.noDelay && settings.keepalive?.idleSeconds == 60)
}

@Test func everyOptionOfASocketIsRead() throws {
  var wanted = SocketOptions()
  wanted.noDelay = false
  wanted.keepalive?.idleSeconds = 30
  wanted.keepalive?.intervalSeconds = 5
  wanted.keepalive?.probes = 3
  wanted.userTimeoutMilliseconds = 90_500
  wanted.receiveBufferBytes = 1 << 20
  wanted.sendBufferBytes = 64 << 10
  wanted.backlog = 128
  wanted.lingerSeconds = 6
  let all = """
    type: http, listen: "127.0.0.1:1", socket: { nodelay: false, user_timeout: 90s500ms, receive_buffer: 1MiB,
      send_buffer: 64KiB, backlog: 128, linger: 5500ms, keepalive: { idle: 30s, interval: 5s, probes: 3 } }
    """
  #expect(try source(all).socket == wanted)
  #expect(try source(#"type: tcp, listen: "127.0.0.1:1", socket: { keepalive: false }"#).socket.keepalive == nil)
  let datagrams = try source(#"type: udp, listen: "127.0.0.1:1", socket: { receive_buffer: 8MiB }"#).socket
  #expect(datagrams.receiveBufferBytes == 8 << 20)
}
