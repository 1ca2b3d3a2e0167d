//! What is measured: one way to program the same cluster, loaded into a namespace.

use anyhow::Context;
use closeby::render::tables::table_id;
use closeby_nft::delta::diff;
use closeby_nft::socket::Netlink;
use closeby_nft::{Batch, CommitError, Family, Kernel, Ruleset};
use closeby_tools::clusters::Shape;
use closeby_tools::lab::Netns;

use crate::layout::{self, counted, kube_proxy, marked, verdict};
use crate::{inside, nft};

/// One way to program a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// No rule at all, no connection tracking.
    Nothing,
    /// Connection tracking and NAT hooks without rules: what no layout can undercut.
    NoNat,
    /// What the agent commits.
    Closeby,
    /// Address and port straight to a chain.
    VerdictMap,
    /// Class and mark bits apart.
    MarkBits,
    /// kube-proxy 1.36.
    KubeProxy,
    /// What the agent commits, each endpoint with a counter.
    Counted,
    /// What the agent commits, and a set that packets fill with counters after the DNAT.
    CountedAfter,
}

impl Subject {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Nothing,
        Self::NoNat,
        Self::Closeby,
        Self::VerdictMap,
        Self::MarkBits,
        Self::KubeProxy,
    ];

    /// Those that differ in how connections are counted, beside what no layout can undercut.
    pub(crate) const COUNTING: [Self; 4] =
        [Self::NoNat, Self::Closeby, Self::Counted, Self::CountedAfter];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no rules",
            Self::NoNat => "no NAT (conntrack)",
            Self::Closeby => "closeby",
            Self::VerdictMap => "candidate: verdict map",
            Self::MarkBits => "candidate: carrier with mark bits",
            Self::KubeProxy => "kube-proxy 1.36 layout",
            Self::Counted => "closeby, counters in the maps",
            Self::CountedAfter => "closeby, counted after DNAT",
        }
    }

    /// Whether packets to a Service reach its endpoints.
    pub(crate) fn translates(self) -> bool {
        !matches!(self, Self::Nothing | Self::NoNat)
    }

    /// Programs `netns` with a cluster of `shape`, of which `ruleset` is the rendering.
    pub(crate) fn load(self, netns: &Netns, shape: Shape, ruleset: &Ruleset) -> anyhow::Result<()> {
        let done = match self {
            Self::Nothing => Ok(()),
            Self::NoNat => replace(&mut open(netns)?, &Ruleset::default(), &layout::conntrack()),
            Self::Closeby => {
                replace(&mut open(netns)?, &Ruleset::default(), &counted::of(ruleset, false))
            }
            Self::VerdictMap => {
                replace(&mut open(netns)?, &Ruleset::default(), &verdict::of(ruleset))
            }
            Self::MarkBits => {
                let pods = "10.128.0.0/9".parse()?;
                nft::load(netns, &marked::of(ruleset, &table_id(Family::Ip), pods))
            }
            Self::KubeProxy => nft::load(netns, &kube_proxy::of(shape)),
            Self::Counted => {
                replace(&mut open(netns)?, &Ruleset::default(), &counted::of(ruleset, true))
            }
            Self::CountedAfter => Self::Closeby
                .load(netns, shape, ruleset)
                .and_then(|()| nft::load(netns, &counted::after_dnat())),
        };
        done.with_context(|| format!("loading \"{}\"", self.name()))
    }
}

/// A socket to the nf_tables of a namespace.
pub(crate) fn open(netns: &Netns) -> anyhow::Result<Netlink> {
    inside(netns, || Ok(Netlink::open()?))
}

/// Turns what the kernel has into something else, in one transaction.
pub(crate) fn replace(kernel: &mut Netlink, from: &Ruleset, to: &Ruleset) -> anyhow::Result<()> {
    let delta = diff(from, to);
    let batch = Batch::of(&delta);
    kernel.commit(&batch).map_err(|error| match error {
        CommitError::TooLarge { .. } => told(&error),
        _ => anyhow::anyhow!(error.explain(&delta)),
    })?;
    Ok(())
}

/// Why a commit failed, and what to do about it.
pub(crate) fn told(error: &CommitError) -> anyhow::Error {
    match error {
        CommitError::TooLarge { .. } => anyhow::anyhow!(
            "{error}; run this as root, which has no limit, or with fewer --services"
        ),
        _ => anyhow::anyhow!("{error}"),
    }
}
