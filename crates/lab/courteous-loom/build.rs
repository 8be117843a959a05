//! Makes the modelled files use loom's atomics. The crate has a flag of its own, as a `loom` flag
//! would also change Tokio and others.

fn main() {
    println!("cargo::rustc-cfg=courteous_loom");
    println!("cargo::rerun-if-changed=build.rs");
}
