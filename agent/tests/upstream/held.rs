//! Connections that stay open from one step to the next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use closeby_tools::lab::{Answer, Conversation, Family, Request};

use super::objects::Objects;
use super::packets::{SILENCE, lab_proto, other_fate};
use super::run::ask;
use super::sight::Fate;
use super::stage::Ground;
use super::words::{Expectation, Proto, Verdict};

/// How soon a flow of datagrams must go where it belongs.
const FLOWS_MOVE_WITHIN: Duration = Duration::from_secs(1);

/// What is open, by name and family.
#[derive(Debug, Default)]
pub(crate) struct Held {
    open: BTreeMap<(String, Family), Line>,
}

#[derive(Debug)]
enum Line {
    /// TCP: asked again and again.
    Talk(Box<Conversation>),
    /// UDP: always from this port.
    Flow(u16),
}

impl Held {
    /// Opens what is new, and asks once more on all that is named; says what
    /// is not as expected.
    pub(crate) fn check(
        &mut self,
        ground: &Ground,
        objects: &Objects,
        expected: &BTreeMap<String, Expectation>,
    ) -> Result<Vec<String>, String> {
        let mut wrong = Vec::new();
        for (name, expectation) in expected {
            for family in &expectation.families {
                let key = (name.clone(), *family);
                if let Some(problem) = self.one(ground, objects, key, expectation)? {
                    wrong.push(format!("held {name} in {family}, {}: {problem}", expectation.text));
                }
            }
        }
        Ok(wrong)
    }

    fn one(
        &mut self,
        ground: &Ground,
        objects: &Objects,
        key: (String, Family),
        expectation: &Expectation,
    ) -> Result<Option<String>, String> {
        let ([client], [destination]) = (&expectation.clients[..], &expectation.destinations[..])
        else {
            return Err(format!("{:?}: one client and one destination", expectation.text));
        };
        let ask = ask(&ground.cluster, objects, client, destination, key.1)?;
        let proto = lab_proto(ask.proto).ok_or("SCTP cannot be held")?;
        let request = Request::new(ask.to, proto);
        let line = match self.open.remove(&key) {
            Some(line) => line,
            None if ask.proto == Proto::Udp => Line::Flow(ask.client.next_port()),
            None => match ask.client.converse(&request) {
                Ok(talk) => Line::Talk(Box::new(talk)),
                Err(answer) => return Ok(Some(format!("{answer:?}"))),
            },
        };
        let (line, answer) = match line {
            Line::Talk(mut talk) => {
                let answer = talk.ask();
                (Line::Talk(talk), answer)
            }
            Line::Flow(port) => {
                let request = request.timeout(SILENCE).source_port(port);
                let deadline = Instant::now() + FLOWS_MOVE_WITHIN;
                let answer = loop {
                    let answer = ask.client.request(&request);
                    if is_expected(&expectation.verdict, &answer) || Instant::now() > deadline {
                        break answer;
                    }
                };
                (Line::Flow(port), answer)
            }
        };
        self.open.insert(key, line);
        let expected = is_expected(&expectation.verdict, &answer);
        Ok((!expected).then(|| format!("{answer:?}")))
    }
}

fn is_expected(verdict: &Verdict, answer: &Answer) -> bool {
    match verdict {
        Verdict::Reaches { servers, .. } | Verdict::SticksTo(servers) => {
            answer.reply().is_some_and(|reply| servers.contains(&(reply.pod.clone(), reply.port)))
        }
        Verdict::Refused => other_fate(answer) == Ok(Fate::Refused),
        Verdict::Dropped => other_fate(answer) == Ok(Fate::Dropped),
        Verdict::Answers(_) => false,
        Verdict::NotServed => other_fate(answer) == Ok(Fate::NotServed),
    }
}
