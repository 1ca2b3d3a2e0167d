//! Connection tracking: what may stay after a change.
