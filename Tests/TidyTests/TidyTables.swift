/// What the tidy test enforces, in tables.
enum TidyTables {
  /// The import table: which modules the Swift files below a directory may import. The longest matching prefix counts;
  /// a directory without a row is an error, so that a new target has to say where it stands.
  static let imports: [(directory: String, modules: Set<String>)] = [
    ("Sources/SluiceCore/", ["CSluiceSystem", "Glibc", "Synchronization"]),
    ("Sources/SluiceTopology/", ["SluiceCore", "CYAML", "Glibc"]),
    ("Sources/SluiceJournal/", ["SluiceCore", "Glibc", "Synchronization"]),
    ("Sources/SluiceIdentity/", ["SluiceCore", "Crypto", "Synchronization"]),
    (
      "Sources/SluiceIngest/",
      ["SluiceCore", "SluiceIdentity", "NIOCore", "NIOPosix", "Logging", "Glibc", "Synchronization"]
    ),
    (
      "Sources/SluiceIngest/TLS/",
      [
        "SluiceCore", "NIOCore", "NIOPosix", "NIOSSL", "NIOTLS", "SluiceIdentity", "Logging", "Glibc",
        "Synchronization",
      ]
    ),
    (
      "Sources/SluiceHost/",
      ["SluiceCore", "SluiceTopology", "SluiceJournal", "CSluice", "Logging", "Glibc", "Synchronization"]
    ),
    ("Sources/SluicePluginKit/", ["CSluice", "Glibc", "Synchronization"]),
    (
      "Sources/sluice/",
      [
        "SluiceCore", "SluiceTopology", "SluiceJournal", "SluiceIdentity", "SluiceIngest", "SluiceHost",
        "ArgumentParser", "NIOCore", "NIOPosix", "Logging", "Histogram", "Glibc", "Synchronization", "Dispatch",
        "CPluginTemplates",
      ]
    ),
    ("Sources/sluice/Send/SendTLS.swift", ["NIOCore", "NIOSSL", "NIOTLS", "SluiceCore", "Glibc"]),
    ("Plugins/Lines/", ["SluicePluginKit", "Glibc"]),
    ("Plugins/Disk/", ["SluicePluginKit", "CSluice", "DiskSubscriber", "RecordLines", "Glibc", "Synchronization"]),
    ("Plugins/Stdout/", ["SluicePluginKit", "CSluice", "StdoutSubscriber", "RecordLines", "Glibc"]),
    ("Plugins/Postgres/", ["SluicePluginKit", "CSluice", "PostgresSubscriber", "CPQ", "Glibc"]),
  ]

  /// What C files below a directory may include with angle brackets; elsewhere it is free.
  static let includes: [(directory: String, headers: Set<String>)] = [
    ("Sources/CSluice/", ["stdint.h", "stddef.h", "stdbool.h"])
  ]

  /// The only file that compares what is secret, or proof of it.
  static let constantTime = "Sources/SluiceIdentity/ConstantTime.swift"

  static let maxFileLines = 400
  static let maxFunctionLines = 70
  /// Of a client library, its header included. The one in C brings its own CRC-32C, SHA-256 and HMAC, and a header; it may
  /// shrink to what the others have, and not grow.
  static let maxClientLines = ["c": 429, "python": 400]

  /// Files whose length counts.
  static let sourceExtensions: Set<String> = ["swift", "c", "h", "py", "sh"]
  static let sourceDirectories = ["Sources/", "Plugins/", "Tests/"]

  /// Formatted by swift format.
  static let formatted = ["Sources", "Plugins", "Tests", "Package.swift", "examples", "share"]

  /// Words that say "unfinished", put together here so that this file does not trip over itself.
  static let unfinished = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]

  /// The folder that one machine keeps its checkouts in.
  static let machinePath = "/wo" + "rk/"

  /// Hosts that a tracked file may name in a URL: public documents, this machine, and names reserved for examples.
  static let hosts: Set<String> = [
    "github.com", "swift.org", "www.swift.org", "json-schema.org", "www.rfc-editor.org", "datatracker.ietf.org",
    "prometheus.io", "yaml.org", "www.kernel.org", "man7.org", "www.sqlite.org", "www.w3.org", "semver.org",
    "www.freedesktop.org",
  ]
  static let exampleHosts = ["localhost", "example.com", "example.org", "example.net", ".example", ".test", ".invalid"]
}
