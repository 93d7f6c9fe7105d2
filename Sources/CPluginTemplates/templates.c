/*
 * The examples, byte for byte. What a project consists of is said here and nowhere else; a test holds it against the
 * folders, and what `sluice plugin new` makes against the examples.
 */
#include "plugin_templates.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

static const uint8_t c_gitignore[] = {
#embed "../../examples/plugins/c/.gitignore"
};
static const uint8_t c_makefile[] = {
#embed "../../examples/plugins/c/Makefile"
};
static const uint8_t c_readme_md[] = {
#embed "../../examples/plugins/c/README.md"
};
static const uint8_t c_smoke_yaml[] = {
#embed "../../examples/plugins/c/smoke.yaml"
};
static const uint8_t c_source[] = {
#embed "../../examples/plugins/c/src/topic-bytes.c"
};
static const uint8_t c_tests[] = {
#embed "../../examples/plugins/c/tests/tests.c"
};
static const uint8_t check_plugin[] = {
#embed "../../examples/plugins/check-plugin"
};
static const uint8_t header_base_h[] = {
#embed "../../Sources/CSluice/include/sluice/base.h"
};
static const uint8_t header_batch_h[] = {
#embed "../../Sources/CSluice/include/sluice/batch.h"
};
static const uint8_t header_host_h[] = {
#embed "../../Sources/CSluice/include/sluice/host.h"
};
static const uint8_t header_module_h[] = {
#embed "../../Sources/CSluice/include/sluice/module.h"
};
static const uint8_t header_sluice_h[] = {
#embed "../../Sources/CSluice/include/sluice/sluice.h"
};
static const uint8_t header_subscriber_h[] = {
#embed "../../Sources/CSluice/include/sluice/subscriber.h"
};
static const uint8_t header_verdict_h[] = {
#embed "../../Sources/CSluice/include/sluice/verdict.h"
};
static const uint8_t swift_gitignore[] = {
#embed "../../examples/plugins/swift/.gitignore"
};
static const uint8_t swift_package[] = {
#embed "../../examples/plugins/swift/Package.swift"
};
static const uint8_t swift_readme_md[] = {
#embed "../../examples/plugins/swift/README.md"
};
static const uint8_t swift_plugin_map[] = {
#embed "../../examples/plugins/swift/plugin.map"
};
static const uint8_t swift_smoke_yaml[] = {
#embed "../../examples/plugins/swift/smoke.yaml"
};
static const uint8_t swift_subscriber[] = {
#embed "../../examples/plugins/swift/Sources/TopicBytesKind/TopicBytesSubscriber.swift"
};
static const uint8_t swift_totals[] = {
#embed "../../examples/plugins/swift/Sources/TopicBytesKind/Totals.swift"
};
static const uint8_t swift_entry[] = {
#embed "../../examples/plugins/swift/Sources/TopicBytesPlugin/Entry.swift"
};
static const uint8_t swift_tests[] = {
#embed "../../examples/plugins/swift/Tests/TopicBytesTests/TotalsTests.swift"
};
static const uint8_t swift_check[] = {
#embed "../../examples/plugins/swift/check"
};
static const uint8_t rust_gitignore[] = {
#embed "../../examples/plugins/rust/.gitignore"
};
static const uint8_t rust_cargo_toml[] = {
#embed "../../examples/plugins/rust/Cargo.toml"
};
static const uint8_t rust_makefile[] = {
#embed "../../examples/plugins/rust/Makefile"
};
static const uint8_t rust_readme_md[] = {
#embed "../../examples/plugins/rust/README.md"
};
static const uint8_t rust_build_rs[] = {
#embed "../../examples/plugins/rust/build.rs"
};
static const uint8_t rust_rustfmt_toml[] = {
#embed "../../examples/plugins/rust/rustfmt.toml"
};
static const uint8_t rust_smoke_yaml[] = {
#embed "../../examples/plugins/rust/smoke.yaml"
};
static const uint8_t rust_src_abi_rs[] = {
#embed "../../examples/plugins/rust/src/abi.rs"
};
static const uint8_t rust_src_lib_rs[] = {
#embed "../../examples/plugins/rust/src/lib.rs"
};
static const uint8_t rust_src_plugin_rs[] = {
#embed "../../examples/plugins/rust/src/plugin.rs"
};
static const uint8_t rust_src_totals_rs[] = {
#embed "../../examples/plugins/rust/src/totals.rs"
};
static const uint8_t abi_layout[] = {
#embed "../../Tests/Golden/abi/layout.txt"
};

#define FILE(language, path, bytes) {language, path, bytes, sizeof bytes, 0}
#define PROGRAM(language, path, bytes) {language, path, bytes, sizeof bytes, 1}

static const plugin_template templates[] = {
    FILE("c", ".gitignore", c_gitignore),
    FILE("c", "Makefile", c_makefile),
    FILE("c", "README.md", c_readme_md),
    FILE("c", "smoke.yaml", c_smoke_yaml),
    FILE("c", "src/topic-bytes.c", c_source),
    FILE("c", "tests/tests.c", c_tests),
    PROGRAM("c", "check-plugin", check_plugin),
    FILE("c", "include/sluice/base.h", header_base_h),
    FILE("c", "include/sluice/batch.h", header_batch_h),
    FILE("c", "include/sluice/host.h", header_host_h),
    FILE("c", "include/sluice/module.h", header_module_h),
    FILE("c", "include/sluice/sluice.h", header_sluice_h),
    FILE("c", "include/sluice/subscriber.h", header_subscriber_h),
    FILE("c", "include/sluice/verdict.h", header_verdict_h),
    FILE("swift", ".gitignore", swift_gitignore),
    FILE("swift", "Package.swift", swift_package),
    FILE("swift", "README.md", swift_readme_md),
    FILE("swift", "plugin.map", swift_plugin_map),
    FILE("swift", "smoke.yaml", swift_smoke_yaml),
    FILE("swift", "Sources/TopicBytesKind/TopicBytesSubscriber.swift", swift_subscriber),
    FILE("swift", "Sources/TopicBytesKind/Totals.swift", swift_totals),
    FILE("swift", "Sources/TopicBytesPlugin/Entry.swift", swift_entry),
    FILE("swift", "Tests/TopicBytesTests/TotalsTests.swift", swift_tests),
    PROGRAM("swift", "check", swift_check),
    PROGRAM("swift", "check-plugin", check_plugin),
    FILE("rust", ".gitignore", rust_gitignore),
    FILE("rust", "Cargo.toml", rust_cargo_toml),
    FILE("rust", "Makefile", rust_makefile),
    FILE("rust", "README.md", rust_readme_md),
    FILE("rust", "build.rs", rust_build_rs),
    FILE("rust", "rustfmt.toml", rust_rustfmt_toml),
    FILE("rust", "smoke.yaml", rust_smoke_yaml),
    FILE("rust", "src/abi.rs", rust_src_abi_rs),
    FILE("rust", "src/lib.rs", rust_src_lib_rs),
    FILE("rust", "src/plugin.rs", rust_src_plugin_rs),
    FILE("rust", "src/totals.rs", rust_src_totals_rs),
    FILE("rust", "abi-layout.txt", abi_layout),
    PROGRAM("rust", "check-plugin", check_plugin),
};

const plugin_template *plugin_template_at(size_t index) {
  return index < sizeof templates / sizeof *templates ? &templates[index] : NULL;
}
