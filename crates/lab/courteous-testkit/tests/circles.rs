//! No two modules of a crate need each other, directly or by way of others.
//!
//! A module counts together with the modules inside of it, as a type may spread its `impl` over
//! several files. So for each module, the arrows between those that it declares form no circle. An
//! arrow is a path in the code, with re-exports followed to the module that defines the name. Tests
//! and modules without a file do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, iter,
    path::{Path, PathBuf},
    slice::from_ref,
};

use syn::{
    ItemMod, ItemUse, UseTree,
    visit::{self, Visit},
};

type Names = Vec<String>;

/// The paths that each module of a crate names.
struct Modules {
    paths: BTreeMap<Names, BTreeSet<Names>>,
    root: PathBuf,
    /// The module that is being read.
    at: Names,
}

impl Modules {
    /// Reads a module's file, and those of the modules that it declares.
    fn read(&mut self) {
        let file = match &*self.at {
            [] => self.root.clone(),
            at => self.root.with_file_name(at.join("/") + ".rs"),
        };
        let read = fs::read_to_string(file).map(|text| syn::parse_file(&text));
        if let Ok(Ok(read)) = read {
            self.paths.insert(self.at.clone(), BTreeSet::new());
            self.visit_file(&read);
        }
    }

    /// The module that defines what `path` names in the module `at`.
    fn find(&self, at: &[String], path: &[String], depth: u8) -> Option<Names> {
        let mut found = match path.first()?.as_str() {
            "crate" => Names::new(),
            "self" => at.to_owned(),
            "super" => at.split_last()?.1.to_owned(),
            _ => Some([at, &path[..1]].concat()).filter(|child| self.paths.contains_key(child))?,
        };
        for name in &path[1..] {
            let inner = match name.as_str() {
                "super" => found.split_last()?.1.to_owned(),
                _ => [&found, from_ref(name)].concat(),
            };
            if !self.paths.contains_key(&inner) {
                let named = self.paths[&found].iter();
                let exports = named.filter(|from| from.len() > 1 && from.last() == Some(name));
                let depth = depth.checked_sub(1)?;
                let mut defines = exports.filter_map(|from| self.find(&found, from, depth));
                return defines.next().or(Some(found));
            }
            found = inner;
        }
        Some(found)
    }

    /// The paths that draw one circle, if there is any.
    fn circle(&self) -> Option<Names> {
        // From each module to others that the same module declares.
        let mut arrows = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (from, paths) in &self.paths {
            for path in paths {
                let to = self.find(from, path, 8).unwrap_or_default();
                let both = iter::zip(from, &to).take_while(|(one, other)| one == other);
                let length = both.count() + 1;
                if from.len().min(to.len()) >= length {
                    let named = format!("{} names {}", from.join("::"), path.join("::"));
                    let own = arrows.entry(&from[..length]).or_default();
                    own.insert(to[..length].to_owned(), named);
                }
            }
        }
        arrows.keys().find_map(|start| {
            let (mut reached, mut ways) = (BTreeSet::new(), vec![(*start, Names::new())]);
            while let Some((at, way)) = ways.pop() {
                for (next, named) in arrows.get(at).into_iter().flatten() {
                    let way = [&*way, from_ref(named)].concat();
                    if next == start {
                        return Some(way);
                    }
                    if reached.insert(next) {
                        ways.push((next, way));
                    }
                }
            }
            None
        })
    }
}

impl<'a> Visit<'a> for Modules {
    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if item.ident != "tests" {
            self.at.push(item.ident.to_string());
            self.read();
            self.at.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let paths = self.paths.entry(self.at.clone()).or_default();
        paths.extend(leaves(&item.tree));
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names = path.segments.iter().map(|name| name.ident.to_string());
        let paths = self.paths.entry(self.at.clone()).or_default();
        paths.insert(names.collect());
        visit::visit_path(self, path);
    }
}

/// All paths in a `use`.
fn leaves(tree: &UseTree) -> Vec<Names> {
    match tree {
        UseTree::Path(tree) => {
            let begin = |rest| [vec![tree.ident.to_string()], rest].concat();
            leaves(&tree.tree).into_iter().map(begin).collect()
        }
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        UseTree::Name(tree) if tree.ident != "self" => vec![vec![tree.ident.to_string()]],
        UseTree::Rename(tree) => vec![vec![tree.ident.to_string()]],
        _ => vec![Names::new()],
    }
}

#[test]
fn no_module_needs_one_that_needs_it() {
    let (mut modules, mut circles) = (0, Vec::new());
    let inside = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let crates = inside(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    let crates = crates
        .iter()
        .flat_map(|one| [from_ref(one), &inside(one)].concat());
    for root in crates.flat_map(|one| ["src/lib.rs", "src/main.rs"].map(|root| one.join(root))) {
        let (paths, at) = Default::default();
        let mut read = Modules { paths, root, at };
        read.read();
        modules += read.paths.len();
        let name = read.root.iter().rev().nth(2).map(|name| name.display());
        let circle = name.zip(read.circle());
        circles.extend(circle.map(|(name, way)| format!("\n{name}:\n  {}", way.join("\n  "))));
    }
    assert!(modules > 300, "only {modules} modules");
    let found = circles.concat();
    assert!(found.is_empty(), "modules that need each other:{found}");
}
