import SluiceCore

// `sources.*.socket`:
//
//   nodelay         true or false
//   keepalive       false, or { idle: duration, interval: duration, probes: number }
//   user_timeout    duration
//   linger          duration; of sources that answer
//   receive_buffer  size; the only one that UDP has
//   send_buffer     size
//   backlog         number
extension TopologyReader {
  static let tcpSocketKeys = ["nodelay", "keepalive", "user_timeout", "receive_buffer", "send_buffer", "backlog"]
  static let answeringSocketKeys = tcpSocketKeys + ["linger"]
  static let udpSocketKeys = ["receive_buffer"]

  /// What a source's sockets are told; the defaults for what is not given.
  func socketOptions(
    _ source: Section, _ kind: SourceSettings.Kind, _ framing: SourceSettings.Framing
  ) -> SocketOptions {
    var options = SocketOptions()
    let known =
      kind == .udp ? Self.udpSocketKeys : framing == .sluice ? Self.answeringSocketKeys : Self.tcpSocketKeys
    guard let node = source["socket"],
      let section = Section(node, path: source.path(of: "socket"), known: known, sink: sink)
    else { return options }
    options.receiveBufferBytes = section.size("receive_buffer", in: Limits.socketBufferBytes)
    guard kind != .udp else { return options }
    options.sendBufferBytes = section.size("send_buffer", in: Limits.socketBufferBytes)
    options.noDelay = flag(section, "nodelay") ?? options.noDelay
    options.backlog = section.integer("backlog", in: 1...Limits.maxListenBacklog) ?? options.backlog
    options.userTimeoutMilliseconds = section.duration("user_timeout", in: Limits.userTimeoutNanoseconds).map {
      Int($0 / 1_000_000)
    }
    if framing == .sluice, let linger = section.duration("linger", in: Limits.lingerNanoseconds) {
      options.lingerSeconds = Int((linger + 999_999_999) / 1_000_000_000)
    }
    if let node = section["keepalive"] { options.keepalive = keepalive(node, section) }
    return options
  }

  private func flag(_ section: Section, _ key: String) -> Bool? {
    guard let node = section[key] else { return nil }
    return section.word(node, section.path(of: key), of: ["true", "false"]).map { $0 == "true" }
  }

  private func keepalive(_ node: YAMLNode, _ parent: Section) -> SocketOptions.Keepalive? {
    var keepalive = SocketOptions.Keepalive()
    if case .scalar(let scalar) = node.content {
      switch scalar.value {
      case .bool(false): return nil
      case .bool(true): return keepalive
      default: break
      }
    }
    guard
      let section = Section(
        node, path: parent.path(of: "keepalive"), known: ["idle", "interval", "probes"], sink: sink)
    else { return keepalive }
    keepalive.idleSeconds = seconds(section, "idle") ?? keepalive.idleSeconds
    keepalive.intervalSeconds = seconds(section, "interval") ?? keepalive.intervalSeconds
    keepalive.probes = section.integer("probes", in: 1...Limits.maxKeepaliveProbes) ?? keepalive.probes
    return keepalive
  }

  /// The kernel counts keepalives in seconds.
  private func seconds(_ section: Section, _ key: String) -> Int? {
    section.duration(key, in: Limits.keepaliveNanoseconds).map { Int($0 / 1_000_000_000) }
  }
}
