//! What the host is: collected here, at the rim, and passed on as values.

pub mod addresses;
pub mod connections;
pub mod fullness;
pub mod kernel;
pub mod kube_proxy;
pub mod leftovers;
pub mod lock;
pub mod probe;
pub mod processors;
pub mod sysctls;
pub mod traces;

pub use addresses::{AddressError, AddressWatch};
pub use kernel::families;
pub use lock::{Lock, LockError};
