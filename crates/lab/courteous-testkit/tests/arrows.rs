//! Dependencies between the folders of `crates/` run in one direction.
//!
//! ```text
//! base <- layers <- stores, clients <- courteous <- commands, lab, the workspace's examples and tests
//! ```
//!
//! A layer depends on no layer, not even for its tests. Tests anywhere may use the two crates of `lab/` that stand on `base`
//! alone: courteous-testkit and courteous-test-servers. So does courteous-testing, which is published, and which they use.

use std::process::Command;

use serde_json::Value;

/// A package of the workspace: its name, its folder, and how far up that is.
struct Package<'a> {
    name: &'a str,
    folder: &'a str,
    level: u8,
}

fn package<'a>(packages: &'a [Value], name: &str) -> Option<Package<'a>> {
    let found = packages.iter().find(|package| package["name"] == name)?;
    let (name, path) = (found["name"].as_str()?, found["manifest_path"].as_str()?);
    let mut parts = path.rsplit('/').skip(1);
    let own = parts.next()?;
    let folder = parts.next()?;
    let (folder, level) = match (folder, own) {
        ("base", _) => ("base", 0),
        ("lab", "courteous-testkit" | "courteous-test-servers")
        | ("clients", "courteous-testing") => ("test tools", 0),
        ("layers", _) => ("layers", 1),
        ("stores", _) => ("stores", 2),
        ("clients", _) => ("clients", 2),
        ("crates", "courteous") => ("courteous", 3),
        ("commands", _) => ("commands", 4),
        ("lab", _) => ("lab", 5),
        _ => ("the workspace", 5),
    };
    Some(Package {
        name,
        folder,
        level,
    })
}

fn is_allowed(from: &Package<'_>, to: &Package<'_>, only_for_tests: bool) -> bool {
    match (from.folder, to.folder) {
        ("test tools" | "base", "base") => true,
        // What is published stands on what is published.
        ("test tools", "test tools") => from.name != "courteous-testing",
        ("courteous", "test tools") if to.name == "courteous-testing" => true,
        (_, "test tools") => only_for_tests || from.level == 5,
        // A store that keeps letters for another one while that is away is tested with one.
        ("stores", "stores") => only_for_tests,
        _ => from.level == 5 || to.level < from.level,
    }
}

#[test]
fn dependencies_run_down_only() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {error}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");

    let (mut arrows, mut wrong) = (0, Vec::new());
    for found in packages {
        let name = found["name"].as_str().expect("a name");
        let from = package(packages, name).expect("a package of the workspace");
        for dependency in found["dependencies"].as_array().expect("dependencies") {
            let Some(to) = package(packages, dependency["name"].as_str().expect("a name")) else {
                continue;
            };
            arrows += 1;
            let only_for_tests = dependency["kind"] == "dev";
            // Its own features, for its own tests.
            let is_itself = from.name == to.name;
            if !is_itself && !is_allowed(&from, &to, only_for_tests) {
                let (from_folder, to_folder) = (from.folder, to.folder);
                let kind = if only_for_tests {
                    ", for its tests"
                } else {
                    ""
                };
                wrong.push(format!(
                    "{} ({from_folder}) depends on {} ({to_folder}){kind}",
                    from.name, to.name
                ));
            }
        }
    }
    assert!(
        arrows > 50,
        "only {arrows} dependencies within the workspace"
    );
    let rule = "base <- layers <- stores, clients <- courteous <- commands, lab";
    assert!(
        wrong.is_empty(),
        "dependencies run down only ({rule}):\n{}",
        wrong.join("\n")
    );
}
