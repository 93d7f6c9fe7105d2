// swift-tools-version: 6.2
import Foundation
import PackageDescription

/// Where Sluice's Swift kit is: SLUICE_KIT, or what pkg-config knows of an installed Sluice.
func kitDirectory() -> String {
  if let directory = Context.environment["SLUICE_KIT"] { return directory }
  let process = Process()
  let output = Pipe()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = ["pkg-config", "--variable=kitdir", "sluice"]
  process.standardOutput = output
  process.standardError = FileHandle.nullDevice
  guard (try? process.run()) != nil else { return "/usr/local/share/sluice/SluicePluginKit" }
  let answer = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  let directory = answer.trimmingCharacters(in: .whitespacesAndNewlines)
  return directory.isEmpty ? "/usr/local/share/sluice/SluicePluginKit" : directory
}

/// `OWN_RUNTIME=1 swift build …` links Swift's runtime into the plugin: larger (7 MB), but it works with a Sluice that
/// another compiler built, and where no Swift is installed.
let hasOwnRuntime = Context.environment["OWN_RUNTIME"] == "1"
let ownRuntime: [SwiftSetting] = hasOwnRuntime ? [.define("OWN_RUNTIME"), .unsafeFlags(["-static-stdlib"])] : []

/// One exported symbol, bound to its own copies of everything, never unmapped.
let pluginLink: [LinkerSetting] = [
  .unsafeFlags(
    [
      "-Xlinker", "--version-script=\(Context.packageDirectory)/plugin.map",
      "-Xlinker", "-Bsymbolic",
      "-Xlinker", "-z", "-Xlinker", "nodelete",
    ] + (hasOwnRuntime ? ["-static-stdlib"] : []))
]

let kit: Target.Dependency = .product(name: "SluicePluginKit", package: "SluicePluginKit")

let package = Package(
  name: "sluice-topic-bytes",
  products: [.library(name: "sluice-topic-bytes", type: .dynamic, targets: ["TopicBytesPlugin"])],
  dependencies: [.package(name: "SluicePluginKit", path: kitDirectory())],
  targets: [
    .target(name: "TopicBytesKind", dependencies: [kit], swiftSettings: ownRuntime),
    .target(
      name: "TopicBytesPlugin", dependencies: ["TopicBytesKind", kit], swiftSettings: ownRuntime,
      linkerSettings: pluginLink),
    .testTarget(name: "TopicBytesTests", dependencies: ["TopicBytesKind"]),
  ],
  swiftLanguageModes: [.v6]
)
