//! Reads the configuration file: the rim of `config`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{ConfigError, Settings};

/// A larger file is not a configuration.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Reads a configuration file.
///
/// # Errors
///
/// If it cannot be read, or what [`Settings::parse`] says.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let file = path.display().to_string();
    let error = |problem: String| ConfigError {
        file: file.clone(),
        line: None,
        field: String::new(),
        problem,
    };
    let mut text = String::new();
    let opened = File::open(path).map_err(|io| error(format!("cannot be opened: {io}")))?;
    opened
        .take(FILE_MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|io| error(format!("cannot be read: {io}")))?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(error("is larger than 1 MiB; is it another file?".to_owned()));
    }
    Settings::parse(&text, &file)
}
