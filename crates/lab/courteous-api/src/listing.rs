use std::collections::BTreeSet;

use syn::{Attribute, Ident, Item, ItemMod, UseTree, parse_quote};

use crate::{
    Error,
    krate::{Crate, about, defines, is_left_out},
    strip,
};

/// A name that a module re-exports: the path to what it names, and what it is called there.
struct Export {
    path: Vec<String>,
    name: String,
}

/// All that `of` offers, as one file of declarations, sorted.
pub(crate) fn of(of: &Crate) -> Result<String, Error> {
    let mut items = module(of, &[], &mut BTreeSet::new());
    for part in of.modules.values() {
        items.extend(part.items.iter().filter_map(exported_macro));
    }
    Ok(print(items))
}

/// What the module at `path` offers. `seen` has the modules that are being listed, so that circles end.
fn module(of: &Crate, path: &[String], seen: &mut BTreeSet<Vec<String>>) -> Vec<Item> {
    let Some(found) = of
        .modules
        .get(path)
        .filter(|_| seen.insert(path.to_owned()))
    else {
        return Vec::new();
    };
    let mut items = Vec::new();
    for item in &found.items {
        let is_public = strip::visibility(item).is_some_and(strip::is_public);
        if !is_public || is_left_out(strip::attributes(item)) {
            continue;
        }
        match item {
            Item::Use(item) => {
                let mut exports = Vec::new();
                flatten(&item.tree, &mut Vec::new(), &mut exports);
                for export in exports {
                    items.extend(exported(of, path, &item.attrs, export, seen));
                }
            }
            item => items.extend(defined(of, path, item, seen)),
        }
    }
    seen.remove(path);
    items
}

/// An item of the module at `path`, with its impls.
fn defined(
    of: &Crate,
    path: &[String],
    item: &Item,
    seen: &mut BTreeSet<Vec<String>>,
) -> Vec<Item> {
    let (name, item) = match item {
        Item::Mod(found) => {
            let inner = module(of, &[path, &[found.ident.to_string()]].concat(), seen);
            return vec![folder(&found.ident, &found.attrs, inner)];
        }
        Item::Struct(found) => (Some(&found.ident), item),
        Item::Enum(found) => (Some(&found.ident), item),
        Item::Trait(found) => (Some(&found.ident), item),
        _ => (None, item),
    };
    let mut items = vec![strip::definition(item.clone())];
    if let Some(name) = name {
        let name = name.to_string();
        let blocks = of.impls(path, &name).cloned().filter_map(strip::block);
        items.extend(blocks.map(Item::Impl));
    }
    items
}

/// What a re-export in the module at `path` names: its definition, or, if another crate has it, the re-export itself.
fn exported(
    of: &Crate,
    path: &[String],
    attributes: &[Attribute],
    Export { path: named, name }: Export,
    seen: &mut BTreeSet<Vec<String>>,
) -> Vec<Item> {
    let mut items = match resolve(of, path, &named) {
        Some(at) => find(of, &at, seen),
        None => {
            let text = named.join("::");
            let last = named.last();
            let tail = match last.is_some_and(|last| *last == name) {
                true => String::new(),
                false => format!(" as {name}"),
            };
            syn::parse_str(&format!("pub use {text}{tail};"))
                .into_iter()
                .collect()
        }
    };
    let conditions = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"));
    for item in &mut items {
        let to = match item {
            Item::Use(item) => &mut item.attrs,
            Item::Struct(item) => &mut item.attrs,
            Item::Enum(item) => &mut item.attrs,
            Item::Trait(item) => &mut item.attrs,
            Item::Fn(item) => &mut item.attrs,
            Item::Type(item) => &mut item.attrs,
            Item::Mod(item) => &mut item.attrs,
            _ => continue,
        };
        for condition in conditions.clone() {
            if !to.contains(condition) {
                to.push(condition.clone());
            }
        }
    }
    items
}

/// The item at the absolute path `at`, where it is defined or re-exported.
fn find(of: &Crate, at: &[String], seen: &mut BTreeSet<Vec<String>>) -> Vec<Item> {
    let Some((name, path)) = at.split_last() else {
        return Vec::new();
    };
    let Some(found) = of.modules.get(path) else {
        return Vec::new();
    };
    if name == "*" {
        return module(of, path, seen);
    }
    if let Some(item) = found.items.iter().find(|item| defines(item, name)) {
        return defined(of, path, item, seen);
    }
    for item in &found.items {
        let Item::Use(item) = item else { continue };
        let mut exports = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut exports);
        if let Some(export) = exports.into_iter().find(|export| export.name == *name) {
            return exported(of, path, &item.attrs, export, seen);
        }
    }
    Vec::new()
}

/// The absolute path of what the module at `path` calls `named`, if it is in this crate.
fn resolve(of: &Crate, path: &[String], named: &[String]) -> Option<Vec<String>> {
    let (first, rest) = named.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([path, rest].concat()),
        "super" => Some([path.split_last()?.1, rest].concat()),
        _ => {
            let local = [path, std::slice::from_ref(first)].concat();
            of.modules
                .contains_key(&local)
                .then(|| [path, named].concat())
        }
    }
}

fn flatten(tree: &UseTree, path: &mut Vec<String>, exports: &mut Vec<Export>) {
    let mut export = |path: &[String], last: String, name: String| {
        let path = match &*last {
            "self" => path.to_vec(),
            _ => [path, &[last]].concat(),
        };
        exports.push(Export { path, name });
    };
    match tree {
        UseTree::Path(tree) => {
            path.push(tree.ident.to_string());
            flatten(&tree.tree, path, exports);
            path.pop();
        }
        UseTree::Name(tree) if tree.ident == "self" => {
            let name = path.last().cloned().unwrap_or_default();
            export(path, "self".to_owned(), name);
        }
        UseTree::Name(tree) => export(path, tree.ident.to_string(), tree.ident.to_string()),
        UseTree::Rename(tree) => export(path, tree.ident.to_string(), tree.rename.to_string()),
        UseTree::Glob(_) => export(path, "*".to_owned(), "*".to_owned()),
        UseTree::Group(tree) => {
            for tree in &tree.items {
                flatten(tree, path, exports);
            }
        }
    }
}

/// A macro that the crate exports, by its name.
fn exported_macro(item: &Item) -> Option<Item> {
    let Item::Macro(item) = item else { return None };
    let name = item.ident.as_ref()?;
    let is_exported = item
        .attrs
        .iter()
        .any(|attribute| attribute.path().is_ident("macro_export"));
    (is_exported && !is_left_out(&item.attrs)).then(|| parse_quote!(macro_rules! #name {}))
}

fn folder(name: &Ident, attributes: &[Attribute], items: Vec<Item>) -> Item {
    let conditions = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"));
    let items = sorted(items);
    let mut module: ItemMod = parse_quote!(pub mod #name { #(#items)* });
    module.attrs = conditions.cloned().collect();
    Item::Mod(module)
}

/// Sorted by names, each type followed by its impls; so a move inside a file changes nothing.
fn sorted(items: Vec<Item>) -> Vec<Item> {
    let mut keyed: Vec<_> = items
        .into_iter()
        .map(|item| ((rank(&item), print_one(&item)), item))
        .collect();
    keyed.sort_by(|one, other| one.0.cmp(&other.0));
    keyed.dedup_by(|one, other| one.0 == other.0);
    keyed.into_iter().map(|(_, item)| item).collect()
}

/// What an item is sorted by: re-exports and modules first, then by the name of the type or the function.
fn rank(item: &Item) -> (u8, String, u8) {
    let named = |name: &Ident| (2, name.to_string(), 0);
    match item {
        Item::Use(_) => (0, String::new(), 0),
        Item::Mod(item) => (1, item.ident.to_string(), 0),
        Item::Struct(item) => named(&item.ident),
        Item::Enum(item) => named(&item.ident),
        Item::Trait(item) => named(&item.ident),
        Item::Type(item) => named(&item.ident),
        Item::Fn(item) => named(&item.sig.ident),
        Item::Const(item) => named(&item.ident),
        Item::Impl(item) => {
            let is_own = item.trait_.is_none();
            (
                2,
                about(item).unwrap_or_default(),
                if is_own { 1 } else { 2 },
            )
        }
        _ => (3, String::new(), 0),
    }
}

fn print_one(item: &Item) -> String {
    prettyplease::unparse(&parse_quote!(#item))
}

fn print(items: Vec<Item>) -> String {
    let mut text = String::new();
    for item in sorted(items) {
        text.push_str(&print_one(&item));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crate_offers_is_listed_by_the_names_that_users_see() {
        let source = Crate::parse(
            "mod inner {
                /// Says something.
                pub struct Shown { pub field: u8, hidden: u8 }
                pub struct Hidden;
                impl Shown {
                    #[must_use]
                    pub fn get(mut self) -> u8 { self.hidden }
                    pub(crate) fn own(&self) {}
                }
                impl Default for Shown { fn default() -> Self { todo() } }
                snapshot! { pub struct Told { pub of: u8, } }
            }
            pub use inner::{Shown as Renamed, Told};
            #[cfg(feature = \"other\")]
            pub use other::Thing;
            #[cfg(test)]
            pub mod tests {}
            fn private() {}",
        );
        let listing = source.and_then(|source| of(&source));
        assert_eq!(
            listing.unwrap_or_else(|error| error.to_string()),
            "#[cfg(feature = \"other\")]
pub use other::Thing;

#[private_fields]
pub struct Shown {
    pub field: u8,
}

impl Shown {
    #[must_use]
    pub fn get(self) -> u8 {}
}

impl Default for Shown {}

#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Told {
    pub of: u8,
}

"
        );
    }
}
