// Whether a module's language runtime can live in the daemon's process, by what its module says of it (`slu_module.runtime`):
//
//   runtime                      in the daemon's process
//   none                         yes
//   swift-V dynamic, V ours      yes: it is the daemon's own, and there once
//   swift-V dynamic, another V   no: two versions would be one library to the linker, and Swift's ABI on Linux is not stable
//   swift-V static               yes: it brings its own, which nobody else sees
//   go …                         no: it takes signals and threads for itself, and can't be there twice
//   anything else                yes: nothing is known against it

import SluiceCore

enum ModuleRuntime {
  /// The compiler of this daemon, as SluicePluginKit writes that of a plugin.
  static var own: String {
    #if compiler(>=6.5)
      "swift-6.5"
    #elseif compiler(>=6.4)
      "swift-6.4"
    #elseif compiler(>=6.3.1)
      "swift-6.3.1"
    #else
      "swift-6.3"
    #endif
  }

  /// Why it can't; nil: it can.
  static func conflict(_ runtime: String, own: String = ModuleRuntime.own) -> String? {
    let words = runtime.split(separator: " ")
    guard let first = words.first else { return nil }
    if first == "go" || first.hasPrefix("go-") || first.hasPrefix("go1") {
      return "it brings a Go runtime, which takes signals and threads for itself"
    }
    guard first.hasPrefix("swift-"), words.dropFirst().first == "dynamic", first != own else { return nil }
    return "it was built with \(first), the daemon with \(own), and both can't share one Swift runtime"
  }
}
