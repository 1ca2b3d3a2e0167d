//! Asks a running agent over its socket.

pub mod terminal;

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ask::protocol::{ANSWER_MAX_BYTES, ProtocolError, read_answer, write_question};
use crate::ask::{Answer, Question};

/// An agent that says nothing for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or may be asked.
    #[error(
        "no agent answers at {}: {source}; say where one listens with --socket PATH, or ask a \
         folder of objects with --manifests DIR", .path.display()
    )]
    NoAgent {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody does, and says something else.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// Asks the agent that listens there.
///
/// # Errors
/// See [`ClientError`].
pub fn ask(path: &Path, question: &Question) -> Result<Answer, ClientError> {
    let line = exchange(path, &write_question(question));
    let line = line.map_err(|source| ClientError::NoAgent { path: path.to_owned(), source })?;
    Ok(read_answer(question, &line)?)
}

fn exchange(path: &Path, question: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(question.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut line = Vec::new();
    stream.take(ANSWER_MAX_BYTES).read_to_end(&mut line)?;
    Ok(line)
}
