//! How the log is written (`logging`).

use super::values::{ConfigError, Value, Values, is_not};

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// Its format.
    pub format: LogFormat,
    /// How much of it there is.
    pub level: LogLevel,
}

/// The log's format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line an event, for people.
    #[default]
    Text,
    /// A JSON object an event.
    Json,
}

/// How much is logged, by Kubernetes' convention for klog: it recommends 2 for
/// production, and 4 is the first that is for debugging. So what operators
/// write every day (`-v=2`) is no more than without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What an operator wants to know: verbosity 0 to 3.
    #[default]
    Info,
    /// 4.
    Debug,
    /// 5 and more.
    Trace,
}

impl Logging {
    pub(super) fn of(values: &Values) -> Result<Self, ConfigError> {
        let (format, verbosity) = ("logging.format", "logging.verbosity");
        Ok(Self {
            format: match values.text(format) {
                None | Some("text") => LogFormat::Text,
                Some("json") => LogFormat::Json,
                Some(other) => return Err(values.error(format, is_not(other, "text, json"))),
            },
            level: match values.get(verbosity) {
                Some(Value::Whole(..0)) => {
                    return Err(values.error(verbosity, "is negative; write 0 or more"));
                }
                Some(Value::Whole(4)) => LogLevel::Debug,
                Some(Value::Whole(5..)) => LogLevel::Trace,
                _ => LogLevel::Info,
            },
        })
    }
}
