import CSluice
import Foundation

/// The repository's top folder.
package let repositoryRoot = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

/// Runs a tool found in PATH to its end; `output` is what it wrote to stdout and stderr.
package func run(_ arguments: [String], in directory: String? = nil) throws -> (status: Int32, output: String) {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = arguments
  if let directory { process.currentDirectoryURL = URL(fileURLWithPath: directory) }
  let pipe = Pipe()
  process.standardOutput = pipe
  process.standardError = pipe
  try process.run()
  let output = pipe.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return (process.terminationStatus, String(decoding: output, as: UTF8.self))
}

/// Loads a plugin the way the daemon does and asks for its module.
package func loadModule(_ path: String) -> UnsafePointer<slu_module>? {
  typealias Entry = @convention(c) (UInt32) -> UnsafePointer<slu_module>?
  guard let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) else { return nil }
  guard let symbol = dlsym(handle, "sluice_module_v1") else { return nil }
  return unsafeBitCast(symbol, to: Entry.self)(SLU_ABI_MINOR)
}
