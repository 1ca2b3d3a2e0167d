//! Waits until a cluster that was laid out carries packets: the kernel brings links up in the
//! background, and what is sent before that is lost. Nothing sleeps; a packet decides.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::client::{Answer, Proto, Request};
use super::error::LabError;
use super::host::Host;
use super::spec::Family;

/// A port nobody serves: being refused, at once, proves the way there and the way back.
const CLOSED: u16 = 1;
/// How long to wait for the refusal, and how often to try again.
const TRY: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(5);

/// Waits until `from` reaches `to` in both families.
pub(super) fn reaches(from: &Host, to: &Host) -> Result<(), LabError> {
    let deadline = Instant::now() + DEADLINE;
    for family in Family::BOTH {
        let to_port = SocketAddr::new(to.address(family), CLOSED);
        let request = Request::new(to_port, Proto::Tcp).timeout(TRY);
        loop {
            let answer = from.request(&request);
            if answer == Answer::Refused {
                break;
            }
            if Instant::now() > deadline {
                let (from, to) = (from.name(), to.name());
                let text = format!("{from} does not reach {to} over {family}: {answer:?}");
                return Err(LabError::Plan(text));
            }
        }
    }
    Ok(())
}
