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
package func eventually(within seconds: Double = 120, _ condition: () -> Bool) -> Bool {
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
package func buildPlugin(
  _ source: String, kind: String, in folder: TemporaryFolder, _ options: [String] = []
) throws -> String {
  let output = "\(folder.path)/libsluice-\(kind).so"
  // Renamed over what was there: a file that is in use is another file then.
  let fresh = "\(output).new"
  try compile(source, to: fresh, ["-fvisibility=hidden", "-I\(Products.repository)/Sources/CSluice/include"] + options)
  guard rename(fresh, output) == 0 else { throw BuildFailure(description: "cannot rename \(fresh): errno \(errno)") }
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

/// Builds a plugin in Swift from a fixture of this repository and the kit's sources, as one module; `more` is code of its own.
/// Renamed over what was there.
package func buildSwiftPlugin(
  _ fixture: String, kind: String, in folder: TemporaryFolder, adding more: String = ""
) throws -> String {
  let output = "\(folder.path)/libsluice-\(kind).so"
  let root = Products.repository
  let extra = folder.write("Extra.swift", more)
  let kit = try FileManager.default.subpathsOfDirectory(atPath: root + "/Sources/SluicePluginKit")
    .filter { $0.hasSuffix(".swift") }.map { "\(root)/Sources/SluicePluginKit/\($0)" }
  let link = ["--version-script=\(root)/Plugins/plugin.map", "-Bsymbolic", "-z", "nodelete"].flatMap {
    ["-Xlinker", $0]
  }
  let built = ChildProcess.run(
    "/usr/bin/env",
    ["swiftc", "-swift-version", "6", "-parse-as-library", "-suppress-warnings", "-emit-library"]
      + ["-module-name", "SluicePluginKit", "-I\(root)/Sources/CSluice/include", "-o", "\(output).new"] + link
      + kit + ["\(root)/\(fixture)", extra])
  guard built.status == 0, rename("\(output).new", output) == 0 else { throw BuildFailure(description: built.text) }
  return output
}
