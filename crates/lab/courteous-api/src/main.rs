//! Lists what the published crates offer: see README.

mod krate;
mod listing;
mod strip;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use serde_json::Value;

/// Where the listings are, from this crate's folder.
const LISTINGS: &str = "listings";

type Error = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Error> {
    let is_check = match env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            return Err(format!("unknown argument `{other}`: use `--check` or none").into());
        }
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(LISTINGS);
    let mut is_same = true;
    let mut expected = Vec::new();
    for (name, root) in published()? {
        let listing = listing::of(&krate::Crate::read(&root)?)?;
        let file = folder.join(format!("{name}.rs.txt"));
        if is_check {
            is_same &= compare(&name, &read(&file)?, &listing);
        } else {
            fs::create_dir_all(&folder)?;
            fs::write(&file, listing)?;
        }
        expected.push(file);
    }
    for entry in fs::read_dir(&folder)? {
        let file = entry?.path();
        if expected.contains(&file) {
        } else if is_check {
            println!("{} lists no published crate", file.display());
            is_same = false;
        } else {
            fs::remove_file(file)?;
        }
    }
    if is_same {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nIf that is meant: `cargo run -p courteous-api`, and commit what it writes.");
    Ok(ExitCode::FAILURE)
}

/// The packages that are published, with the paths of their libraries.
fn published() -> Result<Vec<(String, PathBuf)>, Error> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("no packages")?;
    let mut found = Vec::new();
    for package in packages {
        // A package that is not published has an empty list of registries.
        if package["publish"].as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        let targets = package["targets"].as_array().into_iter().flatten();
        for target in targets.filter(|target| target["kind"][0] == "lib") {
            let name = package["name"].as_str().ok_or("a package without a name")?;
            let path = target["src_path"]
                .as_str()
                .ok_or("a library without a path")?;
            found.push((name.to_owned(), path.into()));
        }
    }
    Ok(found)
}

/// The listing as it was committed; empty if there is none yet.
fn read(file: &Path) -> io::Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

/// Prints the lines that only one of the two has. Returns whether there are none.
fn compare(name: &str, committed: &str, now: &str) -> bool {
    if committed == now {
        return true;
    }
    println!("{name} offers something else than its listing says:");
    let only_in = |one: &str, other: &str, sign: char| {
        let mut others: Vec<_> = other.lines().collect();
        for line in one.lines() {
            match others.iter().position(|other| *other == line) {
                Some(at) => drop(others.swap_remove(at)),
                None => println!("{sign} {line}"),
            }
        }
    };
    only_in(committed, now, '-');
    only_in(now, committed, '+');
    false
}
