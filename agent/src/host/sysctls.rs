//! Settings of the kernel that kube-proxy makes at its start: connection
//! tracking's, and how likely this process is ended for want of memory.
//!
//! Written only where they differ, so that an agent without the right to write
//! them can follow one that had it (`--init-only`).

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where settings of the network are.
const NETFILTER: &str = "/proc/sys/net/netfilter";
/// How many lists the table of connections has; the machine's.
const HASH_SIZE: &str = "/sys/module/nf_conntrack/parameters/hashsize";
/// Entries for each list, at most, as kube-proxy wants it.
const ENTRIES_PER_LIST: u64 = 4;

/// A setting that stays as it is.
#[derive(Debug)]
pub struct Unset {
    file: PathBuf,
    value: u64,
    source: io::Error,
}

impl fmt::Display for Unset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, value, source } = self;
        write!(
            f,
            "{} cannot be set to {value}: {source}; set it on the node, run `closeby --init-only` \
             with the right to, or leave it out of the configuration (0)",
            file.display()
        )
    }
}

/// Makes connection tracking's settings these: how many entries there may be,
/// and others by name. What could not be set.
#[must_use]
pub fn set_conntrack(max: Option<u64>, settings: &[(&str, u64)]) -> Vec<Unset> {
    let netfilter = Path::new(NETFILTER);
    let mut unset = Vec::new();
    if let Some(max) = max {
        unset.extend(set(netfilter.join("nf_conntrack_max"), max, |now| now == max));
        let lists = max / ENTRIES_PER_LIST;
        unset.extend(set(PathBuf::from(HASH_SIZE), lists, |now| now >= lists));
    }
    for &(name, value) in settings {
        unset.extend(set(netfilter.join(name), value, |now| now == value));
    }
    unset
}

/// Makes it less likely that this process is ended for want of memory, or more.
///
/// # Errors
/// Less likely takes `CAP_SYS_RESOURCE`.
pub fn set_oom_score(adjustment: i64) -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", adjustment.to_string())
}

fn set(file: PathBuf, value: u64, is_enough: impl Fn(u64) -> bool) -> Option<Unset> {
    let written = fs::read_to_string(&file).and_then(|text| match text.trim().parse() {
        Ok(now) if is_enough(now) => Ok(()),
        _ => fs::write(&file, value.to_string()),
    });
    written.err().map(|source| Unset { file, value, source })
}
