//! How the plugin is linked. That it exports one symbol is rustc's own doing.

fn main() {
    // Bound to its own copies of everything, and never unmapped.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
}
