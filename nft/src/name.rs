//! Names of tables, chains, sets and maps.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest name the kernel takes: `NFT_NAME_MAXLEN` (256) with its NUL.
pub const NAME_MAX: usize = 255;

/// The name of a table, chain, set or map. Cheap to clone.
///
/// The kernel accepts any bytes; whether nft could read the name again is for
/// [`crate::judge`] to say.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
