import Foundation

/// One HTTP source, one stream, and the disk subscriber of this build.
package func spine(
  _ folder: TemporaryFolder, durability: String = "fsync", subscribers: String = "", stream: String = ""
)
  -> String
{
  folder.write(
    "sluice.yaml",
    """
    sluice: 1
    daemon: { data: ./data }
    streams:
      events: { durability: \(durability)\(stream) }
    sources:
      api: { type: http, listen: "127.0.0.1:0", stream: events, auth: none, topic: web }
    subscribers:
      archive:
        plugin: disk
        streams: [ events ]
        batch: { wait: 5ms }
        config: { path: ./out }
    \(subscribers)
    """)
}

/// Every line of every file that the disk subscriber left, the current one included.
package func deliveredLines(_ folder: String) -> [String] {
  let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
  return names.filter { $0.hasSuffix(".ndjson") }.sorted().flatMap { name in
    (FileManager.default.contents(atPath: folder + "/" + name)).map {
      String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init)
    } ?? []
  }
}

/// Looks again, yielding the processor, until `condition` holds; false after `seconds`. For state that a process
/// changes on disk, where nothing can be awaited.
package func eventually(within seconds: Double = 30, _ condition: () -> Bool) -> Bool {
  let deadline = DispatchTime.now() + seconds
  let pause = DispatchSemaphore(value: 0)
  while DispatchTime.now() < deadline {
    if condition() { return true }
    _ = pause.wait(timeout: .now() + 0.005)
  }
  return condition()
}

/// Lets time pass: for a load's rate, or a pause that a protocol asks for; nothing is awaited with it.
package func pause(_ seconds: Double) { _ = DispatchSemaphore(value: 0).wait(timeout: .now() + seconds) }

package func numberOf(_ line: String) -> Int? {
  guard line.hasPrefix(#"{"message":""#), line.hasSuffix("\"}") else { return nil }
  return Int(line.dropFirst(12).dropLast(2))
}

package func field(_ name: String, of line: String) -> String? {
  line.split(separator: " ").first { $0.hasPrefix(name + "=") }.map { String($0.dropFirst(name.count + 1)) }
}

/// Something of the test's own that could not be built.
package struct BuildFailure: Error, CustomStringConvertible {
  package var description: String
}

/// Builds a plugin in C from the public header alone, as somebody outside this repository would.
package func buildPlugin(_ source: String, kind: String, in folder: TemporaryFolder) throws -> String {
  let output = "\(folder.path)/libsluice-\(kind).so"
  try compile(source, to: output, ["-fvisibility=hidden", "-I\(Products.repository)/Sources/CSluice/include"])
  return output
}

/// Builds a library from a C file of this repository.
package func compile(_ source: String, to output: String, _ options: [String] = []) throws {
  let built = ChildProcess.run(
    "/usr/bin/cc",
    ["-std=gnu11", "-Wall", "-Werror", "-shared", "-fPIC"] + options
      + ["\(Products.repository)/\(source)", "-o", output, "-lpthread", "-ldl"])
  guard built.status == 0 else { throw BuildFailure(description: built.text) }
}
