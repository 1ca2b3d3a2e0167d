//! The command `closeby`.

fn main() {}
