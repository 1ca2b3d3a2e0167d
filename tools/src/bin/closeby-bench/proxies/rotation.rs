//! Which endpoints a Service had, and when: each change takes the oldest away and adds another, in
//! a ring of places.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Places that endpoints of one Service take in turn; more than any Service has.
const RING: u32 = 16;

/// What a packet found where it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An endpoint, or what may have been one.
    There,
    /// What had been an endpoint until so long before the packet was sent.
    Gone(Duration),
    /// What was no endpoint.
    Never,
}

/// Of all Services.
#[derive(Debug)]
pub(super) struct Rotation {
    endpoints: u32,
    /// Of each Service, when each write began and when it was answered.
    writes: Vec<Vec<(Instant, Instant)>>,
}

impl Rotation {
    /// Each Service has its first endpoints.
    pub(super) fn new(services: u32, endpoints: u32) -> Self {
        Self { endpoints, writes: (0..services).map(|_| Vec::new()).collect() }
    }

    pub(super) fn services(&self) -> u32 {
        u32::try_from(self.writes.len()).unwrap_or(u32::MAX)
    }

    /// How many changes there were.
    pub(super) fn changes(&self) -> usize {
        self.writes.iter().map(Vec::len).sum()
    }

    /// The endpoints in the beginning.
    pub(super) fn first(&self) -> impl Iterator<Item = u32> + use<> {
        places(0..self.endpoints)
    }

    /// The endpoints after the next change of this Service.
    pub(super) fn next(&self, service: u32) -> impl Iterator<Item = u32> + use<> {
        let turn = self.turns(service) + 1;
        places(turn..turn + self.endpoints)
    }

    /// That change was written.
    pub(super) fn changed(&mut self, service: u32, began: Instant, answered: Instant) {
        if let Some(writes) = usize::try_from(service).ok().and_then(|at| self.writes.get_mut(at)) {
            writes.push((began, answered));
        }
    }

    fn turns(&self, service: u32) -> u32 {
        self.writes_of(service).len().try_into().unwrap_or(u32::MAX)
    }

    fn writes_of(&self, service: u32) -> &[(Instant, Instant)] {
        usize::try_from(service).ok().and_then(|at| self.writes.get(at)).map_or(&[], Vec::as_slice)
    }

    /// What happened around a packet to this Service, in words.
    pub(super) fn told(&self, service: u32, sent: Instant, kills: &[Instant]) -> String {
        let ms = |then: &Instant| {
            let after = sent.saturating_duration_since(*then).as_secs_f64() * 1e3;
            after - then.saturating_duration_since(sent).as_secs_f64() * 1e3
        };
        let nearest = |all: &mut dyn Iterator<Item = f64>| {
            let nearest = all.min_by(|a, b| a.abs().total_cmp(&b.abs()));
            nearest.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"))
        };
        let written = nearest(&mut self.writes_of(service).iter().map(|(began, _)| ms(began)));
        let any = nearest(&mut self.writes.iter().flatten().map(|(began, _)| ms(began)));
        let killed = nearest(&mut kills.iter().map(ms));
        format!(
            "to Service {service}, {written} after a write of it began, {any} after any write, \
             {killed} after a kill"
        )
    }

    /// What a packet found at this place: it was sent at one time and came at another.
    pub(super) fn found(&self, service: u32, slot: u32, sent: Instant, came: Instant) -> Found {
        let writes = self.writes_of(service);
        // What takes place `turn` in the order of time comes with one write and goes with another.
        let mut gone = None;
        for turn in (slot..self.turns(service) + self.endpoints).step_by(RING as usize) {
            let write = |turn: Option<u32>| {
                turn.and_then(|turn| usize::try_from(turn).ok()).and_then(|at| writes.get(at))
            };
            // The first endpoints come with none, the last go with none.
            let comes = write(turn.checked_sub(self.endpoints));
            let goes = write(Some(turn));
            if comes.is_some_and(|(began, _)| *began > came) {
                break;
            }
            match goes {
                Some((_, answered)) if *answered < sent => gone = Some(sent - *answered),
                _ => return Found::There,
            }
        }
        gone.map_or(Found::Never, Found::Gone)
    }
}

fn places(turns: Range<u32>) -> impl Iterator<Item = u32> {
    turns.map(|turn| turn % RING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_come_and_go_one_by_one() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut rotation = Rotation::new(1, 2);
        assert!(rotation.first().eq([0, 1]));
        assert!(rotation.next(0).eq([1, 2]));
        rotation.changed(0, at(10), at(12));
        assert!(rotation.next(0).eq([2, 3]));
        rotation.changed(0, at(20), at(22));
        for (slot, sent, came, found) in [
            (0, 5, 6, Found::There),
            (0, 11, 11, Found::There),
            (0, 32, 32, Found::Gone(Duration::from_millis(20))),
            (2, 8, 9, Found::Never),
            (2, 9, 11, Found::There),
            (2, 50, 50, Found::There),
            (3, 15, 15, Found::Never),
            (5, 50, 50, Found::Never),
        ] {
            assert_eq!(rotation.found(0, slot, at(sent), at(came)), found, "{slot} {sent}");
        }
    }

    #[test]
    fn a_place_is_taken_again() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut rotation = Rotation::new(1, 1);
        for turn in 1..=16 {
            rotation.changed(0, at(turn * 10), at(turn * 10));
        }
        assert_eq!(rotation.found(0, 0, at(100), at(100)), Found::Gone(Duration::from_millis(90)));
        assert_eq!(rotation.found(0, 0, at(160), at(160)), Found::There);
    }
}
