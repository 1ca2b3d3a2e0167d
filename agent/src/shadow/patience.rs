//! Which differences count: kube-proxy and we hear of a change at different
//! moments, so what differs must differ in the same way at two looks.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::{Comparison, Difference, Kind};

/// So many differences are told, a line each; the rest is counted.
pub const TOLD_MAX: usize = 20;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Patience {
    /// At the last look.
    before: BTreeSet<Difference>,
    /// Whether every difference of the last look lasts.
    is_sure: bool,
    /// What was told last.
    told: Option<BTreeSet<Difference>>,
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What differs in the same way as at the look before; what is expected to,
    /// at once.
    pub lasting: BTreeSet<Difference>,
    /// Whether that is all; if not, another look is due though nothing changes.
    pub is_sure: bool,
    /// Lines to tell; none if nothing is new.
    pub lines: Vec<String>,
}

impl Patience {
    /// Takes in a look.
    pub fn look(&mut self, comparison: Comparison) -> Found {
        let Comparison { frontends, connections, differences } = comparison;
        let lasts = |it: &&Difference| it.kind == Kind::Expected || self.before.contains(*it);
        let lasting: BTreeSet<_> = differences.iter().filter(lasts).cloned().collect();
        self.is_sure = lasting.len() == differences.len();
        self.before = differences;
        // While changes never end, what lasts is told all the same.
        let is_told = self.is_sure || count(&lasting) > 0;
        let is_news = is_told && self.told.as_ref() != Some(&lasting);
        let mut lines = Vec::new();
        if is_news {
            lines = self::lines(&lasting);
            lines.push(format!(
                "compared {frontends} frontends, {connections} connections, with kube-proxy: {}",
                summary(&lasting)
            ));
            self.told = Some(lasting.clone());
        }
        Found { lasting, is_sure: self.is_sure, lines }
    }

    /// Whether nothing is left that one more look could confirm.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.is_sure
    }
}

/// How many there are of each kind.
#[must_use]
pub fn counts(differences: &BTreeSet<Difference>) -> BTreeMap<Kind, usize> {
    let mut counts: BTreeMap<Kind, usize> = Kind::ALL.map(|kind| (kind, 0)).into();
    for difference in differences {
        *counts.entry(difference.kind).or_default() += 1;
    }
    counts
}

/// How many there are that are not meant to be.
#[must_use]
pub fn count(differences: &BTreeSet<Difference>) -> usize {
    differences.iter().filter(|difference| difference.kind != Kind::Expected).count()
}

/// What is not meant to be, a line each.
fn lines(differences: &BTreeSet<Difference>) -> Vec<String> {
    let unmeant = differences.iter().filter(|difference| difference.kind != Kind::Expected);
    let mut lines: Vec<String> = unmeant
        .take(TOLD_MAX)
        .map(|difference| format!("differs in {}: {difference}", difference.kind.word()))
        .collect();
    let more = count(differences).saturating_sub(TOLD_MAX);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// `2 differences (verdict 1, endpoints 1), 3 expected`.
fn summary(differences: &BTreeSet<Difference>) -> String {
    let counts = counts(differences);
    let kinds = counts.iter().filter(|(kind, count)| **kind != Kind::Expected && **count > 0);
    let kinds: Vec<_> = kinds.map(|(kind, count)| format!("{} {count}", kind.word())).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let expected = counts.get(&Kind::Expected).copied().unwrap_or(0);
    let count = count(differences);
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} difference{plural}{kinds}, {expected} expected")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use closeby_nft::{L4Proto, Port};

    use super::*;
    use crate::compile::Frontend;
    use crate::shadow::clients::{Client, Who};
    use crate::shadow::compare::tests::fate;

    /// A difference at an address that ends so.
    fn difference(last: u8, ours: &str, theirs: &str) -> Difference {
        let addr = IpAddr::from([10, 96, 0, last]);
        let (ours, theirs) = (fate(ours), fate(theirs));
        let from = IpAddr::from([192, 0, 2, 1]);
        Difference {
            frontend: Frontend::Address { addr, proto: L4Proto::Tcp, port: Port::new(80).unwrap() },
            to: addr,
            client: Client { who: Who::Outside, from, interface: None },
            kind: Kind::of(&ours, &theirs).unwrap(),
            service: Some("default/web:http".to_owned()),
            ours,
            theirs,
        }
    }

    fn look(patience: &mut Patience, differences: &[Difference]) -> Vec<String> {
        let differences = differences.iter().cloned().collect();
        patience.look(Comparison { frontends: 3, connections: 9, differences }).lines
    }

    #[test]
    fn what_lasts_is_told_once() {
        let mut patience = Patience::default();
        let same =
            "compared 3 frontends, 9 connections, with kube-proxy: 0 differences, 0 expected";
        assert_eq!(look(&mut patience, &[]), [same]);
        // kube-proxy is a moment behind.
        let behind = difference(1, "10.0.0.1:80", "10.0.0.2:80");
        assert_eq!(look(&mut patience, std::slice::from_ref(&behind)), [""; 0]);
        assert!(!patience.is_sure());
        assert_eq!(look(&mut patience, &[]), [""; 0]);
        // It stays behind; the refusals are meant.
        let both = [behind, difference(2, "reset", "icmp")];
        assert_eq!(look(&mut patience, &both), [""; 0]);
        let told = [
            "differs in endpoints: 10.96.0.1:80/tcp of default/web:http from outside (192.0.2.1): \
             ours to 10.0.0.1:80; kube-proxy's to 10.0.0.2:80",
            "compared 3 frontends, 9 connections, with kube-proxy: 1 difference (endpoints 1), \
             1 expected",
        ];
        assert_eq!(look(&mut patience, &both), told);
        assert_eq!(look(&mut patience, &both), [""; 0]);
        assert_eq!(look(&mut patience, &[]), [same]);
    }

    #[test]
    fn what_lasts_is_told_while_the_rest_never_rests() {
        let mut patience = Patience::default();
        let lasting = difference(9, "drop", "pass");
        for moment in 0..3 {
            let moving = difference(moment, "10.0.0.1:80", "10.0.0.2:80");
            let lines = look(&mut patience, &[lasting.clone(), moving]);
            assert_eq!(lines.len(), if moment == 1 { 2 } else { 0 }, "{lines:?}");
        }
    }

    #[test]
    fn not_all_of_many_are_told() {
        let mut patience = Patience::default();
        let many: Vec<_> = (0..25).map(|last| difference(last, "drop", "pass")).collect();
        look(&mut patience, &many);
        let lines = look(&mut patience, &many);
        assert_eq!(lines.len(), TOLD_MAX + 2);
        assert_eq!(lines[TOLD_MAX], "and 5 more");
    }
}
