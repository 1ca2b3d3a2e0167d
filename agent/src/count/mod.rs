//! New connections, counted by the kernel: whose they are and how far they went.
//!
//! Each element that leads to an endpoint has a counter
//! (`docs/decisions/0008-counting.md`). Elements come and go with endpoints, and their
//! counts with them; totals stay, and only grow.
//!
//! - [`element`]: which frontend and which endpoint an element stands for;
//! - [`totals`]: what is told, by Service and by distance;
//! - [`ledger`]: from what elements have counted to totals;
//! - [`reader`]: asks the kernel; all but it is PURE.

pub mod element;
pub mod ledger;
pub mod reader;
pub mod totals;

pub use element::Element;
pub use ledger::Ledger;
pub use reader::{Counting, Shared};
pub use totals::{Counts, Totals};
