import Glibc

/// How a source treats its sockets, and what the kernel is told about them. Each default has its reason beside it.
package struct SocketOptions: Sendable, Equatable {
  /// When a silent peer is asked whether it is still there, and when it is given up.
  package struct Keepalive: Sendable, Equatable {
    package var idleSeconds = 60
    package var intervalSeconds = 10
    package var probes = 6

    package init() {}
  }

  /// An answer leaves at once: it is one write per tick, so that there is nothing to gather.
  package var noDelay = true
  /// A field module that lost its power never says so: two minutes later its connection is gone, and a middlebox has seen
  /// traffic every minute.
  package var keepalive: Keepalive? = Keepalive()
  /// How long bytes that were sent may stay unacknowledged; nil: as long as the kernel tries (about 15 minutes), since
  /// `idle_timeout` ends such a connection earlier.
  package var userTimeoutMilliseconds: Int?
  /// How long what still comes behind a connection's last answer is read and dropped: to close at once would reset the
  /// connection under that answer. This is the source's to do, without the kernel's SO_LINGER: see `apply`. 0: not at all.
  package var lingerSeconds = Limits.defaultLingerSeconds
  /// Nil: the kernel's, which it tunes to the connection. A fixed size turns that off.
  package var receiveBufferBytes: Int?
  package var sendBufferBytes: Int?
  /// Connections that the kernel holds until they are accepted: many modules come back at once after an outage.
  package var backlog = Limits.listenBacklog

  package init() {}

  /// Puts them on a socket that listens: Linux hands them on to those that it accepts. SO_LINGER is off in any case: a
  /// `close` that waits would hold the event loop, also on a non-blocking socket, and the kernel sends what is left anyway.
  /// Returns the first that was refused, by its key; `errno` says why.
  package func apply(toListener descriptor: Int32) -> String? {
    func set(_ level: Int32, _ name: Int32, _ value: Int) -> Bool {
      var value = Int32(clamping: value)
      return setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size)) == 0
    }
    let tcp = Int32(IPPROTO_TCP)
    var none = Glibc.linger(l_onoff: 0, l_linger: 0)
    guard setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &none, socklen_t(MemoryLayout<Glibc.linger>.size)) == 0 else {
      return "linger"
    }
    guard set(tcp, TCP_NODELAY, noDelay ? 1 : 0) else { return "nodelay" }
    guard set(SOL_SOCKET, SO_KEEPALIVE, keepalive == nil ? 0 : 1) else { return "keepalive" }
    if let keepalive {
      guard set(tcp, TCP_KEEPIDLE, keepalive.idleSeconds), set(tcp, TCP_KEEPINTVL, keepalive.intervalSeconds),
        set(tcp, TCP_KEEPCNT, keepalive.probes)
      else { return "keepalive" }
    }
    guard set(tcp, TCP_USER_TIMEOUT, userTimeoutMilliseconds ?? 0) else { return "user_timeout" }
    if let receiveBufferBytes, !set(SOL_SOCKET, SO_RCVBUF, receiveBufferBytes) { return "receive_buffer" }
    if let sendBufferBytes, !set(SOL_SOCKET, SO_SNDBUF, sendBufferBytes) { return "send_buffer" }
    return nil
  }

  /// Gives the buffers that `earlier` fixed and these options don't back to the kernel: as large as those of a new socket, and
  /// tuned to the connection. False, with `errno`: it can't be done.
  package func releaseBuffers(ofListener descriptor: Int32, fixedBy earlier: SocketOptions) -> Bool {
    let releasesReceive = receiveBufferBytes == nil && earlier.receiveBufferBytes != nil
    let releasesSend = sendBufferBytes == nil && earlier.sendBufferBytes != nil
    guard releasesReceive || releasesSend else { return true }
    let new = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard new >= 0 else { return false }
    defer { close(new) }
    if releasesReceive, !Self.copyBuffer(SO_RCVBUF, from: new, to: descriptor) { return false }
    if releasesSend, !Self.copyBuffer(SO_SNDBUF, from: new, to: descriptor) { return false }
    // Setting a size has fixed it.
    var locks: Int32 = (sendBufferBytes == nil ? 0 : 1) | (receiveBufferBytes == nil ? 0 : 2)
    return setsockopt(descriptor, SOL_SOCKET, Self.bufferLock, &locks, socklen_t(MemoryLayout<Int32>.size)) == 0
  }

  /// SO_BUF_LOCK, since Linux 5.14: which buffers the kernel leaves as they are, 1 of sending and 2 of receiving.
  package static let bufferLock: Int32 = 72

  private static func copyBuffer(_ name: Int32, from: Int32, to: Int32) -> Bool {
    var bytes: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(from, SOL_SOCKET, name, &bytes, &size) == 0 else { return false }
    // It doubles what it is told, for its own bookkeeping.
    bytes /= 2
    return setsockopt(to, SOL_SOCKET, name, &bytes, size) == 0
  }
}
