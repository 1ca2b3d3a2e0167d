//! Every sequence of random numbers that could be drawn for one packet.

use super::{Host, Origin, Outcome, Packet, Tracer};

impl Tracer {
    /// What becomes of the first packet of a connection, over every sequence of
    /// random numbers that could be drawn for it; never empty. The ruleset
    /// remembers no packet before it.
    #[must_use]
    pub fn outcomes(&self, packet: &Packet, origin: Origin, host: &Host) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut draws = Draws::default();
        loop {
            draws.rewind();
            outcomes.push(self.run(packet.clone(), origin, host, &mut |below| draws.draw(below)));
            if !draws.advance() {
                return outcomes;
            }
        }
    }
}

/// All sequences of draws, one after the other: an odometer whose wheels show
/// up while it turns. Each run begins with [`Self::rewind`] and is followed by
/// [`Self::advance`].
#[derive(Debug, Default)]
pub struct Draws {
    /// What was drawn, and below what.
    wheels: Vec<(u32, u32)>,
    next: usize,
}

impl Draws {
    /// Begins a sequence.
    pub fn rewind(&mut self) {
        self.next = 0;
    }

    /// The next number of the sequence, below `modulus`.
    pub fn draw(&mut self, modulus: u32) -> u32 {
        if self.next == self.wheels.len() {
            self.wheels.push((0, modulus));
        }
        self.next += 1;
        self.wheels[self.next - 1].0
    }

    /// Turns to the next sequence; `false` after the last.
    pub fn advance(&mut self) -> bool {
        self.wheels.truncate(self.next);
        while let Some((drawn, modulus)) = self.wheels.last_mut() {
            if *drawn + 1 < *modulus {
                *drawn += 1;
                return true;
            }
            self.wheels.pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_is_drawn_once() {
        let mut draws = Draws::default();
        let mut seen = Vec::new();
        loop {
            draws.rewind();
            let first = draws.draw(3);
            // Only some ways lead to a second draw.
            seen.push((first, (first == 1).then(|| draws.draw(2))));
            if !draws.advance() {
                break;
            }
        }
        assert_eq!(seen, [(0, None), (1, Some(0)), (1, Some(1)), (2, None)]);
    }
}
