//! Did every packet go where it must? Pure: tallies in, words out.

use std::collections::BTreeMap;

use closeby_tools::lab::Answer;

use crate::steps::Expect;

/// How the requests of one client over one family ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Answers, by the zone they came from.
    pub(crate) zones: BTreeMap<String, usize>,
    /// Requests that nobody answered.
    pub(crate) dropped: usize,
    /// Requests that were refused.
    pub(crate) refused: usize,
    /// Requests that ended in another way, and which.
    pub(crate) others: BTreeMap<String, usize>,
}

impl Tally {
    /// Counts answers.
    pub(crate) fn of<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Self {
        let mut tally = Self::default();
        for answer in answers {
            let count = match answer {
                Answer::From(reply) => tally.zones.entry(reply.zone.clone()).or_default(),
                Answer::TimedOut => &mut tally.dropped,
                Answer::Refused => &mut tally.refused,
                Answer::Unreachable => tally.others.entry("unreachable".to_owned()).or_default(),
                Answer::Reset => tally.others.entry("cut off".to_owned()).or_default(),
                Answer::Failed(why) => tally.others.entry(why.clone()).or_default(),
            };
            *count += 1;
        }
        tally
    }

    /// Answers from one zone.
    pub(crate) fn from(&self, zone: &str) -> usize {
        self.zones.get(zone).copied().unwrap_or_default()
    }

    /// Requests that ended in none of the ways that have a column.
    pub(crate) fn failed(&self) -> usize {
        self.others.values().sum()
    }

    /// All requests.
    pub(crate) fn sum(&self) -> usize {
        self.zones.values().sum::<usize>() + self.dropped + self.refused + self.failed()
    }

    /// Every way these requests ended, with its count.
    fn ends(&self) -> impl Iterator<Item = (End<'_>, usize)> {
        let zones = self.zones.iter().map(|(zone, count)| (End::Zone(zone), *count));
        let others = self.others.iter().map(|(why, count)| (End::Other(why), *count));
        let rest = [(End::Dropped, self.dropped), (End::Refused, self.refused)];
        zones.chain(rest).chain(others).filter(|(_, count)| *count > 0)
    }
}

/// One way to end.
#[derive(Debug, Clone, Copy)]
enum End<'a> {
    Zone(&'a str),
    Dropped,
    Refused,
    Other(&'a str),
}

/// What must not have happened, one sentence each; empty if all is right. `of` names the requests.
pub(crate) fn faults(expect: Expect, tally: &Tally, of: &str) -> Vec<String> {
    let sum = tally.sum();
    let mut faults = Vec::new();
    for (end, count) in tally.ends() {
        let told = match (end, expect) {
            (End::Zone(zone), Expect::Zones(zones)) if zones.contains(&zone) => continue,
            (End::Dropped, Expect::Dropped) => continue,
            (End::Zone(zone), _) => format!("were answered in {zone}"),
            (End::Dropped, _) => "were not answered".to_owned(),
            (End::Refused, _) => "were refused".to_owned(),
            (End::Other(why), _) => format!("failed ({why})"),
        };
        faults.push(format!("{count} of {sum} {of} {told}"));
    }
    if let Expect::Zones(zones) = expect {
        let missing = zones.iter().filter(|zone| tally.from(zone) == 0);
        faults.extend(missing.map(|zone| format!("none of {sum} {of} was answered in {zone}")));
    }
    faults
}

/// What is right if there is no fault.
pub(crate) fn promise(expect: Expect) -> String {
    match expect {
        Expect::Zones([own]) => format!("answered in {own} only"),
        Expect::Zones(zones) => format!("answered in {} and nowhere else", zones.join(", ")),
        Expect::Dropped => "dropped, not refused and not answered elsewhere".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Expect = Expect::Zones(&["zone-a", "zone-b"]);

    fn tally(zones: &[(&str, usize)], dropped: usize, refused: usize) -> Tally {
        let zones = zones.iter().map(|(zone, count)| ((*zone).to_owned(), *count)).collect();
        Tally { zones, dropped, refused, others: BTreeMap::new() }
    }

    #[test]
    fn what_is_expected_is_no_fault() {
        let spread = tally(&[("zone-a", 3), ("zone-b", 1)], 0, 0);
        assert_eq!(faults(BOTH, &spread, "requests"), Vec::<String>::new());
        assert_eq!(faults(Expect::Dropped, &tally(&[], 9, 0), "requests"), Vec::<String>::new());
    }

    #[test]
    fn every_other_end_is_a_fault_with_its_count() {
        let table = [
            (
                BOTH,
                tally(&[("zone-a", 2), ("zone-b", 2), ("zone-c", 1)], 0, 0),
                "1 of 5 x were answered in zone-c",
            ),
            (BOTH, tally(&[("zone-a", 4)], 0, 0), "none of 4 x was answered in zone-b"),
            (BOTH, tally(&[("zone-a", 1), ("zone-b", 1)], 1, 0), "1 of 3 x were not answered"),
            (Expect::Dropped, tally(&[], 1, 2), "2 of 3 x were refused"),
            (Expect::Dropped, tally(&[("zone-a", 1)], 1, 0), "1 of 2 x were answered in zone-a"),
        ];
        for (expect, tally, told) in table {
            assert_eq!(faults(expect, &tally, "x"), [told], "{tally:?}");
        }
    }

    #[test]
    fn no_answers_at_all_are_no_success() {
        assert_eq!(faults(BOTH, &tally(&[], 0, 0), "x").len(), 2);
    }

    #[test]
    fn answers_are_counted_by_how_they_ended() {
        let failed = Answer::Failed("odd".to_owned());
        let answers = [Answer::TimedOut, Answer::Refused, Answer::Unreachable, failed];
        let tally = Tally::of(&answers);
        assert_eq!((tally.dropped, tally.refused, tally.failed(), tally.sum()), (1, 1, 2, 4));
    }
}
