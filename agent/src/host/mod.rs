//! What the host is: collected here, at the rim, and passed on as values.

pub mod addresses;
pub mod kernel;
pub mod lock;
pub mod probe;
pub mod sysctls;

pub use addresses::{AddressError, AddressWatch};
pub use kernel::families;
pub use lock::{Lock, LockError};
