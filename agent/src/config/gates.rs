//! Feature gates: kube-proxy's are known by name, and one changes something here.
//!
//! PURE. On the command line an unknown name, and one that is locked to the other
//! value, is an error, as in kube-proxy. In a file, which may be that of another
//! version, it is named with the rest: there is nothing it could have changed.

use super::values::{ConfigError, Value, Values};
use crate::model::shown;

const KEY: &str = "featureGates";

/// Whether Services have their external IPs (KEP-5707).
pub(super) const EXTERNAL_IPS: &str = "AllowServiceExternalIPs";
/// Those that change something here.
const USED: [&str; 1] = [EXTERNAL_IPS];

/// All of kube-proxy 1.36.3, one a line: name, stage, default, and whether it is
/// locked to that. Its help lists those of stage ALPHA and BETA.
const KNOWN: &str = include_str!("feature-gates.txt");

/// Whether a gate is on; one that nobody knows is off.
pub(super) fn is_on(values: &Values, name: &str) -> bool {
    let set = match values.get(KEY) {
        Some(Value::Flags(gates)) => gates.get(name).copied(),
        _ => None,
    };
    set.or_else(|| find(name).map(|(default, _)| default)).unwrap_or(false)
}

/// A remark on the gates that are set and change nothing.
pub(super) fn remark(values: &Values) -> Result<Option<String>, ConfigError> {
    let Some(Value::Flags(gates)) = values.get(KEY) else { return Ok(None) };
    let mut problems = gates.iter().filter_map(|(name, value)| problem(name, *value));
    if values.is_by_flag(KEY)
        && let Some(problem) = problems.next()
    {
        return Err(values.error(KEY, problem));
    }
    let idle = gates.keys().filter(|name| !USED.contains(&name.as_str()));
    let names: Vec<String> = idle.map(|name| shown(name)).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let mut remark = format!("{KEY}: without effect here: {}", names.join(", "));
    for problem in problems {
        remark = format!("{remark}; {problem}");
    }
    Ok(Some(remark))
}

/// Why kube-proxy would not take it, in its words.
fn problem(name: &str, value: bool) -> Option<String> {
    let Some((default, is_locked)) = find(name) else {
        return Some(format!("unrecognized feature gate: {}", shown(name)));
    };
    (is_locked && value != default).then(|| {
        format!("cannot set feature gate {name} to {value}, feature is locked to {default}")
    })
}

/// The default of a gate, and whether it is locked to it.
fn find(name: &str) -> Option<(bool, bool)> {
    KNOWN.lines().find_map(|line| {
        let mut words = line.split(' ');
        let is_it = words.next() == Some(name);
        let (_stage, default, lock) = (words.next(), words.next(), words.next());
        is_it.then(|| (default == Some("true"), lock.is_some()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What kube-proxy's help says of its flags.
    const HELP: &str = include_str!("tests/kube-proxy-1.36.3-help.txt");

    #[test]
    fn those_of_the_help_are_known() {
        let options = HELP.lines().filter_map(|line| line.trim().split_once("=true|false ("));
        let listed: Vec<String> = options
            .map(|(name, rest)| {
                let (stage, default) = rest.split_once(" - default=").unwrap();
                format!("{name} {stage} {}", default.trim_end_matches(')'))
            })
            .collect();
        let known: Vec<&str> = KNOWN
            .lines()
            .map(|line| line.trim_end_matches(" locked"))
            .filter(|line| line.contains(" ALPHA ") || line.contains(" BETA "))
            .collect();
        assert_eq!(known, listed);
    }

    #[test]
    fn kube_proxys_words_are_said() {
        assert_eq!(problem("WatchList", false), None);
        assert_eq!(problem("Watchlist", true).unwrap(), "unrecognized feature gate: Watchlist");
        let locked = KNOWN.lines().find_map(|line| line.strip_suffix(" GA true locked")).unwrap();
        assert_eq!(problem(locked, true), None);
        assert_eq!(
            problem(locked, false).unwrap(),
            format!("cannot set feature gate {locked} to false, feature is locked to true")
        );
    }
}
