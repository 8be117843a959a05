use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, File, Item, ItemImpl, ItemMacro, ItemMod, Meta, Type, parse_file, parse_quote,
};

use crate::Error;

/// The source of one crate, as a tree of modules.
pub(crate) struct Crate {
    pub(crate) modules: BTreeMap<Vec<String>, Module>,
}

/// One module: what it defines, without its tests.
pub(crate) struct Module {
    pub(crate) items: Vec<Item>,
    pub(crate) impls: Vec<ItemImpl>,
}

impl Crate {
    /// Reads the crate whose root is the file `root`.
    pub(crate) fn read(root: &Path) -> Result<Self, Error> {
        let mut read = Self {
            modules: BTreeMap::new(),
        };
        let folder = root.parent().ok_or("a file without a folder")?;
        read.file(Vec::new(), root, folder.to_owned())?;
        Ok(read)
    }

    /// Reads the crate whose only file is `source`.
    #[cfg(test)]
    pub(crate) fn parse(source: &str) -> Result<Self, Error> {
        let mut read = Self {
            modules: BTreeMap::new(),
        };
        read.module(Vec::new(), parse_file(source)?.items, PathBuf::new())?;
        Ok(read)
    }

    /// Reads the module at `path` from `file`; those below it are in `folder`.
    fn file(&mut self, path: Vec<String>, file: &Path, folder: PathBuf) -> Result<(), Error> {
        let source = fs::read_to_string(file)?;
        let File { items, .. } =
            parse_file(&source).map_err(|error| format!("{}: {error}", file.display()))?;
        self.module(path, items, folder)
    }

    fn module(&mut self, path: Vec<String>, all: Vec<Item>, folder: PathBuf) -> Result<(), Error> {
        let (mut items, mut impls) = (Vec::new(), Vec::new());
        for item in expand(all)? {
            match item {
                Item::Impl(item) if !is_left_out(&item.attrs) => impls.push(item),
                Item::Mod(mut item) if !is_left_out(&item.attrs) => {
                    let name = item.ident.to_string();
                    let below = folder.join(&name);
                    let path = [&path[..], &[name]].concat();
                    match item.content.take() {
                        Some((_, inner)) => self.module(path, inner, below)?,
                        None => {
                            let beside = below.with_extension("rs");
                            let file = match beside.exists() {
                                true => beside,
                                false => below.join("mod.rs"),
                            };
                            self.file(path, &file, below)?;
                        }
                    }
                    items.push(Item::Mod(ItemMod {
                        semi: None,
                        content: None,
                        ..item
                    }));
                }
                Item::Mod(_) | Item::Impl(_) => {}
                other => items.push(other),
            }
        }
        self.modules.insert(path, Module { items, impls });
        Ok(())
    }

    /// The impls of the type or trait `name`, which the module at `path` defines.
    pub(crate) fn impls<'a>(
        &'a self,
        path: &'a [String],
        name: &'a str,
    ) -> impl Iterator<Item = &'a ItemImpl> {
        // Of two types with one name, each has the impls that are in its own module or below.
        let is_alone = (self.modules.values())
            .filter(|module| module.items.iter().any(|item| defines(item, name)))
            .count()
            == 1;
        self.modules
            .iter()
            .filter(move |(at, _)| is_alone || at.starts_with(path))
            .flat_map(|(_, module)| &module.impls)
            .filter(move |item| about(item).is_some_and(|about| about == name))
    }
}

/// The name of the type that the block is of, or, where it gives a trait to any type, of the trait.
pub(crate) fn about(item: &ItemImpl) -> Option<String> {
    let of = last(&item.self_ty);
    let is_any = (item.generics.type_params()).any(|any| Some(any.ident.to_string()) == of);
    match &item.trait_ {
        Some((path, _)) if is_any => path.segments.last().map(|last| last.ident.to_string()),
        _ => of,
    }
}

/// The last name of a type's path.
fn last(of: &Type) -> Option<String> {
    match of {
        Type::Path(of) => of.path.segments.last().map(|last| last.ident.to_string()),
        Type::Reference(of) => last(&of.elem),
        _ => None,
    }
}

/// Whether `item` is the type or trait `name`.
pub(crate) fn defines(item: &Item, name: &str) -> bool {
    match item {
        Item::Struct(item) => item.ident == name,
        Item::Enum(item) => item.ident == name,
        Item::Trait(item) => item.ident == name,
        Item::Type(item) => item.ident == name,
        Item::Union(item) => item.ident == name,
        Item::Const(item) => item.ident == name,
        Item::Static(item) => item.ident == name,
        Item::Fn(item) => item.sig.ident == name,
        Item::Mod(item) => item.ident == name,
        _ => false,
    }
}

/// What the macros of this workspace that define types make of them, as far as it is public.
fn expand(items: Vec<Item>) -> Result<Vec<Item>, Error> {
    let mut all = Vec::new();
    for item in items {
        let Item::Macro(ItemMacro { mac, .. }) = &item else {
            all.push(item);
            continue;
        };
        let name = mac.path.segments.last().map(|last| last.ident.to_string());
        let derived: &[Attribute] = match name.as_deref() {
            Some("pin_project") => &[],
            Some("snapshot") => &[
                parse_quote!(#[derive(Clone, Debug, PartialEq)]),
                parse_quote!(#[non_exhaustive]),
            ],
            Some("settings") => &[
                parse_quote!(#[derive(Clone, Debug, Default, PartialEq)]),
                parse_quote!(#[non_exhaustive]),
            ],
            _ => {
                all.push(item);
                continue;
            }
        };
        let File { items, .. } = syn::parse2(mac.tokens.clone())?;
        all.extend(items.into_iter().map(|mut item| {
            if let Item::Struct(item) = &mut item {
                item.attrs.extend_from_slice(derived);
            }
            item
        }));
    }
    Ok(all)
}

/// Whether users do not see it: a test, documentation, or what is hidden from documentation.
pub(crate) fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else {
            return false;
        };
        let tokens = list.tokens.to_string();
        match attribute.path().get_ident() {
            Some(name) if name == "cfg" => {
                let words = [
                    "test",
                    "doc",
                    "doctest",
                    "any (doc , doctest)",
                    "courteous_loom",
                ];
                let starts = ["all (doctest", "any (all (doc ,"];
                words.contains(&&*tokens) || starts.iter().any(|start| tokens.starts_with(start))
            }
            Some(name) if name == "doc" => tokens == "hidden",
            _ => false,
        }
    })
}
