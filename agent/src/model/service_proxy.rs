//! Which service proxy an agent is.

use std::str::FromStr;
use std::sync::Arc;

/// The longest value of a label.
const LABEL_MAX_BYTES: usize = 63;

/// Which service proxy an agent is, by the label
/// `service.kubernetes.io/service-proxy-name` of Services (KEP-2447).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServiceProxy {
    /// The cluster's: Services without the label are its own.
    #[default]
    Default,
    /// One of this name, beside the cluster's: those that name it.
    Named(Arc<str>),
}

impl ServiceProxy {
    /// Whether a Service with this value of the label is its own.
    #[must_use]
    pub fn serves(&self, label: Option<&str>) -> bool {
        match self {
            Self::Default => label.is_none(),
            Self::Named(name) => label == Some(name),
        }
    }
}

impl FromStr for ServiceProxy {
    type Err = &'static str;

    /// By its name, which must be one that a label can have.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let is_alphanumeric = |c: char| c.is_ascii_alphanumeric();
        let fits = !name.is_empty()
            && name.len() <= LABEL_MAX_BYTES
            && name.starts_with(is_alphanumeric)
            && name.ends_with(is_alphanumeric)
            && name.chars().all(|c| is_alphanumeric(c) || ['-', '_', '.'].contains(&c));
        let problem = "is no value of a label: at most 63 letters, digits, '-', '_' or '.', with a \
                       letter or digit at both ends";
        if fits { Ok(Self::Named(name.into())) } else { Err(problem) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_one_proxy() {
        let canary: ServiceProxy = "canary".parse().unwrap();
        for (label, serves) in [
            (None, [true, false]),
            (Some("canary"), [false, true]),
            (Some("cilium"), [false, false]),
            (Some(""), [false, false]),
        ] {
            assert_eq!([ServiceProxy::Default.serves(label), canary.serves(label)], serves);
        }
    }

    #[test]
    fn names_are_values_of_labels() {
        let (longest, longer) = ("a".repeat(LABEL_MAX_BYTES), "a".repeat(LABEL_MAX_BYTES + 1));
        for name in ["a", "A.b_c-9", &longest] {
            assert_eq!(name.parse(), Ok(ServiceProxy::Named(name.into())));
        }
        for name in ["", "-a", "a.", "a b", "a,b=c", "ä", &longer] {
            assert!(name.parse::<ServiceProxy>().is_err(), "{name}");
        }
    }
}
