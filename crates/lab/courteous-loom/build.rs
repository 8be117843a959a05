//! Makes the modelled files use loom's atomics. A flag of our own, as Tokio and others have a `loom` that changes them.

fn main() {
    println!("cargo::rustc-cfg=courteous_loom");
    println!("cargo::rerun-if-changed=build.rs");
}
