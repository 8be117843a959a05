//! Tells the program which compiler built it: instruction counts can be compared only under the
//! same compiler.

use std::{env, process::Command};

fn main() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    println!("cargo:rustc-env=COURTEOUS_BENCH_RUSTC={version}");
    println!("cargo:rerun-if-changed=build.rs");
}
