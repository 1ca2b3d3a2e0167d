//! New connections by Service and by distance, as they are told.
//!
//! Each connection is in exactly one series of its Service or of the rest, and no series
//! ever falls. Not every Service has one: the first have, and later whoever has twice as
//! many connections as the least of them; what a Service had before that is in the rest.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::compile::Distance;
use crate::model::ServiceName;

/// Connections by distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Distance::ALL.len()]);

impl Counts {
    /// One after the other, the nearest first.
    pub fn iter(&self) -> impl Iterator<Item = (Distance, u64)> {
        Distance::ALL.into_iter().zip(self.0)
    }

    fn add(&mut self, distance: Distance, more: u64) {
        if let Some(count) = self.0.get_mut(distance.index()) {
            *count += more;
        }
    }

    fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Connections since the agent started.
#[derive(Clone, Debug)]
pub struct Totals {
    all: Counts,
    /// Of Services without a series.
    rest: Counts,
    services: BTreeMap<ServiceName, Account>,
    /// How many Services have a series.
    shown: usize,
    shown_max: usize,
}

/// The connections of one Service.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    all: Counts,
    /// Those of its series, if it has one.
    shown: Option<Counts>,
}

impl Totals {
    /// None yet; so many Services may have a series.
    #[must_use]
    pub fn new(shown_max: usize) -> Self {
        let none = Counts::default();
        Self { all: none, rest: none, services: BTreeMap::new(), shown: 0, shown_max }
    }

    /// All connections.
    #[must_use]
    pub fn all(&self) -> &Counts {
        &self.all
    }

    /// The series: those of Services, and of all others under no name; none if no
    /// Service may have one.
    pub fn series(&self) -> impl Iterator<Item = (Option<&ServiceName>, &Counts)> {
        let shown = self.services.iter();
        let shown = shown.filter_map(|(name, account)| Some((Some(name), account.shown.as_ref()?)));
        shown.chain((self.shown_max > 0).then_some((None, &self.rest)))
    }

    /// Those of a Service; of none, if no Service may have a series.
    #[must_use]
    pub fn of(&self, service: &ServiceName) -> Option<Counts> {
        let account = self.services.get(service);
        (self.shown_max > 0).then(|| account.map(|account| account.all).unwrap_or_default())
    }

    /// Counts connections.
    pub fn add(&mut self, service: &ServiceName, distance: Distance, more: u64) {
        self.all.add(distance, more);
        if self.shown_max == 0 {
            return;
        }
        let account = match self.services.get_mut(service) {
            Some(account) => account,
            None => self.services.entry(service.clone()).or_default(),
        };
        account.all.add(distance, more);
        if account.shown.is_none() && self.shown < self.shown_max {
            account.shown = Some(Counts::default());
            self.shown += 1;
        }
        account.shown.as_mut().unwrap_or(&mut self.rest).add(distance, more);
    }

    /// Ends the series of Services that are gone, and passes on those of others to
    /// whoever has far more connections.
    pub fn rank(&mut self, exists: impl Fn(&ServiceName) -> bool) {
        self.services.retain(|name, _| exists(name));
        let by_sum = |is_shown: bool| {
            let found = self.services.iter().filter(|(_, it)| it.shown.is_some() == is_shown);
            let mut found: Vec<(u64, ServiceName)> =
                found.map(|(name, account)| (account.all.sum(), name.clone())).collect();
            found.sort();
            found
        };
        let (least, mut most) = (by_sum(true), by_sum(false));
        most.sort_by_key(|(sum, _)| Reverse(*sum));
        self.shown = least.len();
        let (free, mut most) = (self.shown_max.saturating_sub(self.shown), most.into_iter());
        for (_, name) in most.by_ref().take(free) {
            self.show(&name, true);
        }
        for ((few, loser), (many, winner)) in least.into_iter().zip(most) {
            if many <= few.saturating_mul(2) {
                return;
            }
            self.show(&loser, false);
            self.show(&winner, true);
        }
    }

    fn show(&mut self, name: &ServiceName, shows: bool) {
        if let Some(account) = self.services.get_mut(name) {
            account.shown = shows.then(Counts::default);
            self.shown = if shows { self.shown + 1 } else { self.shown.saturating_sub(1) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ServiceName {
        ServiceName::new("shop", name)
    }

    /// The series as text.
    fn series(totals: &Totals) -> Vec<String> {
        let line = |(name, counts): (Option<&ServiceName>, &Counts)| {
            let name = name.map_or_else(|| "rest".to_owned(), |name| name.name.to_string());
            format!("{name} {}", counts.sum())
        };
        totals.series().map(line).collect()
    }

    #[test]
    fn the_first_have_a_series_and_the_rest_is_one() {
        let mut totals = Totals::new(2);
        for (service, more) in [("a", 5), ("b", 1), ("c", 2), ("a", 1)] {
            totals.add(&name(service), Distance::SameZone, more);
        }
        assert_eq!(series(&totals), ["a 6", "b 1", "rest 2"]);
        assert_eq!(totals.all().sum(), 9);
    }

    #[test]
    fn a_series_passes_to_who_has_twice_as_many() {
        let mut totals = Totals::new(1);
        totals.add(&name("a"), Distance::SameNode, 3);
        totals.add(&name("b"), Distance::SameNode, 6);
        totals.rank(|_| true);
        assert_eq!(series(&totals), ["a 3", "rest 6"], "not yet");
        totals.add(&name("b"), Distance::SameNode, 1);
        totals.rank(|_| true);
        totals.add(&name("b"), Distance::SameNode, 4);
        totals.add(&name("a"), Distance::SameNode, 1);
        assert_eq!(series(&totals), ["b 4", "rest 8"], "nothing falls, nothing twice");
        assert_eq!(totals.all().sum(), 15);
    }

    #[test]
    fn who_is_gone_makes_room() {
        let mut totals = Totals::new(1);
        totals.add(&name("a"), Distance::SameNode, 9);
        totals.add(&name("b"), Distance::SameNode, 1);
        totals.rank(|service| *service != name("a"));
        totals.add(&name("b"), Distance::SameNode, 1);
        assert_eq!(series(&totals), ["b 1", "rest 1"]);
    }

    #[test]
    fn without_series_all_are_counted() {
        let mut totals = Totals::new(0);
        totals.add(&name("a"), Distance::Unknown, 9);
        totals.rank(|_| true);
        assert_eq!(series(&totals), Vec::<String>::new());
        assert_eq!(totals.all().sum(), 9);
    }
}
