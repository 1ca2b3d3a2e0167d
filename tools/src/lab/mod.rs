//! A cluster in one process: nodes, pods and a client outside are network namespaces, requests
//! are real packets. Works without root, and leaves nothing behind however it ends.
//!
//! ```no_run
//! use closeby_tools::lab::{self, Attach, Cluster, NodeSpec, Proto, Request, Spec};
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     match lab::enter() {
//!         Ok(lab::Entry::Outside(code)) => return code,
//!         Ok(lab::Entry::Inside) => {}
//!         Err(refusal) => {
//!             eprintln!("{refusal}");
//!             return ExitCode::from(3);
//!         }
//!     }
//!     let spec = Spec::new().node(NodeSpec::new("n1", "zone-a", Attach::Routed).pods(["a1", "a2"]));
//!     let cluster = Cluster::build(&spec).expect("a cluster");
//!     let server = cluster.pod("a1").serve(8080).expect("a server");
//!     let answer = cluster.pod("a2").request(&Request::new(server.v4(), Proto::Tcp));
//!     println!("{answer:?}");
//!     ExitCode::SUCCESS
//! }
//! ```
//!
//! What holds everywhere in here:
//! - No namespace has a name outside this process: each is an open file, so the kernel removes
//!   all of them when the process is gone, `kill -9` included.
//! - Nothing is configured, sent or mounted outside the namespaces made by [`enter`].
//! - What a function returns is ready: sockets listen, addresses answer. Nobody has to sleep.

mod agent;
mod api;
mod build;
mod client;
mod connections;
mod control_plane;
mod enter;
mod error;
mod forged;
mod host;
mod ip;
mod line;
pub mod manifests;
mod netns;
mod programs;
mod raw;
mod ready;
mod sctp;
mod segment;
mod server;
mod spec;

pub use agent::{Agent, Committed};
pub use api::Api;
pub use build::Cluster;
pub use client::{Answer, Asked, Conversation, Proto, Reply, Request};
pub use control_plane::{ControlPlane, User};
pub use enter::{Entry, SCRATCH, enter, enter_as_root, run};
pub use error::LabError;
pub use forged::forge;
pub use host::{Host, Kind};
pub use line::Line;
pub use netns::Netns;
pub use programs::build;
pub use sctp::{Arrived, Landed, sctp};
pub use segment::Tap;
pub use server::Server;
pub use spec::{
    Attach, EXTERNAL_RANGES, Family, NodeSpec, POD_RANGES, PodSpec, SERVICE_RANGES, Spec,
};
