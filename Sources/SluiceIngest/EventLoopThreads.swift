import NIOCore
import NIOPosix
import SluiceCore

/// Names of the threads that NIO made, so that /proc tells them apart.
package enum EventLoopThreads {
  /// Names the group's threads `prefix-0`, `prefix-1` and so on.
  package static func name(_ group: MultiThreadedEventLoopGroup, _ prefix: String) {
    for (index, loop) in group.makeIterator().enumerated() {
      loop.execute { OSThread.nameCurrent("\(prefix)-\(index)") }
    }
  }
}
