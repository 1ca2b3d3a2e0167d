//! nftables as values.
//!
//! A [`Ruleset`] is what a table holds, as data: it can be judged, printed as
//! nft text, traced with a packet, compared with another, encoded for netlink
//! and committed in one transaction. Everything but [`socket`] is pure.
//! This crate has never heard of Kubernetes.
//!
//! The way of the data:
//!
//! ```text
//! Ruleset ──diff──▶ Delta ──encode──▶ Batch<Open> ──seal──▶ Batch<Sealed> ──commit──▶ Receipt
//!    ▲                                                                        │
//!    └───────────────────────────────list◀────────────────────────────────────┘
//! ```
//!
//! **Hard rule.** Every rule that can be built here can be written in the text
//! of nft 1.0.6, is listed by it, and the listing loads again to the same
//! bytecode. The kernel accepts more; then every `nft list ruleset` of the
//! machine aborts, whoever calls it.

pub mod apply;
pub mod batch;
pub mod delta;
pub mod elements;
pub mod expr;
pub mod fake;
pub mod foreign;
pub mod judge;
pub mod kernel;
pub mod lower;
pub mod name;
pub mod nfnl;
pub mod ruleset;
pub mod socket;
pub mod statement;
pub mod text;
pub mod trace;
pub mod types;
pub mod wire;

pub use batch::{Batch, Open, Sealed};
pub use delta::{Delta, Op};
pub use elements::Elements;
pub use kernel::{CommitError, Kernel, Receipt};
pub use name::Name;
pub use ruleset::{Chain, Data, DataKind, Hook, Key, Rule, Ruleset, Set, SetSpec, Table, TableId};
pub use statement::{Field, Statement, Verdict};
pub use types::{Family, GenId, L4Proto, Port, Prefix};
