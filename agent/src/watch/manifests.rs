//! Reads a folder of manifests, or one file.
//!
//! The rim: what is read here is judged in [`super::folder`]. A file
//! is taken apart anew only if its bytes changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::documents::{FILE_MAX_BYTES, Format};
use super::folder::{self, FileContent, World};
use crate::model::Admission;

/// The manifests cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot read manifests in {path}: {source}")]
pub struct ManifestsError {
    path: String,
    source: io::Error,
}

/// A folder of manifests, or a single file of them.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    admission: Admission,
    files: BTreeMap<Arc<str>, Known>,
}

/// A file as it was read last.
#[derive(Debug)]
struct Known {
    fingerprint: Fingerprint,
    content: Arc<FileContent>,
}

/// Tells two contents of a file apart. Its time of change would not: two
/// changes may share one tick of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fingerprint {
    Bytes { count: usize, hash: u64 },
    Unreadable,
}

impl Folder {
    /// The manifests at `path`, by what this agent takes: a folder, or a file of
    /// any name.
    ///
    /// # Errors
    ///
    /// If nothing there can be read.
    pub fn open(path: impl Into<PathBuf>, admission: Admission) -> Result<Self, ManifestsError> {
        let folder = Self { path: path.into(), admission, files: BTreeMap::new() };
        folder.paths()?;
        Ok(folder)
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what is there now. A file that is gone takes its objects along;
    /// one that cannot be read keeps those it gave before.
    ///
    /// # Errors
    ///
    /// If the folder is gone or cannot be read. What was read before should
    /// stay in force, and reading be tried again.
    pub fn read(&mut self) -> Result<World, ManifestsError> {
        let mut files = BTreeMap::new();
        for path in self.paths()? {
            let shown: Arc<str> = path.to_string_lossy().into();
            let known = self.files.get(&shown);
            if let Some(known) = read_file(&path, &shown, &self.admission, known) {
                files.insert(shown, known);
            }
        }
        self.files = files;
        let contents =
            self.files.iter().map(|(path, known)| (path.clone(), known.content.clone())).collect();
        Ok(folder::assemble(&contents))
    }

    /// The files to read.
    fn paths(&self) -> Result<Vec<PathBuf>, ManifestsError> {
        let error = |source| ManifestsError { path: self.path.display().to_string(), source };
        if !fs::metadata(&self.path).map_err(error)?.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(error)? {
            let entry = entry.map_err(error)?;
            if entry.file_name().to_str().is_some_and(is_manifest) {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    }
}

/// Whether a file of this name is read: not a hidden one, and not what editors
/// leave behind.
fn is_manifest(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    !name.starts_with(['.', '#']) && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Reads a file; `None` if it is not there (any more) or no file.
fn read_file(
    path: &Path,
    shown: &Arc<str>,
    admission: &Admission,
    known: Option<&Known>,
) -> Option<Known> {
    let previous = known.map(|known| &*known.content);
    let unreadable = |problem: &str| Known {
        fingerprint: Fingerprint::Unreadable,
        content: Arc::new(folder::unreadable_file(shown, problem, previous)),
    };
    let bytes = match read_bytes(path) {
        Ok(bytes) => bytes?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(unreadable(&format!("cannot be read: {error}"))),
    };
    let fingerprint = Fingerprint::Bytes { count: bytes.len(), hash: hash(&bytes) };
    if let Some(known) = known.filter(|known| known.fingerprint == fingerprint) {
        return Some(Known { fingerprint, content: known.content.clone() });
    }
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Some(unreadable("cannot be read: it is no text in UTF-8"));
    };
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let format = if is_json { Format::Json } else { Format::Yaml };
    let content = Arc::new(folder::read_file(shown, text, format, admission, previous));
    Some(Known { fingerprint, content })
}

/// The bytes of a file; `None` if it is a folder or a device.
fn read_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // Asked before it is opened: opening a pipe would wait for a writer.
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(FILE_MAX_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_MAX_BYTES {
        let problem = format!("it is larger than {} MiB; split it", FILE_MAX_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(Some(bytes))
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests;
