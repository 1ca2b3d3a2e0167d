//! What the agent answers over HTTP.

pub mod health_check;
pub mod health_listeners;

pub use health_listeners::HealthListeners;
