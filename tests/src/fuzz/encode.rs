//! Two legal rulesets, as the bytes say: one becomes the other through the
//! kernel's bytes, and each can be written as text.

use closeby_nft::apply::apply;
use closeby_nft::delta::diff;
use closeby_nft::judge::judge;
use closeby_nft::wire::decode;
use closeby_nft::{Batch, Op, Ruleset, text};

use crate::generate;

/// Tries the two rulesets that the bytes say.
pub fn encode(data: &[u8]) {
    let (before, after) = data.split_at(data.len() / 2);
    let (before, after) = (generate::build(before), generate::build(after));
    assert_eq!(judge(&after), vec![]);
    let nothing = Ruleset::default();
    for (from, to) in [(&nothing, &before), (&before, &after), (&after, &nothing)] {
        let delta = diff(from, to);
        let batch = Batch::of(&delta);
        let read = decode::batch(batch.bytes()).unwrap_or_else(|error| panic!("{error}"));
        let read: Vec<Op> = read.into_iter().map(|(_, op)| op).collect();
        let listed: Vec<Op> = delta.ops.iter().cloned().map(Op::listed).collect();
        assert_eq!(read, listed);
        let mut applied = from.clone();
        assert_eq!(apply(&mut applied, &read), Ok(()), "{delta:#?}");
        assert_eq!(&applied, to);
        assert_eq!(to.tables.is_empty(), text::ruleset(to).is_empty());
    }
}
