//! Links the binary with packed relative relocations: without them a tenth of it is a list of addresses.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The target whose toolchain links with LLD; others' linkers may not know these options.
    if std::env::var("TARGET").is_ok_and(|target| target == "x86_64-unknown-linux-gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
