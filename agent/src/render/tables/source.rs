//! What packets are drawn from, and the chains that draw.

use closeby_nft::{Family, Field, Rule, Statement};

use super::chains::{goto, jump};
use super::class::Class;
use super::sets::{ADDRESS, NODE_PORT, SetKind};
use super::sticky;

/// How a frontend is named, and where its endpoints are.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) frontend: &'static [Field],
    pub(super) classes: SetKind,
    pub(super) endpoints: SetKind,
    pub(super) tokens: SetKind,
    pub(super) sticky_endpoints: SetKind,
    /// The chain of the last draw.
    pub(super) last: &'static str,
    /// The name, but for the class, of chains that remember.
    remember: &'static str,
}

pub(super) const CLUSTER: Source = Source {
    frontend: &ADDRESS,
    classes: SetKind::Classes,
    endpoints: SetKind::Endpoints,
    tokens: SetKind::Tokens,
    sticky_endpoints: SetKind::StickyEndpoints,
    last: "cluster_any",
    remember: "remember-cluster",
};
pub(super) const NODE: Source = Source {
    frontend: &NODE_PORT,
    classes: SetKind::NodeClasses,
    endpoints: SetKind::NodeEndpoints,
    tokens: SetKind::NodeTokens,
    sticky_endpoints: SetKind::NodeStickyEndpoints,
    last: "node_any",
    remember: "remember-node",
};
pub(super) const LOCAL: Source = Source {
    frontend: &NODE_PORT,
    classes: SetKind::NodeLocalClasses,
    endpoints: SetKind::NodeLocalEndpoints,
    tokens: SetKind::NodeLocalTokens,
    sticky_endpoints: SetKind::NodeLocalStickyEndpoints,
    last: "local_any",
    remember: "remember-local",
};
pub(super) const EXTERNAL_LOCAL: Source = Source {
    frontend: &ADDRESS,
    classes: SetKind::LocalClasses,
    endpoints: SetKind::LocalEndpoints,
    tokens: SetKind::LocalTokens,
    sticky_endpoints: SetKind::LocalStickyEndpoints,
    last: "external-local_any",
    remember: "remember-external-local",
};

impl Source {
    /// Rewrites the destination to one of the first `modulus` endpoints.
    pub(super) fn dnat(self, modulus: u32) -> Rule {
        let slot = Field::Random { modulus };
        let key = [self.frontend, &[slot]].concat();
        vec![Statement::Dnat { key, map: self.endpoints.name() }]
    }

    /// Marks, then rewrites the destination to one of `count` endpoints.
    ///
    /// What finds none raced with a commit: the class was read before it and
    /// the slot after it. It gets slot 0, which is there as long as any is, in
    /// a chain that all counts share: the kernel checks every element that is
    /// added against every rule that looks it up.
    fn pick(self, marks: Option<Vec<Statement>>, count: u16) -> Vec<Rule> {
        let mut rules = vec![vec![Statement::PriorityClear]];
        rules.extend(marks);
        rules.push(self.dnat(u32::from(count)));
        rules.push(vec![goto(self.last)]);
        rules
    }

    /// The chains that draw for a class, the first of this name; where clients
    /// are remembered, with one that does so.
    pub(super) fn chains(
        self,
        family: Family,
        class: Class,
        name: &str,
        marks: Option<Vec<Statement>>,
    ) -> Vec<(String, Vec<Rule>)> {
        let chain = class.chain_of(name);
        let Some(timeout_s) = class.timeout_s else {
            return vec![(chain, self.pick(marks, class.count))];
        };
        let remember = class.chain_of(self.remember);
        // Whoever comes back with a dead token forgets it and draws once more.
        let mut rules = vec![vec![Statement::PriorityClear]];
        rules.extend(marks);
        rules.extend([
            vec![jump(&remember)],
            sticky::forget(family),
            vec![jump(&remember)],
            vec![goto(&class.plain().chain_of(name))],
        ]);
        let sets = (self.tokens, self.sticky_endpoints);
        let remembers = sticky::remember(family, class.count, timeout_s, self.frontend, sets);
        vec![(chain, rules), (remember, remembers)]
    }
}
