//! Each relative link in a README or a page of the guide leads to a file, and to a heading of it. No
//! code that a reader sees on a forge has lines that only rustdoc hides.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What a forge calls a heading in links.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    let name: String = heading.to_lowercase().chars().filter(kept).collect();
    name.replace(' ', "-")
}

/// Text and code of a page by turns, beginning with text.
fn parts(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap_or_default();
    text.split("\n```").map(str::to_owned).collect()
}

fn prose(page: &Path) -> String {
    parts(page).into_iter().step_by(2).collect()
}

/// What stands between `start` and `end`.
fn between<'a>(text: &'a str, start: &'a str, end: char) -> impl Iterator<Item = &'a str> {
    let starts = text.split(start).skip(1);
    starts.filter_map(move |rest| Some(rest.split_once(end)?.0))
}

fn leads_somewhere(page: &Path, target: &str) -> bool {
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = match path {
        "" => page.to_owned(),
        _ => page.with_file_name(path),
    };
    let is_heading = |line: &str| {
        line.starts_with('#') && anchor(line.trim_start_matches(['#', ' '])) == heading
    };
    target.contains("://")
        || file.exists() && (heading.is_empty() || prose(&file).lines().any(is_heading))
}

/// The entries of a folder; none if it is not there.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

#[test]
fn each_link_of_a_readme_leads_somewhere_and_no_code_is_for_rustdoc_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let folders = entries(&root.join("crates")).flat_map(|folder| entries(&folder).chain([folder]));
    let readmes = folders
        .chain([root.clone()])
        .map(|folder| folder.join("README.md"));
    let readmes: Vec<_> = readmes.filter(|readme| readme.exists()).collect();
    assert!(readmes.len() > 20, "{readmes:?}");
    let pages = entries(&root.join("crates/courteous/docs"));
    let mut wrong = Vec::new();
    for page in pages.chain(readmes) {
        let text = prose(&page);
        let definition = |line: &str| Some(line.strip_prefix('[')?.split_once("]: ")?.1.to_owned());
        let targets = between(&text, "](", ')').map(str::to_owned);
        for target in targets.chain(text.lines().filter_map(definition)) {
            if !leads_somewhere(&page, &target) {
                wrong.push(format!("{}: {target} leads nowhere", page.display()));
            }
        }
        let is_rust = |code: &&String| code.starts_with("rust") || code.starts_with('\n');
        let is_hidden = |line: &&str| *line == "#" || line.starts_with("# ");
        for code in parts(&page).iter().skip(1).step_by(2).filter(is_rust) {
            for line in code.lines().filter(is_hidden) {
                wrong.push(format!("{}: rustdoc hides {line}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A page links another by reference, as `src/guide.rs` says.
#[test]
fn each_page_of_the_guide_can_be_found_on_a_forge_and_in_rustdoc() {
    let facade = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../courteous");
    let read = |path: &str| fs::read_to_string(facade.join(path)).expect("a file");
    let (guide, links) = (read("src/guide.rs"), read("src/guide/links.md"));
    let index = read("docs/README.md");
    let mut wrong = Vec::new();
    for page in entries(&facade.join("docs")) {
        let name = page.file_name().expect("a name").to_string_lossy();
        let text = prose(&page);
        for label in between(&text, "][", ']') {
            if !text.contains(&format!("\n[{label}]: {label}\n")) {
                wrong.push(format!("{name} does not define [{label}]: {label}"));
            }
            let module = format!("[{label}]: crate::guide::{}", label.replace(".md", ""));
            if !links.lines().any(|line| line == module) {
                wrong.push(format!("src/guide/links.md does not define {module}"));
            }
        }
        if !guide.contains(&format!("\"../docs/{name}\"")) {
            wrong.push(format!("{name} is not in src/guide.rs"));
        }
        if name != "README.md" && !index.contains(&format!("][{name}]")) {
            wrong.push(format!("{name} is not in docs/README.md"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
