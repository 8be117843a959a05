//! What of an item is its interface.

use syn::{
    Attribute, Fields, FnArg, ImplItem, Item, ItemImpl, Pat, Signature, TraitItem, Visibility,
    parse_quote,
};

use crate::krate::is_left_out;

/// The visibility of `item`, for those that have one.
pub(crate) const fn visibility(item: &Item) -> Option<&Visibility> {
    Some(match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Mod(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Union(item) => &item.vis,
        Item::Use(item) => &item.vis,
        _ => return None,
    })
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The interface of a definition.
pub(crate) fn definition(mut item: Item) -> Item {
    match &mut item {
        Item::Const(item) => {
            keep(&mut item.attrs);
            *item.expr = parse_quote!(_);
        }
        Item::Enum(item) => {
            keep(&mut item.attrs);
            for variant in &mut item.variants {
                keep(&mut variant.attrs);
                for field in &mut variant.fields {
                    keep(&mut field.attrs);
                }
            }
        }
        Item::Fn(item) => {
            keep(&mut item.attrs);
            signature(&mut item.sig);
            *item.block = parse_quote!({});
        }
        Item::Static(item) => {
            keep(&mut item.attrs);
            *item.expr = parse_quote!(_);
        }
        Item::Struct(item) => {
            keep(&mut item.attrs);
            if fields(&mut item.fields) {
                item.attrs.push(parse_quote!(#[private_fields]));
            }
        }
        Item::Trait(item) => {
            keep(&mut item.attrs);
            for item in &mut item.items {
                match item {
                    TraitItem::Fn(item) => {
                        keep(&mut item.attrs);
                        signature(&mut item.sig);
                        if let Some(block) = &mut item.default {
                            *block = parse_quote!({});
                        }
                    }
                    TraitItem::Type(item) => keep(&mut item.attrs),
                    TraitItem::Const(item) => keep(&mut item.attrs),
                    _ => {}
                }
            }
        }
        Item::Type(item) => keep(&mut item.attrs),
        _ => {}
    }
    item
}

/// The interface of a block; none if it has none.
pub(crate) fn block(mut item: ItemImpl) -> Option<ItemImpl> {
    keep(&mut item.attrs);
    let is_trait = item.trait_.is_some();
    item.items.retain_mut(|item| match item {
        ImplItem::Fn(item) => {
            let is_shown = is_public(&item.vis) && !is_left_out(&item.attrs) && !is_trait;
            keep(&mut item.attrs);
            signature(&mut item.sig);
            item.block = parse_quote!({});
            is_shown
        }
        ImplItem::Const(item) => {
            let is_shown = is_public(&item.vis) && !is_left_out(&item.attrs);
            keep(&mut item.attrs);
            item.expr = parse_quote!(_);
            is_shown
        }
        ImplItem::Type(item) => {
            keep(&mut item.attrs);
            true
        }
        _ => false,
    });
    item.items.sort_by_key(|item| match item {
        ImplItem::Fn(item) => item.sig.ident.to_string(),
        _ => String::new(),
    });
    (is_trait || !item.items.is_empty()).then_some(item)
}

pub(crate) const fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Takes out the fields that are not public. Returns whether there were any.
fn fields(fields: &mut Fields) -> bool {
    for field in fields.iter_mut() {
        keep(&mut field.attrs);
    }
    match fields {
        Fields::Named(all) => {
            let (before, named) = (all.named.len(), std::mem::take(&mut all.named));
            all.named = named
                .into_iter()
                .filter(|field| is_public(&field.vis))
                .collect();
            all.named.len() < before
        }
        Fields::Unnamed(all) => {
            let mut is_hidden = false;
            for field in all
                .unnamed
                .iter_mut()
                .filter(|field| !is_public(&field.vis))
            {
                field.ty = parse_quote!(_);
                field.vis = Visibility::Inherited;
                is_hidden = true;
            }
            is_hidden
        }
        Fields::Unit => false,
    }
}

/// Takes out what only the body needs: whether an argument is mutable.
fn signature(signature: &mut Signature) {
    for input in &mut signature.inputs {
        match input {
            FnArg::Receiver(receiver) => receiver.mutability = None,
            FnArg::Typed(input) => {
                if let Pat::Ident(pattern) = &mut *input.pat {
                    pattern.mutability = None;
                }
            }
        }
    }
}

/// Keeps the attributes that a user has to know.
fn keep(attributes: &mut Vec<Attribute>) {
    attributes.retain(|attribute| {
        let names = ["cfg", "deprecated", "derive", "must_use", "non_exhaustive"];
        names.iter().any(|name| attribute.path().is_ident(name))
    });
}
