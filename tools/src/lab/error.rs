//! What can go wrong while a cluster is laid out. Every error names the step, and says what to do
//! where something can be done. How a request ended is no error but an [`super::Answer`].

use std::io;

/// A step of the lab that did not work.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The kernel or its policy does not let this user make namespaces.
    #[error("this machine refuses {what}: {source}\n{advice}")]
    Refused {
        /// What was asked of the kernel.
        what: &'static str,
        /// The line that helps.
        advice: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A system call or a file operation failed.
    #[error("{doing}: {source}")]
    Io {
        /// The step, with the object it was about.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program the lab runs is not installed.
    #[error("`{program}` is not installed; on Debian and Ubuntu: apt install {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that brings it.
        package: &'static str,
    },
    /// A program the lab runs refused its input.
    #[error("in {place}, `{program}` refused:\n{said}\nits input was:\n{input}")]
    Program {
        /// The namespace.
        place: String,
        /// The program and its arguments.
        program: String,
        /// What it wrote to stderr.
        said: String,
        /// What it was given.
        input: String,
    },
    /// The cluster that was asked for cannot be built, or a peer did not do its part.
    #[error("{0}")]
    Plan(String),
}

impl LabError {
    /// Names the step an [`io::Error`] happened in.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// The same for an errno.
    pub(crate) fn sys(doing: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Self {
        let doing = doing.into();
        move |errno| Self::Io { doing, source: errno.into() }
    }
}
