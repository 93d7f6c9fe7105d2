// swift-tools-version: 6.2
import Foundation
import PackageDescription

/// Every Swift target: language mode 6 (below), warnings are errors, explicit existentials and imports.
let strict: [SwiftSetting] = [
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// The data plane, whose state is owned by one thread each: release builds leave out the run-time checks for overlapping
/// access, which debug builds, and so all tests, make. Measured: 3 % of the CPU of a POST.
let dataPlane: [SwiftSetting] =
  strict + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

/// A plugin exports one symbol, binds to its own copies of everything else, and is never unmapped.
let pluginLink: [LinkerSetting] = [
  .unsafeFlags([
    "-Xlinker", "--version-script=\(Context.packageDirectory)/Plugins/plugin.map",
    "-Xlinker", "-Bsymbolic",
    "-Xlinker", "-z", "-Xlinker", "nodelete",
  ])
]

/// Whether pkg-config knows a library. Products that need one which is missing are left out: `swift build` asks for no more
/// than libyaml. SwiftPM remembers what a manifest said until it or the environment changes: after installing a library,
/// build once with `--manifest-cache none` (`scripts/setup` forgets it by itself).
func isInstalled(_ library: String) -> Bool {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = ["pkg-config", "--exists", library]
  process.standardError = FileHandle.nullDevice
  guard (try? process.run()) != nil else { return false }
  process.waitUntilExit()
  return process.terminationStatus == 0
}

let nio: [Target.Dependency] = [
  .product(name: "NIOCore", package: "swift-nio"),
  .product(name: "NIOPosix", package: "swift-nio"),
]
let tls: [Target.Dependency] = [
  .product(name: "NIOSSL", package: "swift-nio-ssl"),
  .product(name: "NIOTLS", package: "swift-nio"),
]
let log: Target.Dependency = .product(name: "Logging", package: "swift-log")

let package = Package(
  name: "sluice",
  products: [
    .executable(name: "sluice", targets: ["sluice"]),
    .library(name: "sluice-disk", type: .dynamic, targets: ["DiskPlugin"]),
    .library(name: "sluice-stdout", type: .dynamic, targets: ["StdoutPlugin"]),
    .library(name: "SluicePluginKit", targets: ["SluicePluginKit", "CSluice"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    .target(name: "CSluice"),
    .target(name: "CSluiceSystem"),
    .target(name: "CPluginTemplates"),
    .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),

    .target(name: "SluiceCore", dependencies: ["CSluiceSystem"], swiftSettings: strict),
    .target(name: "SluiceTopology", dependencies: ["SluiceCore", "CYAML"], swiftSettings: strict),
    .target(name: "SluiceJournal", dependencies: ["SluiceCore"], swiftSettings: dataPlane),
    .target(
      name: "SluiceIdentity", dependencies: ["SluiceCore", .product(name: "Crypto", package: "swift-crypto")],
      swiftSettings: dataPlane),
    .target(
      name: "SluiceIngest", dependencies: ["SluiceCore", "SluiceIdentity", log] + nio + tls, swiftSettings: dataPlane),
    .target(
      name: "SluiceHost", dependencies: ["SluiceCore", "SluiceTopology", "SluiceJournal", "CSluice", log],
      swiftSettings: dataPlane),
    .target(name: "SluicePluginKit", dependencies: ["CSluice"], swiftSettings: strict),
    .executableTarget(
      name: "sluice",
      dependencies: [
        "SluiceCore", "SluiceTopology", "SluiceJournal", "SluiceIdentity", "SluiceIngest", "SluiceHost",
        "CPluginTemplates", log,
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Histogram", package: "hdrhistogram-swift"),
      ] + nio + tls, swiftSettings: strict),

    .target(name: "RecordLines", dependencies: ["SluicePluginKit"], path: "Plugins/Lines", swiftSettings: strict),
    .target(
      name: "DiskSubscriber", dependencies: ["RecordLines", "SluicePluginKit"], path: "Plugins/Disk/Core",
      swiftSettings: strict),
    .target(
      name: "DiskPlugin", dependencies: ["DiskSubscriber", "SluicePluginKit", "CSluice"], path: "Plugins/Disk/Entry",
      swiftSettings: strict, linkerSettings: pluginLink),
    .target(
      name: "StdoutSubscriber", dependencies: ["RecordLines", "SluicePluginKit"], path: "Plugins/Stdout/Core",
      swiftSettings: strict),
    .target(
      name: "StdoutPlugin", dependencies: ["StdoutSubscriber", "SluicePluginKit", "CSluice"],
      path: "Plugins/Stdout/Entry", swiftSettings: strict, linkerSettings: pluginLink),

    .executableTarget(
      name: "journal-bench",
      dependencies: ["SluiceJournal", "SluiceCore", .product(name: "Histogram", package: "hdrhistogram-swift")],
      path: "Tests/Benchmarks/JournalBench", swiftSettings: strict),
    .executableTarget(
      name: "json-bench", dependencies: ["SluiceCore"], path: "Tests/Benchmarks/JSONBench", swiftSettings: strict),
    .executableTarget(
      name: "host-bench",
      dependencies: ["SluiceHost", "SluiceJournal", "SluiceCore", "SluiceTopology", "CSluice", log],
      path: "Tests/Benchmarks/HostBench", swiftSettings: strict),
    .target(
      name: "JournalSimulation", dependencies: ["SluiceJournal", "SluiceCore"], path: "Tests/JournalSimulation",
      swiftSettings: strict),
    .executableTarget(
      name: "journal-simulator", dependencies: ["JournalSimulation", "SluiceJournal", "SluiceCore"],
      path: "Tests/JournalSimulator", swiftSettings: strict),
    .testTarget(
      name: "JournalSimulationTests", dependencies: ["JournalSimulation", "SluiceJournal", "SluiceCore"],
      swiftSettings: strict),
    .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: strict),
    .testTarget(name: "SluiceCoreTests", dependencies: ["TestSupport", "SluiceCore"], swiftSettings: strict),
    .testTarget(
      name: "SluiceTopologyTests", dependencies: ["TestSupport", "SluiceTopology"], exclude: ["Fixtures"],
      swiftSettings: strict),
    .testTarget(
      name: "SluiceIdentityTests", dependencies: ["TestSupport", "SluiceIdentity", "SluiceCore"], swiftSettings: strict),
    .testTarget(name: "SluiceJournalTests", dependencies: ["TestSupport", "SluiceJournal"], swiftSettings: strict),
    .testTarget(
      name: "SluiceIngestTests",
      dependencies: [
        "TestSupport", "SluiceIngest", "SluiceIdentity", "SluiceCore", log,
        .product(name: "NIOEmbedded", package: "swift-nio"), .product(name: "NIOHTTP1", package: "swift-nio"),
      ] + nio + tls,
      swiftSettings: strict),
    .testTarget(
      name: "SluiceHostTests",
      dependencies: ["TestSupport", "SluiceHost", "SluiceCore", "SluiceTopology", "SluiceJournal", "CSluice", log],
      swiftSettings: strict),
    .target(
      name: "PluginTestSupport", dependencies: ["TestSupport", "CSluice", "SluicePluginKit", "SluiceTopology"],
      path: "Tests/PluginTestSupport", swiftSettings: strict),
    .testTarget(
      name: "ABITests", dependencies: ["TestSupport", "CSluice", "PluginTestSupport"], swiftSettings: strict),
    .testTarget(
      name: "SluicePluginKitTests", dependencies: ["TestSupport", "SluicePluginKit", "CSluice", "PluginTestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "DiskPluginTests",
      dependencies: ["TestSupport", "DiskSubscriber", "SluicePluginKit", "CSluice", "PluginTestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "StdoutPluginTests",
      dependencies: [
        "TestSupport", "StdoutSubscriber", "SluicePluginKit", "SluiceCore", "CSluice", "PluginTestSupport",
      ],
      swiftSettings: strict),
    .testTarget(
      name: "SluiceCommandTests",
      dependencies: [
        "TestSupport", "sluice", "SluiceIngest", "SluiceIdentity", "SluiceCore",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ] + nio,
      swiftSettings: strict),
    .testTarget(
      name: "FuzzCorpusTests", dependencies: ["TestSupport", "SluiceIngest", "SluiceCore"], path: "Tests/Fuzz",
      exclude: ["SluiceIdentity.swift", "corpus"], swiftSettings: strict),
    .target(
      name: "PostgresTestSupport", dependencies: ["TestSupport"], path: "Tests/PostgresTestSupport",
      swiftSettings: strict),
    // Optimised in debug builds too: it hashes and looks up every record of every round.
    .target(
      name: "DeliveryOracle", path: "Tests/DeliveryOracle", swiftSettings: strict + [.unsafeFlags(["-O"])]),
    .target(
      name: "DaemonTestSupport", dependencies: ["TestSupport", "SluiceCore"], path: "Tests/DaemonTestSupport",
      swiftSettings: strict),
    .testTarget(
      name: "FaultTests",
      dependencies: ["TestSupport", "DaemonTestSupport", "DeliveryOracle", "SluiceJournal", "SluiceCore", "sluice"],
      swiftSettings: strict),
    .testTarget(name: "TidyTests", dependencies: ["TestSupport"], swiftSettings: strict),
    .testTarget(
      name: "IntegrationTests",
      dependencies: [
        "TestSupport", "DaemonTestSupport", "PostgresTestSupport", "SluiceIngest", "SluiceIdentity", "SluiceCore",
        "sluice", .product(name: "NIOCore", package: "swift-nio"),
      ],
      swiftSettings: strict),
  ],
  swiftLanguageModes: [.v6]
)

if isInstalled("libpq") {
  package.products.append(.library(name: "sluice-postgres", type: .dynamic, targets: ["PostgresPlugin"]))
  package.targets += [
    .systemLibrary(name: "CPQ", path: "Plugins/Postgres/CPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .target(
      name: "PostgresSubscriber", dependencies: ["SluicePluginKit", "CPQ"], path: "Plugins/Postgres/Core",
      swiftSettings: strict),
    .target(
      name: "PostgresPlugin", dependencies: ["PostgresSubscriber", "SluicePluginKit", "CSluice"],
      path: "Plugins/Postgres/Entry", swiftSettings: strict, linkerSettings: pluginLink),
    .testTarget(
      name: "PostgresPluginTests",
      dependencies: [
        "TestSupport", "PostgresTestSupport", "PostgresSubscriber", "SluicePluginKit", "SluiceCore", "CSluice",
        "PluginTestSupport",
      ],
      swiftSettings: strict),
  ]
}
