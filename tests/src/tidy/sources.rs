//! Source files, read and parsed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Fault;

/// The packages of the workspace.
pub const PACKAGES: [&str; 5] = ["agent", "nft", "conntrack", "tools", "tests"];

/// A source file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path from the root of the repository, with slashes.
    pub path: String,
    /// What it says.
    pub text: String,
    /// What that means.
    pub syntax: syn::File,
}

impl File {
    /// A file with this text.
    ///
    /// # Errors
    /// When it is no Rust.
    pub fn new(path: &str, text: &str) -> syn::Result<Self> {
        let syntax = syn::parse_file(text)?;
        Ok(Self { path: path.to_owned(), text: text.to_owned(), syntax })
    }

    /// A fault in this file.
    #[must_use]
    pub fn fault(&self, line: usize, problem: impl Into<String>) -> Fault {
        Fault { file: self.path.clone(), line, problem: problem.into() }
    }

    /// Whether all of it is for tests.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let in_folder = |folder: &str| self.path.split('/').any(|part| part == folder);
        self.path.ends_with("/tests.rs")
            || in_folder("suites")
            || in_folder("benches")
            || self.path.starts_with("tools/tests/")
    }

    /// Its package, and its path in there without `src/` and `.rs`.
    #[must_use]
    pub fn place(&self) -> (&str, &str) {
        let (package, rest) = self.path.split_once('/').unwrap_or(("", &self.path));
        let rest = rest.strip_prefix("src/").unwrap_or(rest);
        let rest = rest.strip_suffix(".rs").unwrap_or(rest);
        (package, rest.strip_suffix("/mod").unwrap_or(rest))
    }
}

/// Whether an item is compiled for tests alone.
#[must_use]
pub fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::NameValue(_) => false,
    })
}

/// Every `.rs` file of the workspace, in order of path.
///
/// # Errors
/// When one cannot be read.
pub fn read_all(root: &Path) -> io::Result<Vec<File>> {
    let mut paths = Vec::new();
    for package in PACKAGES {
        find(&root.join(package), &mut paths)?;
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path)?;
        let shown = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        File::new(&shown, &text).map_err(|error| io::Error::other(format!("{shown}: {error}")))
    };
    paths.into_iter().map(read).collect()
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden && !path.ends_with("target") {
            find(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}
