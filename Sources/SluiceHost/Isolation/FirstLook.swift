import CSluice
import Glibc
import SluiceCore
import Synchronization

/// Looks at a module in a process that is thrown away: without descriptors, environment or time to spare. What crashes there
/// never comes into the daemon.
struct FirstLook {
  struct Finding {
    var severity: UInt32
    var pointer: String
    var text: String
  }

  let runner: String

  /// What the module says of itself. `path`: the copy; `name`: how messages call it.
  func describe(_ path: String, calling name: String) throws(PluginLoadError) -> RemoteDescription {
    let answer: Answer
    do throws(PluginProcess.Failure) {
      answer = try ask(.describe) { packet in
        packet.put(path)
        packet.put(name)
      }
    } catch {
      throw PluginLoadError(
        .notLoadable, "\(name) can't be loaded: \(error.message)",
        remedy: "the daemon was not harmed: the first look at a plugin happens in a process of its own")
    }
    var more = answer.more
    let nonsense = PluginLoadError(.badTable, "\(name) describes itself in a way that makes no sense", remedy: "")
    guard answer.rc == SLU_OK else {
      guard let code = (try? more.text()).flatMap(PluginLoadError.Code.init), let remedy = try? more.text() else {
        throw nonsense
      }
      throw PluginLoadError(code, answer.message, remedy: remedy)
    }
    do throws(PacketFault) { return try RemoteDescription(&more) } catch { throw nonsense }
  }

  /// Lets the kind check a config.
  func validate(
    _ module: IsolatedModule, config: String
  ) -> Result<(slu_rc, [Finding]), PluginProcess.Failure> {
    Result { () throws(PluginProcess.Failure) in
      let answer = try ask(.validate) { packet in
        for text in [module.path, module.name, module.kind, config] { packet.put(text) }
      }
      if answer.rc != SLU_OK, answer.findings.isEmpty, !answer.message.isEmpty {
        throw PluginProcess.Failure(message: answer.message)
      }
      return (answer.rc, answer.findings)
    }
  }

  private struct Answer {
    var rc: slu_rc
    var message: String
    var findings: [Finding]
    var more: PacketReader
  }

  /// One process, one question. Fails with what became of the process, and what it was doing.
  private func ask(
    _ kind: PacketKind, _ body: (inout PacketWriter) -> Void
  ) throws(PluginProcess.Failure) -> Answer {
    let process = try PluginProcess(executable: runner, environment: [PluginProcess.quietCrashes])
    var packet = PacketWriter()
    packet.begin(kind)
    body(&packet)
    packet.end()
    process.channel.send(packet.bytes)
    let watch = Watch(process)
    defer { watch.end() }
    var phase = "it was loaded"
    var findings: [Finding] = []
    do throws(PacketFault) {
      while let packet = try process.channel.receive() {
        var payload = packet.payload
        switch packet.kind {
        case .phase: phase = try payload.text()
        case .finding:
          findings.append(
            Finding(severity: try payload.number(), pointer: try payload.text(), text: try payload.text()))
        case .reply:
          let rc = try payload.number(slu_rc.self)
          _ = try payload.number(UInt32.self)
          return Answer(rc: rc, message: try payload.text(), findings: findings, more: payload)
        default: throw PacketFault()
        }
      }
    } catch {
      process.kill("said what makes no sense")
    }
    throw PluginProcess.Failure(message: "its process \(process.reap(afterClosing: true)) when \(phase)")
  }

  /// Kills the process when it takes too long.
  private final class Watch: Sendable {
    private let bell = Doorbell()
    private let isOver = Atomic<Bool>(false)
    private let thread: Mutex<OSThread?> = Mutex(nil)

    init(_ process: PluginProcess) {
      let deadline = Clock.monotonic() + Limits.scanNanoseconds
      let (bell, seconds) = (bell, Limits.scanNanoseconds / 1_000_000_000)
      thread.withLock {
        $0 = OSThread(name: "first look") { [self] in
          while !isOver.load(ordering: .acquiring) {
            guard bell.wait(until: deadline) else {
              return process.kill("did not come to an end in \(seconds) s and was killed")
            }
          }
        }
      }
    }

    func end() {
      isOver.store(true, ordering: .releasing)
      bell.ring()
      thread.withLock { $0 }?.join()
    }
  }
}
