//! Flags of counting connections. closeby's own; they count beside --config.

use clap::Args;

use crate::config::CountConnections;

/// What is counted in the kernel.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Counting {
    /// Count new connections by Service and by how far their endpoints are, in the
    /// kernel. A counter takes 16 bytes a processor; with auto, none is kept where
    /// all could take more than 256 MiB.
    #[arg(
        long,
        value_name = "auto|on|off",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub count_connections: CountConnections,
}
