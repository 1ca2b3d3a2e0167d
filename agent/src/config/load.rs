//! Reads the configuration: the rim of `config`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::flags::Given;
use super::values::Origin;
use super::{ConfigError, Settings};
use crate::compile::Topology;

/// A larger file is not a configuration.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Where the settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A configuration file.
    pub file: Option<PathBuf>,
    /// kube-proxy's flags.
    pub flags: Vec<Given>,
    /// closeby's own `--drop-martian-loopback`; it counts beside a file.
    pub drop_martian_loopback: bool,
    /// closeby's own `--topology`, likewise.
    pub topology: Topology,
    /// What closeby's own `--count-connections` comes to; as that one.
    pub counters_max: u32,
}

impl Sources {
    /// Reads the settings.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or what [`Settings::read`] says.
    pub fn load(&self) -> Result<Settings, ConfigError> {
        let Self { drop_martian_loopback, topology, counters_max, .. } = *self;
        let configured = self.configured()?;
        Ok(Settings { drop_martian_loopback, topology, counters_max, ..configured })
    }

    /// What kube-proxy's file and flags say.
    fn configured(&self) -> Result<Settings, ConfigError> {
        let Some(path) = &self.file else { return Settings::read(None, &self.flags) };
        let name = path.display().to_string();
        let text = read(path).map_err(|problem| {
            let origin = Origin::File { name: name.clone(), line: None };
            ConfigError { origin, field: String::new(), problem }
        })?;
        Settings::read(Some((&text, &name)), &self.flags)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let opened = File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    opened
        .take(FILE_MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err("is larger than 1 MiB; is it another file?".to_owned());
    }
    Ok(text)
}
