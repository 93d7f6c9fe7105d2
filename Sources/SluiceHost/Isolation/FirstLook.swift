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
  /// Who looks; "": the daemon's own.
  private let user: String

  /// Only root can look as somebody else; another daemon's user has none to give, and a topology that asks for it is refused.
  init(runner: String, user: String? = nil) {
    self.runner = runner
    self.user = geteuid() == 0 ? user ?? "" : ""
  }

  /// What the module says of itself. `path`: the copy; `name`: how messages call it.
  func describe(_ path: String, calling name: String) throws(PluginLoadError) -> RemoteDescription {
    let answer: Answer
    do throws(PluginProcess.Failure) {
      answer = try ask(.describe, of: path) { packet, path in
        for text in [path, name, user] { packet.put(text) }
      }
    } catch {
      throw PluginLoadError(
        .notLoadable, "\(name) can't be loaded: \(error.message)",
        remedy: "the daemon was not harmed: the first look at a plugin happens in a process of its own")
    }
    var more = answer.more
    let nonsense = PluginLoadError(.badTable, "\(name) describes itself in a way that makes no sense", remedy: "")
    guard answer.rc == SLU_OK else {
      let limit = Limits.maxPluginTextBytes
      guard let code = (try? more.text(limit: limit)).flatMap(PluginLoadError.Code.init),
        let remedy = try? more.text(limit: limit)
      else {
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
      do throws(PluginLoadError) {
        try module.makeSure()
      } catch {
        throw PluginProcess.Failure(message: error.description)
      }
      let answer = try ask(.validate, of: module.path) { packet, path in
        for text in [path, module.name, module.kind, user, config] { packet.put(text) }
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

  /// One process, one question. Fails with what became of the process, and what it was doing. `body` is given the path that the
  /// process loads: another user can't pass the daemon's own directories, and is given the module's.
  private func ask(
    _ kind: PacketKind, of path: String, _ body: (inout PacketWriter, String) -> Void
  ) throws(PluginProcess.Failure) -> Answer {
    let (directory, name) = Paths.split(path)
    let opened = user.isEmpty ? [] : [open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)]
    defer { for directory in opened where directory >= 0 { close(directory) } }
    let process = try PluginProcess(
      executable: runner, directories: opened, environment: [PluginProcess.quietCrashes])
    FirstLook.underWay.withLock { $0?[process.pid] = process }
    defer { FirstLook.underWay.withLock { $0?[process.pid] = nil } }
    guard FirstLook.underWay.withLock({ $0 != nil }) else { throw PluginProcess.Failure(message: FirstLook.tooLate) }
    var packet = PacketWriter()
    packet.begin(kind)
    body(&packet, user.isEmpty ? path : PluginRunner.path(inModule: name))
    packet.end()
    let watch = try Watch(process)
    defer { watch.end() }
    // Who does not read is killed as well.
    process.channel.send(packet.bytes)
    let limit = Limits.maxPluginTextBytes
    var phase = "it was loaded"
    var steps = 0
    var findings: [Finding] = []
    do throws(PacketFault) {
      while let packet = try process.channel.receive() {
        var payload = packet.payload
        switch packet.kind {
        case .phase:
          phase = try payload.text(limit: limit)
          try payload.end()
          steps += 1
          // Each moves the deadline.
          guard steps <= Limits.maxFirstLookSteps else { throw PacketFault.broken }
          watch.beginStep()
        case .finding:
          let finding = Finding(
            severity: try payload.number(), pointer: try payload.text(limit: limit),
            text: try payload.text(limit: limit))
          try payload.end()
          if findings.count < Limits.maxPluginFindings { findings.append(finding) }
        case .reply:
          let rc = try payload.number(slu_rc.self)
          _ = try payload.number(UInt32.self)
          return Answer(rc: rc, message: try payload.text(limit: limit), findings: findings, more: payload)
        default: throw PacketFault.broken
        }
      }
    } catch {
      process.kill("said what makes no sense")
    }
    throw PluginProcess.Failure(message: "its process \(process.reap(afterClosing: true)) when \(phase)")
  }

  private static let tooLate = "plugins are looked at no more, the daemon is stopping"
  /// The processes of all looks of this one, by their ids; nil: there are to be none any more.
  private static let underWay = Mutex<[pid_t: PluginProcess]?>([:])

  /// Ends those that are under way, and fails those that would come.
  static func endAll() {
    let processes = underWay.withLock { underWay in
      defer { underWay = nil }
      return underWay ?? [:]
    }
    for process in processes.values { process.kill("was killed, the daemon is stopping") }
  }

  /// Kills the process when a step of it takes too long.
  private final class Watch: Sendable {
    private let bell = Doorbell()
    private let isOver = Atomic<Bool>(false)
    private let steps = Atomic<Int>(0)
    private let thread: Mutex<OSThread?> = Mutex(nil)

    init(_ process: PluginProcess) throws(PluginProcess.Failure) {
      do throws(OSThread.Failure) {
        let started = try OSThread(starting: "first look") { [self] in watch(process) }
        thread.withLock { $0 = started }
      } catch {
        throw PluginProcess.Failure(message: "its process can't be watched: \(error)")
      }
    }

    private func watch(_ process: PluginProcess) {
      var step = 0
      var limit = Limits.scanStartNanoseconds
      var time = RunningTime(limit, from: Clock.monotonic())
      while !isOver.load(ordering: .acquiring) {
        _ = bell.wait(&time)
        let now = steps.load(ordering: .acquiring)
        if now != step {
          (step, limit) = (now, Limits.scanStepNanoseconds)
          time = RunningTime(limit, from: Clock.monotonic())
        } else if time.isOver {
          return process.kill("did not come to an end in \(limit / 1_000_000_000) s and was killed")
        }
      }
    }

    func beginStep() {
      steps.add(1, ordering: .releasing)
      bell.ring()
    }

    func end() {
      isOver.store(true, ordering: .releasing)
      bell.ring()
      thread.withLock { $0 }?.join()
    }
  }
}
