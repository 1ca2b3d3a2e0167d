//! Brings the kernel to what the plan says, at our own pace.
//!
//! [`machine`] is the only mutable brain: pure, inputs in, effects out. The
//! loop in [`run`] performs the effects and chooses nothing.

pub mod desired;
pub mod effect;
pub mod machine;
pub mod own_node;
pub mod pace;
pub mod phases;
pub mod run;
pub mod sight;
pub mod stages;
pub mod sweeper;
pub mod sweeps;

pub use effect::{Effect, Input, Report, Standing};
pub use machine::Machine;
pub use own_node::FactsOf;
pub use pace::{Moment, Pace};
