//! What can go wrong with the API server: what it means, whether the list must
//! begin anew, and words for the operator, once.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter::successors;

use super::super::objects::Status;
use super::kinds::Watched;
use super::line::text;
use crate::model::Kind;

/// The longest text of an error that is passed on.
const TEXT_MAX_CHARS: usize = 400;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It cannot be reached, or the connection broke.
    Unreachable(String),
    /// Its certificate is not trusted.
    Untrusted(String),
    /// It does not know who asks (401).
    Unauthenticated(String),
    /// Who asks may not (403).
    Forbidden { verb: &'static str, message: String },
    /// It has no such kind (404).
    NotServed,
    /// The place in its history is lost (410), as after a compaction.
    Expired,
    /// Its history ends before the place that was reached: its store is another,
    /// or an older one.
    Forgetful { known: u64, now: u64 },
    /// It does not stream lists: pages must do.
    NoStreamedLists(String),
    /// Any other answer.
    Refused { code: i64, message: String },
    /// What it sent cannot be read.
    Unreadable(String),
    /// A list did not come to its end.
    Unfinished,
}

impl Failure {
    /// What the API server answered, asked to `verb`.
    pub(super) fn of_status(status: &Status, verb: &'static str) -> Self {
        let message = one_line(text(Some(&status.message)));
        let reason = text(Some(&status.reason));
        let code = status.code.as_option().copied().unwrap_or_default();
        match (code, reason) {
            (401, _) => Self::Unauthenticated(message),
            (403, _) => Self::Forbidden { verb, message },
            (404, _) => Self::NotServed,
            (410, _) | (_, "Expired" | "Gone") => Self::Expired,
            _ => Self::Refused { code, message },
        }
    }

    /// Why a request came to nothing.
    pub(super) fn of_error(error: &kube::Error, verb: &'static str) -> Self {
        match error {
            kube::Error::Api(status) => {
                let status = serde_json::to_value(status).and_then(serde_json::from_value);
                Self::of_status(&status.unwrap_or_default(), verb)
            }
            kube::Error::SerdeError(error) => Self::Unreadable(error.to_string()),
            kube::Error::Service(error) => Self::of_transport(&**error),
            kube::Error::HyperError(error) => Self::of_transport(error),
            error => Self::of_transport(error),
        }
    }

    /// Why nothing came over a connection.
    pub(super) fn of_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => Self::of_error(error, "watch"),
            None => Self::of_transport(error),
        }
    }

    fn of_transport(error: &(dyn Error + 'static)) -> Self {
        // As when the server is killed; the library's words for it are many.
        if chain(error).any(|error| {
            error.downcast_ref().is_some_and(|io: &io::Error| io.kind() == ErrorKind::UnexpectedEof)
        }) {
            return Self::Unreachable("the connection ended".to_owned());
        }
        let why = causes(error);
        match why.find("invalid peer certificate") {
            Some(at) => Self::Untrusted(why[at..].to_owned()),
            None => Self::Unreachable(why),
        }
    }

    /// Whether the next thing to ask for is a whole list.
    pub(super) fn needs_list(&self) -> bool {
        matches!(self, Self::Expired | Self::Forgetful { .. } | Self::Unreadable(_))
    }

    /// Whether other credentials may help, which may have come meanwhile.
    pub(super) fn needs_credentials(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Untrusted(_) | Self::Unauthenticated(_))
    }

    /// Whether it means no more than that the kind is not there, and the agent
    /// works without it.
    pub(super) fn is_absence<K: Watched>(&self) -> bool {
        K::IS_OPTIONAL && matches!(self, Self::NotServed | Self::Forbidden { .. })
    }

    /// What is said once for all kinds, however many meet it; `None` for what
    /// is part of an API server's life.
    fn topic<K: Watched>(&self) -> Option<(&'static str, Option<Kind>)> {
        let of_kind = Some(K::KIND);
        match self {
            Self::Unreachable(_) => Some(("unreachable", None)),
            Self::Untrusted(_) => Some(("untrusted", None)),
            Self::Unauthenticated(_) => Some(("unauthenticated", None)),
            Self::Forgetful { .. } => Some(("forgetful", None)),
            Self::Forbidden { .. } => Some(("forbidden", of_kind)),
            Self::NotServed => Some(("not served", of_kind)),
            Self::Refused { .. } => Some(("refused", of_kind)),
            Self::Unreadable(_) => Some(("unreadable", of_kind)),
            Self::Unfinished => Some(("unfinished", of_kind)),
            Self::Expired | Self::NoStreamedLists(_) => None,
        }
    }

    /// What went wrong, what holds meanwhile and what to do.
    pub(super) fn words<K: Watched>(&self, server: &str) -> String {
        let what = K::PLURAL;
        let meanwhile = "what is in force stays; trying again";
        match self {
            Self::Unreachable(why) => {
                format!("cannot reach the API server at {server}: {why}; {meanwhile}")
            }
            Self::Untrusted(why) => format!(
                "the API server at {server} is not trusted: {why}; its certificate must be for \
                 that address and of the CA that the kubeconfig names \
                 (certificate-authority); {meanwhile}"
            ),
            Self::Unauthenticated(why) => format!(
                "the API server at {server} does not accept the credentials: {why}; check the \
                 kubeconfig's user (its token or client certificate), or the ServiceAccount; \
                 {meanwhile}"
            ),
            Self::Forbidden { verb, message } => {
                let then = if K::IS_OPTIONAL { "going on without them" } else { meanwhile };
                format!(
                    "not allowed to {verb} {what}: {message}; give this agent's user or \
                     ServiceAccount a ClusterRole with the verbs list and watch on {what}; {then}"
                )
            }
            Self::NotServed if K::IS_OPTIONAL => {
                format!("the API server has no {what} ({}); going on without them", K::PATH)
            }
            Self::NotServed => format!(
                "the API server at {server} has no {what} ({}); is it another program, or of \
                 another version? {meanwhile}",
                K::PATH
            ),
            Self::Forgetful { known, now } => format!(
                "the API server at {server} knows of nothing since state {now}, and {known} had \
                 been reached: its store was replaced or restored; asking for everything again"
            ),
            Self::NoStreamedLists(why) => {
                format!("the API server does not stream lists ({why}); asking for pages instead")
            }
            Self::Refused { code, message } => {
                format!("the API server refuses to tell of {what} ({code}): {message}; {meanwhile}")
            }
            Self::Unreadable(why) => format!(
                "what the API server tells of {what} cannot be read: {why}; asking for all of \
                 them again; what is in force stays"
            ),
            Self::Unfinished => {
                format!("the API server broke off its list of {what}; {meanwhile}")
            }
            Self::Expired => format!("the place in the history of {what} is lost; listing again"),
        }
    }
}

/// An error and its causes.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

/// An error with its causes, each said once, as one line.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let words = chain(error).skip(1).fold(error.to_string(), |words, cause| {
        let cause = cause.to_string();
        // Many say their causes themselves.
        if words.contains(&cause) { words } else { format!("{words}: {cause}") }
    });
    one_line(&words)
}

/// Text from elsewhere as it may be logged: a server that is another program may
/// answer with a page of HTML.
fn one_line(text: &str) -> String {
    text.chars().take(TEXT_MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What has been said of failures and is not over yet.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<(&'static str, Option<Kind>), BTreeSet<Kind>>);

impl Troubles {
    /// What to say of a failure, unless it has been said.
    pub(super) fn failed<K: Watched>(&mut self, failure: &Failure, server: &str) -> Option<String> {
        let kinds = self.0.entry(failure.topic::<K>()?).or_default();
        let is_new = kinds.is_empty();
        kinds.insert(K::KIND);
        is_new.then(|| failure.words::<K>(server))
    }

    /// A kind is well: what to say if with it something is over.
    pub(super) fn fine<K: Watched>(&mut self, server: &str) -> Option<String> {
        let before = self.0.len();
        self.0.retain(|_, kinds| {
            kinds.remove(&K::KIND);
            !kinds.is_empty()
        });
        (self.0.len() < before)
            .then(|| format!("the API server at {server} tells of {} again", K::PLURAL))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::objects::Service;
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{says}")]
    struct Step {
        says: &'static str,
        source: Option<Box<Step>>,
    }

    fn steps(says: &[&'static str]) -> Step {
        let (first, rest) = says.split_first().unwrap();
        let source = (!rest.is_empty()).then(|| Box::new(steps(rest)));
        Step { says: first, source }
    }

    #[test]
    fn text_from_elsewhere_is_one_line_of_bearable_length() {
        let message = "<html>\n\u{1b}[31m".to_owned() + &"x".repeat(5000);
        let status = serde_json::json!({"code": 502, "message": message});
        let failure = Failure::of_status(&serde_json::from_value(status).unwrap(), "list");
        let Failure::Refused { code: 502, message } = failure else { panic!("{failure:?}") };
        assert!(message.starts_with("<html>  [31mxx"), "{message}");
        assert_eq!(message.len(), TEXT_MAX_CHARS);
    }

    #[test]
    fn causes_are_said_once_and_on_one_line() {
        for (says, expected) in [
            (&["connect", "refused"][..], "connect: refused"),
            (
                &["cannot: connect: refused", "connect: refused", "refused"],
                "cannot: connect: refused",
            ),
            (&["failed: a\nb"], "failed: a b"),
        ] {
            assert_eq!(causes(&steps(says)), expected);
        }
    }

    #[test]
    fn a_certificate_is_told_from_a_connection() {
        let error = steps(&["client error (Connect)", "invalid peer certificate: UnknownIssuer"]);
        let failure = Failure::of_transport(&error);
        assert_eq!(
            failure.words::<Service>("https://api"),
            "the API server at https://api is not trusted: invalid peer certificate: \
             UnknownIssuer; its certificate must be for that address and of the CA that the \
             kubeconfig names (certificate-authority); what is in force stays; trying again"
        );
        assert!(matches!(Failure::of_transport(&steps(&["refused"])), Failure::Unreachable(_)));
    }
}
