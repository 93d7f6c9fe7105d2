/// What `sluice run` uses when it is given no file, so that it works with nothing else installed.
///
/// | variable | does | when it is missing or empty |
/// |---|---|---|
/// | `ADDR` | where HTTP listens | `:8080` |
/// | `SLUICE_TCP` | where framed TCP listens | `127.0.0.1:7400` |
/// | `WORKER_COUNT` | the number of event loops | one per core |
/// | `DATABASE_URL` | records also become rows of the table `logs` there | only files |
/// | `BUFFER_SIZE` | producers are refused while a subscriber is that many records behind | by `retain` alone |
package enum BuiltinTopology {
  /// Stands for a file's name in diagnostics.
  package static let name = "built-in"

  /// The YAML, to be loaded with `TopologyLoader.load(text:name:…)` and the same environment: what comes out of the
  /// environment is put in by `${…}`, and so can't be anything but a value.
  package static func yaml(environment: [String: String]) -> String {
    let maxLag = environment["BUFFER_SIZE", default: ""].isEmpty ? "" : maxLag
    let database = environment["DATABASE_URL", default: ""].isEmpty ? "" : database(maxLag)
    return """
      # The built-in topology: HTTP and framed TCP in, files under ./data/out out.
      sluice: 1
      daemon:
        data: ./data
        event_loops: ${WORKER_COUNT:-auto}
      streams:
        events:
          durability: fsync
          retain: { bytes: 1GiB }
      sources:
        http:
          type: http
          listen: ${ADDR:-:8080}
          stream: events
        tcp:
          type: tcp
          listen: ${SLUICE_TCP:-127.0.0.1:7400}
          stream: events
      subscribers:
        disk:
          plugin: disk
          streams: [ events ]\(maxLag)
          config:
            path: ./data/out
            format: ndjson
      \(database)
      """
  }

  private static let maxLag = """

        max_lag:
          records: ${BUFFER_SIZE}
          then: reject
    """

  /// In quotes, so that the URL stays a string whatever is in it.
  private static func database(_ maxLag: String) -> String {
    """
      postgres:
        plugin: postgres
        streams: [ events ]\(maxLag)
        config:
          url: "${DATABASE_URL}"
          table: logs

    """
  }
}
