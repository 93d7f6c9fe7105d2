import SluiceCore
import SluiceTopology

extension Daemon {
  /// Opens the control socket, in a directory whose streams are this daemon's by now.
  func startControl() async throws(DaemonError) {
    let data = topology.daemon.data
    let (view, logger) = (view, logger)
    let taps = Taps()
    let replays = ReplayPlaces()
    do {
      let server = try await Blocking.run("control") { () throws(ControlFault) in
        try ControlServer(in: data, logger: logger) { [weak self] request, reply throws(ControlError) in
          switch request {
          case .status: reply.item(StatusReport.make(view))
          case .reload(let dryRun):
            let outcome = Blocking.wait { [weak self] in await self?.reload(dryRun: dryRun) }
            guard let outcome else { throw ControlError(.stopping, "the daemon is stopping") }
            reply.item(outcome.json)
          case .dead(let request): try request.run(on: view, reply)
          case .forget(let request): try request.run(on: view, reply, logger)
          case .replay(let request): try request.run(on: view, reply, replays)
          case .tap(let request): try taps.run(request, on: view, reply)
          }
        }
      }
      server.start()
      control = server
    } catch {
      throw DaemonError(
        message: "cannot listen on \(data)/\(ControlSocket.name): \(error.message)", status: ExitStatus.cannotCreate)
    }
  }

  func stopControl() async {
    guard let server = control else { return }
    await Blocking.run("control") { () throws(Never) in server.stop() }
  }
}
