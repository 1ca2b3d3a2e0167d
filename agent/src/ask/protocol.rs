//! What is said over the agent's socket: one line of JSON there, one back.
//!
//! ```text
//! {"version":1,"ask":"services"}
//! {"version":1,"ask":{"service":"shop/web"}}
//! {"version":1,"ask":{"explain":{"from":"10.244.1.10","to":"10.96.0.20:80/tcp"}}}
//! {"version":1,"generation":7,"answer":{...}}
//! {"version":1,"error":"..."}
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Answer, Question};
use crate::compile::Generation;

/// The version of what is said. An agent answers questions of its own version alone.
pub const VERSION: u32 = 1;
/// Where an agent listens unless it is told otherwise.
pub const SOCKET: &str = "/run/closeby/agent.sock";
/// The most bytes of a question.
pub const QUESTION_MAX_BYTES: u64 = 4096;
/// The most bytes of an answer that are read: twenty times what 10,000 Services take.
pub const ANSWER_MAX_BYTES: u64 = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    version: u32,
    ask: Question,
}

/// The version alone, which every version has.
#[derive(Debug, Deserialize)]
struct Version {
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reply<T> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default = "Option::default")]
    answer: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    error: Option<String>,
}

/// What was said is not understood, or there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// It is no question of ours.
    #[error("not a question: {0}; this agent takes {{\"version\":{VERSION},\"ask\":\"services\"}}")]
    Question(String),
    /// The other side is of another version.
    #[error("the other side speaks version {0}, this one {VERSION}: use the same build of closeby")]
    Version(u32),
    /// It is no answer of ours.
    #[error("the agent's answer cannot be read: {0}")]
    Answer(String),
    /// The agent has none.
    #[error("{0}")]
    Refused(String),
}

/// A question, as a line.
#[must_use]
pub fn write_question(question: &Question) -> String {
    line(&Request { version: VERSION, ask: question.clone() })
}

/// The question of a line.
///
/// # Errors
/// If it is none.
pub fn read_question(line: &[u8]) -> Result<Question, ProtocolError> {
    let wrong = |error: serde_json::Error| ProtocolError::Question(error.to_string());
    let Version { version } = serde_json::from_slice(line).map_err(wrong)?;
    if version != VERSION {
        return Err(ProtocolError::Version(version));
    }
    let request: Request = serde_json::from_slice(line).map_err(wrong)?;
    Ok(request.ask)
}

/// An answer, as a line; of the plan of this generation.
#[must_use]
pub fn write_answer(answer: Result<(Generation, &Answer), String>) -> String {
    let (generation, answer, error) = match answer {
        Ok((generation, answer)) => (Some(generation.0), Some(answer), None),
        Err(error) => (None, None, Some(error)),
    };
    line(&Reply { version: VERSION, generation, answer, error })
}

/// The answer of a line, to this question.
///
/// # Errors
/// If it is none.
pub fn read_answer(question: &Question, line: &[u8]) -> Result<Answer, ProtocolError> {
    match question {
        Question::Services => read(line).map(Answer::Services),
        Question::Service(_) => read(line).map(Box::new).map(Answer::Service),
        Question::Explain { .. } => read(line).map(Box::new).map(Answer::Explain),
        Question::Top => read(line).map(Answer::Top),
    }
}

fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, ProtocolError> {
    let wrong = |error: serde_json::Error| ProtocolError::Answer(error.to_string());
    let Version { version } = serde_json::from_slice(line).map_err(wrong)?;
    if version != VERSION {
        return Err(ProtocolError::Version(version));
    }
    match serde_json::from_slice(line).map_err(wrong)? {
        Reply { error: Some(error), .. } => Err(ProtocolError::Refused(error)),
        Reply { answer: Some(answer), .. } => Ok(answer),
        Reply { .. } => Err(ProtocolError::Answer("there is none in it".to_owned())),
    }
}

/// None of these values has what JSON cannot hold.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_as_they_were_written() {
        let explain = Question::Explain {
            from: [10, 0, 0, 1].into(),
            to: "10.96.0.1:80/tcp".to_owned(),
            interface: None,
        };
        for question in
            [Question::Services, Question::Top, Question::Service("a/b\n".to_owned()), explain]
        {
            let line = write_question(&question);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert_eq!(read_question(line.as_bytes()), Ok(question));
        }
    }

    #[test]
    fn what_is_no_question_is_said_to_be_none() {
        let said = |line: &str| read_question(line.as_bytes()).unwrap_err().to_string();
        for (line, words) in [
            ("", "not a question: EOF"),
            ("hello\n", "not a question: expected value"),
            ("{\"version\":1}", "missing field `ask`"),
            ("{\"version\":1,\"ask\":\"nodes\"}", "unknown variant `nodes`"),
            ("{\"version\":1,\"ask\":\"top\",\"more\":1}", "unknown field `more`"),
            ("{\"version\":2,\"ask\":\"nodes\"}", "speaks version 2, this one 1"),
        ] {
            assert!(said(line).contains(words), "{line}: {}", said(line));
        }
    }

    #[test]
    fn errors_come_through() {
        let line = write_answer(Err("no".to_owned()));
        assert_eq!(line, "{\"version\":1,\"error\":\"no\"}\n");
        let read = |line: &[u8]| read_answer(&Question::Top, line).unwrap_err();
        assert_eq!(read(line.as_bytes()), ProtocolError::Refused("no".to_owned()));
        assert_eq!(read(b"{\"version\":3}"), ProtocolError::Version(3));
        assert!(read(b"{\"version\":1}").to_string().ends_with("there is none in it"));
    }
}
