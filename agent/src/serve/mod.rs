//! What the agent answers over HTTP.

pub mod health_check;
mod health_listeners;
mod listener;
pub mod proxy_health;
pub mod server;
pub mod shared;
pub mod socket;

pub use proxy_health::ProxyHealth;
pub use server::{Addresses, ServeError, Server};
pub use shared::Shared;
