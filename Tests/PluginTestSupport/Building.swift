import CSluice
import Foundation

/// The repository's top folder.
package let repositoryRoot = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

/// Loads a plugin the way the daemon does and asks for its module.
package func loadModule(_ path: String) -> UnsafePointer<slu_module>? {
  typealias Entry = @convention(c) (UInt32) -> UnsafePointer<slu_module>?
  guard let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) else { return nil }
  guard let symbol = dlsym(handle, "sluice_module_v1") else { return nil }
  return unsafeBitCast(symbol, to: Entry.self)(SLU_ABI_MINOR)
}
