//! What came of the requests of a step: a matrix of clients and pods, and what is wrong with it.
//! Pure: answers in, words out.

use std::collections::{BTreeMap, BTreeSet};

use closeby_tools::lab::{Answer, Family};
use comfy_table::{CellAlignment, Table, presets};

use super::data::{Expect, Step};

/// By how many percent of all answers a pod's load may differ from what is expected: chance.
const SLACK_PERCENT: usize = 10;

/// How requests end that are not answered.
const ENDS: [&str; 3] = ["dropped", "refused", "failed"];

/// What came of one client's requests.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    expect: &'a Expect,
    /// By family and pod.
    answers: BTreeMap<(Family, String), usize>,
    dropped: usize,
    refused: usize,
    /// In other ways, and how.
    failed: BTreeMap<String, usize>,
}

impl<'a> Asked<'a> {
    pub(super) fn of(expect: &'a Expect, answers: &[(Family, Answer)]) -> Self {
        let mut asked = Self {
            expect,
            answers: BTreeMap::new(),
            dropped: 0,
            refused: 0,
            failed: BTreeMap::new(),
        };
        for (family, answer) in answers {
            let count = match answer {
                Answer::From(reply) => {
                    asked.answers.entry((*family, reply.pod.clone())).or_default()
                }
                Answer::TimedOut => &mut asked.dropped,
                Answer::Refused => &mut asked.refused,
                other => asked.failed.entry(format!("{other:?}")).or_default(),
            };
            *count += 1;
        }
        asked
    }

    /// Answers of a pod, over both families.
    fn from(&self, pod: &str) -> usize {
        let of = |((_, name), count): (&(Family, String), &usize)| (name == pod).then_some(*count);
        self.answers.iter().filter_map(of).sum()
    }

    /// How many ended in each of [`ENDS`].
    fn ends(&self) -> [usize; ENDS.len()] {
        [self.dropped, self.refused, self.failed.values().sum()]
    }

    fn who(&self) -> String {
        let Expect { from, to, at, .. } = self.expect;
        match at {
            Some(node) => format!("{from} > {to} at {node}"),
            None => format!("{from} > {to}"),
        }
    }
}

/// Clients down, pods across, and how else it ended where it did. Zeros are dots: what happened
/// stands out.
pub(super) fn table(asked: &[Asked<'_>]) -> String {
    let expected = asked.iter().flat_map(|it| it.expect.pods.iter().map(String::as_str));
    let came = asked.iter().flat_map(|it| it.answers.keys().map(|(_, pod)| pod.as_str()));
    let pods: BTreeSet<&str> = expected.chain(came).collect();
    let number = |count: usize| if count == 0 { ".".to_owned() } else { count.to_string() };
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let ends: Vec<usize> =
        (0..ENDS.len()).filter(|end| asked.iter().any(|it| it.ends()[*end] > 0)).collect();
    let heads = ["asks"].into_iter().chain(pods.iter().copied());
    table.set_header(heads.chain(ends.iter().map(|end| ENDS[*end])));
    for it in asked {
        let of_pods = pods.iter().map(|pod| it.from(pod));
        let counts = of_pods.chain(ends.iter().map(|end| it.ends()[*end]));
        table.add_row([it.who()].into_iter().chain(counts.map(number)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// What is wrong, a sentence each; nothing if all is as expected.
pub(super) fn faults(step: &Step, asked: &[Asked<'_>]) -> Vec<String> {
    let mut faults: Vec<String> = asked.iter().flat_map(of_one).collect();
    let all: usize = asked.iter().flat_map(|it| it.answers.values()).sum();
    for (pod, percent) in &step.load {
        let share = asked.iter().map(|it| it.from(pod)).sum::<usize>() * 100 / all.max(1);
        if share.abs_diff(usize::from(*percent)) > SLACK_PERCENT {
            faults.push(format!("{pod} gave {share} % of all answers, and not {percent} %"));
        }
    }
    faults
}

fn of_one(asked: &Asked<'_>) -> Vec<String> {
    let (who, expect) = (asked.who(), asked.expect);
    let mut faults = Vec::new();
    for ((family, pod), count) in &asked.answers {
        if !expect.pods.contains(pod) {
            faults.push(format!("{who} over {family}: {count} answers of {pod}"));
        }
    }
    for (pod, family) in expect.pods.iter().flat_map(|pod| Family::BOTH.map(|it| (pod, it))) {
        if !asked.answers.contains_key(&(family, pod.clone())) {
            faults.push(format!("{who} over {family}: no answer of {pod}"));
        }
    }
    if asked.dropped > 0 && !expect.dropped {
        faults.push(format!("{who}: {} were not answered", asked.dropped));
    }
    if asked.refused > 0 {
        faults.push(format!("{who}: {} were refused", asked.refused));
    }
    faults.extend(asked.failed.iter().map(|(how, count)| format!("{who}: {count} failed: {how}")));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(pods: &[&str]) -> Expect {
        Expect {
            from: "ui".to_owned(),
            to: "web".to_owned(),
            at: None,
            pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
            dropped: pods.is_empty(),
        }
    }

    fn asked<'a>(expect: &'a Expect, pods: &[(&str, usize)], dropped: usize) -> Asked<'a> {
        let both = |(pod, count): &(&str, usize)| {
            Family::BOTH.map(|family| ((family, (*pod).to_owned()), *count))
        };
        let mut asked = Asked::of(expect, &vec![(Family::V4, Answer::TimedOut); dropped]);
        asked.answers = pods.iter().flat_map(both).collect();
        asked
    }

    #[test]
    fn what_is_expected_is_no_fault_and_all_else_is() {
        let (one, both, nobody) = (expect(&["a"]), expect(&["a", "b"]), expect(&[]));
        assert_eq!(of_one(&asked(&one, &[("a", 3)], 0)), Vec::<String>::new());
        assert_eq!(of_one(&asked(&nobody, &[], 3)), Vec::<String>::new());
        assert_eq!(
            of_one(&asked(&both, &[("a", 3)], 1)),
            [
                "ui > web over IPv4: no answer of b",
                "ui > web over IPv6: no answer of b",
                "ui > web: 1 were not answered",
            ]
        );
        assert_eq!(
            of_one(&asked(&nobody, &[("a", 2)], 0)),
            ["ui > web over IPv4: 2 answers of a", "ui > web over IPv6: 2 answers of a"]
        );
    }

    #[test]
    fn load_is_a_share_of_all_answers() {
        let both = expect(&["a", "b"]);
        let step = |percent| Step {
            title: String::new(),
            namespace: None,
            services: BTreeMap::new(),
            expect: Vec::new(),
            load: [("a".to_owned(), percent)].into(),
        };
        let asked = [asked(&both, &[("a", 60), ("b", 40)], 0)];
        assert_eq!(faults(&step(55), &asked), Vec::<String>::new());
        assert_eq!(faults(&step(45), &asked), ["a gave 60 % of all answers, and not 45 %"]);
    }
}
