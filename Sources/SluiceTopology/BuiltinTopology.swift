/// What `sluice run` uses when it is given no file, so that it works with nothing else installed.
///
/// `ADDR` (default `:8080`) is where HTTP listens, `WORKER_COUNT` the number of event loops, and with `BUFFER_SIZE`
/// producers are refused from that many records of lag.
package enum BuiltinTopology {
  /// Stands for a file's name in diagnostics.
  package static let name = "built-in"

  /// The YAML, to be loaded with `TopologyLoader.load(text:name:…)` and the same environment: what comes out of the
  /// environment is put in by `${…}`, and so can't be anything but a value.
  package static func yaml(environment: [String: String]) -> String {
    let maxLag = """

          max_lag:
            records: ${BUFFER_SIZE}
            then: reject
      """
    return """
      # The built-in topology: HTTP in, files under ./data/out out.
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
      subscribers:
        disk:
          plugin: disk
          streams: [ events ]\(environment["BUFFER_SIZE", default: ""].isEmpty ? "" : maxLag)
          config:
            path: ./data/out
            format: ndjson

      """
  }
}
