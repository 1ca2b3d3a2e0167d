//! Brings the kernel to what the plan says, at our own pace.
//!
//! [`machine`] is the only mutable brain: pure, inputs in, effects out. The
//! loop in [`run`] performs the effects and chooses nothing.

pub mod machine;
pub mod pace;
pub mod run;
pub mod stages;

pub use machine::{Effect, Input, Machine, Report};
pub use pace::{Moment, Pace};
