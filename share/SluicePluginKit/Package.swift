// swift-tools-version: 6.2
import PackageDescription

/// The Swift kit for Sluice's plugins, as `scripts/install` puts it into share/sluice: Sluice's own sources of it and the
/// C headers, for packages outside of Sluice's repository to depend on by path.
let package = Package(
  name: "SluicePluginKit",
  products: [.library(name: "SluicePluginKit", targets: ["SluicePluginKit", "CSluice"])],
  targets: [
    .target(name: "CSluice"),
    .target(
      name: "SluicePluginKit", dependencies: ["CSluice"],
      swiftSettings: [.enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("MemberImportVisibility")]),
  ],
  swiftLanguageModes: [.v6]
)
