//! Histories of lists and events in short, and what is told of them.

use super::super::super::convert::{self, Source};
use super::*;
use crate::model::{Admission, ServiceName};

/// A Service as the API server tells of it; `bad` has a port that is none.
fn service(name: &str, bad: bool) -> Converted {
    let port = if bad { 99_999 } else { 80 };
    let object = serde_json::json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
            "ipFamilies": ["IPv4"],
            "ports": [{"name": "a", "port": 1}, {"name": "b", "port": port}],
        },
    });
    convert::service(&serde_json::from_value(object).unwrap(), &Source::Api, &Admission::default())
}

/// One that no proxy serves.
fn headless(name: &str) -> Converted {
    (Some(Change::ServiceGone(ServiceName::new("shop", name))), Vec::new())
}

/// What an outcome says, in short.
fn told(outcome: &Outcome) -> String {
    let mut words: Vec<String> = outcome
        .changes
        .iter()
        .map(|change| match change {
            Change::Service(service) => format!("+{}", service.name.name),
            Change::ServiceGone(name) => format!("-{}", name.name),
            Change::Listed(kind) => format!("listed {kind}"),
            other => panic!("{other:?}"),
        })
        .collect();
    words.extend(outcome.notes.iter().map(|note| format!("note {}", note.object.name)));
    words.extend(outcome.remark.map(|remark| format!("{remark:?}")));
    words.join(", ")
}

/// A history in short: `[` begins a list, `]` completes it, `+a` is there, `-a`
/// was deleted, `!a` is there with a note, `~a` is there and not served.
fn play(listing: &mut Listing, history: &str) -> String {
    let mut answers = Vec::new();
    for word in history.split_whitespace() {
        let event = match word.split_at(1) {
            ("[", _) => Event::Begin,
            ("]", _) => Event::Complete,
            ("+", name) => Event::Present(service(name, false)),
            ("!", name) => Event::Present(service(name, true)),
            ("~", name) => Event::Present(headless(name)),
            ("-", name) => Event::Gone(service(name, false)),
            other => panic!("{other:?}"),
        };
        answers.push(told(&listing.take(event)));
    }
    answers.retain(|answer| !answer.is_empty());
    answers.join("; ")
}

fn listing() -> Listing {
    Listing::new(Kind::Service, Some(Guard::DEFAULT))
}

#[track_caller]
fn check(history: &str, expected: &str) {
    assert_eq!(play(&mut listing(), history), expected, "{history}");
}

#[test]
fn a_list_then_events() {
    check("[ +a +b ] +c -a", "+a; +b; listed Service; +c; -a");
    check("[ ]", "listed Service");
}

#[test]
fn what_a_later_list_does_not_name_is_gone() {
    check("[ +a +b +c ] [ +b ]", "+a; +b; +c; listed Service; +b; -a, -c");
    check("[ +a ] [ ] [ +a ]", "+a; listed Service; -a; +a");
}

#[test]
fn a_list_that_does_not_end_takes_nothing_away() {
    check("[ +a +b ] [ +a [ +b", "+a; +b; listed Service; +a; +b");
    check("[ +a +b ] [ +a [ +b ]", "+a; +b; listed Service; +a; +b; -a");
    check("[ +a [ +a ]", "+a; +a; listed Service");
}

#[test]
fn what_is_told_twice_or_too_late_does_no_harm() {
    check("[ +a ] +a +a", "+a; listed Service; +a; +a");
    check("[ +a ] -a -a -b", "+a; listed Service; -a");
    check("[ +a ] -a +a", "+a; listed Service; -a; +a");
    check("[ +a ] ]", "+a; listed Service");
    check("] [ +a ]", "+a; listed Service");
}

#[test]
fn what_nobody_serves_is_not_told() {
    check("[ ~a ] ~b -a [ ]", "listed Service");
    check("[ +a ] ~a ~a +a", "+a; listed Service; -a; +a");
    check("[ +a ~b ] [ ]", "+a; listed Service; -a");
}

#[test]
fn a_note_is_told_once_until_it_was_gone() {
    check("[ !a ] !a !a", "+a, note shop/a; listed Service; +a; +a");
    check("[ !a ] [ !a ]", "+a, note shop/a; listed Service; +a");
    check("[ !a ] +a !a", "+a, note shop/a; listed Service; +a; +a, note shop/a");
    check("[ !a ] -a !a", "+a, note shop/a; listed Service; -a; +a, note shop/a");
    check("[ !a ] [ ] [ !a ]", "+a, note shop/a; listed Service; -a; +a, note shop/a");
}

#[test]
fn a_kind_that_is_not_there_is_not_waited_for() {
    let mut listing = listing();
    assert_eq!(told(&listing.waive()), "listed Service");
    assert_eq!(told(&listing.waive()), "");
    assert_eq!(play(&mut listing, "[ +a ]"), "+a");
    assert_eq!(told(&listing.waive()), "");
    assert_eq!(play(&mut listing, "-a"), "-a");
}

/// A complete list of so many Services.
fn full(count: usize) -> String {
    let names: Vec<String> = (0..count).map(|number| format!("+s{number}")).collect();
    format!("[ {} ]", names.join(" "))
}

/// What the guard says of a list of `left` after one of `count`.
fn remark(count: usize, left: usize) -> Option<Remark> {
    let mut listing = listing();
    play(&mut listing, &full(count));
    play(&mut listing, full(left).trim_end_matches(" ]"));
    listing.take(Event::Complete).remark
}

#[test]
fn more_than_half_and_at_least_twenty_are_doubted() {
    let doubted = |missing, of| Some(Remark::Doubted { missing, of, looks_left: 6 });
    assert_eq!(remark(20, 0), doubted(20, 20));
    assert_eq!(remark(19, 0), None);
    assert_eq!(remark(40, 20), None);
    assert_eq!(remark(40, 19), doubted(21, 40));
    assert_eq!(remark(1000, 900), None);
}

#[test]
fn what_is_doubted_stays_until_enough_lists_agree() {
    let mut listing = listing();
    play(&mut listing, &full(30));
    for looks_left in (1..=6).rev() {
        let expected = format!("Doubted {{ missing: 30, of: 30, looks_left: {looks_left} }}");
        assert_eq!(play(&mut listing, "[ ]"), expected);
    }
    let gone = play(&mut listing, "[ ]");
    assert_eq!(gone.matches("-s").count(), 30, "{gone}");
    assert!(gone.ends_with("Believed { gone: 30 }"), "{gone}");
    assert_eq!(play(&mut listing, "[ ]"), "");
}

#[test]
fn what_returns_is_not_counted_again() {
    let mut listing = listing();
    play(&mut listing, &full(30));
    play(&mut listing, "[ ] [ ] [ ]");
    assert_eq!(play(&mut listing, &full(29)).matches("-s").count(), 1);
    let doubted = play(&mut listing, "[ ]");
    assert_eq!(doubted, "Doubted { missing: 29, of: 29, looks_left: 6 }");
}

#[test]
fn events_count_while_a_list_is_doubted() {
    let mut listing = listing();
    play(&mut listing, &full(30));
    play(&mut listing, "[ ]");
    assert_eq!(play(&mut listing, "-s0 +new"), "-s0; +new");
    let doubted = play(&mut listing, "[ +new ]");
    assert_eq!(doubted, "+new; Doubted { missing: 29, of: 30, looks_left: 5 }");
}

#[test]
fn deletions_one_by_one_are_believed() {
    let mut listing = listing();
    play(&mut listing, &full(30));
    let all: Vec<String> = (0..30).map(|number| format!("-s{number}")).collect();
    assert_eq!(play(&mut listing, &all.join(" ")).matches("-s").count(), 30);
}

#[test]
fn without_a_guard_and_for_small_kinds_lists_are_believed() {
    for (kind, guard) in [(Kind::Service, None), (Kind::Node, Some(Guard::DEFAULT))] {
        let mut listing = Listing::new(kind, guard);
        play(&mut listing, &full(30));
        assert_eq!(play(&mut listing, "[ ]").matches("-s").count(), 30);
    }
}

#[test]
fn a_first_list_that_did_not_end_is_not_held_against_the_second() {
    let mut listing = listing();
    play(&mut listing, full(30).trim_end_matches(" ]"));
    let all = play(&mut listing, "[ ]");
    assert!(all.ends_with("listed Service"), "{all}");
}
