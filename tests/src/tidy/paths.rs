//! Every path that a file names outside its tests, from the root of a crate:
//! `use` trees spread out, names followed through them, `super` resolved.

use std::collections::BTreeMap;

use syn::parse::Parser as _;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::sources::{File, is_for_tests};

/// A path, and where it is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The line, counted from 1.
    pub line: usize,
    /// Its segments, the crate first.
    pub path: Vec<String>,
}

impl Named {
    /// Whether it is this path or one below.
    #[must_use]
    pub fn is_in(&self, prefix: &str) -> bool {
        let mut segments = self.path.iter();
        prefix.split("::").all(|part| segments.next().is_some_and(|segment| segment == part))
    }
}

/// The library name of a package.
#[must_use]
pub fn crate_of(package: &str) -> String {
    match package {
        "agent" => "closeby".to_owned(),
        other => format!("closeby_{other}"),
    }
}

/// What a file names outside its tests, in order of lines.
#[must_use]
pub fn named(file: &File) -> Vec<Named> {
    if file.is_test() {
        return Vec::new();
    }
    let (package, place) = file.place();
    let root = matches!(place, "lib" | "main");
    let below = if root { Vec::new() } else { place.split('/').map(ToOwned::to_owned).collect() };
    let module = [vec![crate_of(package)], below].concat();
    let mut imports =
        Imports { module: module.clone(), found: Vec::new(), aliases: BTreeMap::new() };
    imports.visit_file(&file.syntax);
    let mut mentions = Mentions { module, aliases: imports.aliases, found: imports.found };
    mentions.visit_file(&file.syntax);
    let mut found = mentions.found;
    found.sort();
    found.dedup();
    found
}

/// The path without `crate`, `self` and `super`, seen from a module.
fn absolute(path: &[String], module: &[String]) -> Vec<String> {
    let mut base: Option<Vec<String>> = None;
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        match first.as_str() {
            "crate" => base = Some(module[..1].to_vec()),
            "self" => base = Some(base.unwrap_or_else(|| module.to_vec())),
            "super" => {
                let mut above = base.unwrap_or_else(|| module.to_vec());
                above.pop();
                base = Some(above);
            }
            _ => break,
        }
        rest = tail;
    }
    [base.unwrap_or_default(), rest.to_vec()].concat()
}

/// Collects `use` trees.
struct Imports {
    module: Vec<String>,
    found: Vec<Named>,
    aliases: BTreeMap<String, Vec<String>>,
}

impl Imports {
    fn tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => {
                let alias = prefix.last().cloned().unwrap_or_default();
                self.leaf(name.span(), alias, prefix);
            }
            syn::UseTree::Name(name) => {
                self.leaf(name.span(), name.ident.to_string(), &with(&name.ident));
            }
            syn::UseTree::Rename(rename) => {
                self.leaf(rename.span(), rename.rename.to_string(), &with(&rename.ident));
            }
            syn::UseTree::Glob(glob) => self.leaf(glob.span(), "*".to_owned(), prefix),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(prefix, tree);
                }
            }
        }
    }

    fn leaf(&mut self, span: proc_macro2::Span, alias: String, path: &[String]) {
        let path = absolute(path, &self.module);
        self.aliases.insert(alias, path.clone());
        self.found.push(Named { line: span.start().line, path });
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.tree(&[], &item.tree);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }
}

/// Collects paths in types, expressions and patterns.
struct Mentions {
    module: Vec<String>,
    aliases: BTreeMap<String, Vec<String>>,
    found: Vec<Named>,
}

impl<'ast> Visit<'ast> for Mentions {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            let followed = match self.aliases.get(&segments[0]) {
                Some(known) => [known, &segments[1..]].concat(),
                None => absolute(&segments, &self.module),
            };
            self.found.push(Named { line: path.span().start().line, path: followed });
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let arguments = Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        if let Ok(arguments) = arguments.parse2(called.tokens.clone()) {
            for argument in &arguments {
                self.visit_expr(argument);
            }
        }
        visit::visit_macro(self, called);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}
}
