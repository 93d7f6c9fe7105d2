import NIOCore
import NIOEmbedded
import SluiceCore
import Testing

@testable import SluiceIngest

/// Connections of one loop without sockets; time stands still unless the test moves it.
final class HTTPHarness {
  let stream: FakeStream
  let loop: HTTPLoop
  let eventLoop = EmbeddedEventLoop()
  let counters = HTTPCounters()

  init(
    _ durability: Durability = .memory, maxRecordBytes: Int = 1 << 20, isAdmin: Bool = false, isReady: Bool = true,
    adjust: (inout HTTPSourceOptions) -> Void = { _ in }
  ) {
    stream = FakeStream(durability, maxRecordBytes: maxRecordBytes)
    var options = HTTPSourceOptions(name: "api", defaultTopic: "web", maxBodyBytes: 4096)
    adjust(&options)
    let settings = HTTPSettings(options, stream: isAdmin ? nil : stream, endpoints: FakeEndpoints(isReady: isReady))
    loop = HTTPLoop(eventLoop: eventLoop, settings: settings, counters: counters)
    loop.open()
  }

  /// Another loop of the same source.
  init(on stream: FakeStream) {
    self.stream = stream
    let options = HTTPSourceOptions(name: "api", defaultTopic: "web", maxBodyBytes: 4096)
    let settings = HTTPSettings(options, stream: stream, endpoints: FakeEndpoints())
    loop = HTTPLoop(eventLoop: eventLoop, settings: settings, counters: counters)
    loop.open()
  }

  /// A metric of this loop, with the label that tells it from others of its name.
  func value(_ name: String, _ label: String? = nil) -> Double? {
    let family = HTTPCounters.families(source: "api", [counters]).first { $0.name == name }
    return family?.samples.first { label == nil || $0.labels.last?.1 == label }?.value
  }

  func connect() throws -> TestConnection {
    let channel = EmbeddedChannel(loop: eventLoop)
    try channel.pipeline.syncOperations.addHandler(HTTPConnection(loop: loop))
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    return TestConnection(channel: channel)
  }

  /// Makes what was submitted durable and lets the loop notice.
  func commit() {
    stream.commit()
    eventLoop.run()
  }
}

struct TestConnection {
  let channel: EmbeddedChannel

  /// Bytes arrive in one read, and the tick ends.
  func receive(_ text: String) throws { try receive(Array(text.utf8)) }

  func receive(_ bytes: [UInt8]) throws {
    try push(bytes)
    channel.embeddedEventLoop.run()
  }

  /// Bytes arrive in one read; the tick goes on.
  func push(_ bytes: [UInt8]) throws {
    channel.pipeline.fireChannelRead(ByteBuffer(bytes: bytes))
    channel.pipeline.fireChannelReadComplete()
  }

  /// Everything that was sent since the last call.
  func sent() throws -> String {
    var all = ByteBuffer()
    while var next = try channel.readOutbound(as: ByteBuffer.self) { all.writeBuffer(&next) }
    return String(buffer: all)
  }

  /// The same as responses.
  func responses() throws -> [TestResponse] { try TestResponse.parse(sent()) }
  var isOpen: Bool { channel.isActive }
}

/// A response, read strictly by its `Content-Length`.
struct TestResponse: Equatable {
  var status: Int
  var headers: [String: String]
  var body: String

  static func parse(_ text: String) throws -> [TestResponse] {
    var all: [TestResponse] = []
    var rest = Substring(text)
    while !rest.isEmpty {
      let end = try #require(rest.firstRange(of: "\r\n\r\n"))
      let lines = rest[..<end.lowerBound].split(separator: "\r\n", omittingEmptySubsequences: false)
      let status = try #require(Int(lines[0].split(separator: " ")[1]))
      var headers: [String: String] = [:]
      for line in lines.dropFirst() {
        let colon = try #require(line.firstRange(of: ": "))
        headers[line[..<colon.lowerBound].lowercased()] = String(line[colon.upperBound...])
      }
      rest = rest[end.upperBound...]
      // What answers HEAD has a length and no body: the next answer follows at once.
      let hasBody = status != 100 && !rest.hasPrefix("HTTP/1.1 ")
      let length = hasBody ? try #require(headers["content-length"].flatMap { Int($0) }) : 0
      let bodyEnd = try #require(rest.utf8.index(rest.startIndex, offsetBy: length, limitedBy: rest.endIndex))
      let body = String(rest[..<bodyEnd])
      rest = rest[bodyEnd...]
      all.append(TestResponse(status: status, headers: headers, body: body))
    }
    return all
  }
}

/// A well-formed `POST /log`.
func post(_ body: String, headers: String = "", path: String = "/log") -> String {
  "POST \(path) HTTP/1.1\r\nHost: x\r\n\(headers)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
}
