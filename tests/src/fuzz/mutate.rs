//! Inputs made of others: bytes broken as chance has it, and lines of text
//! moved and given odd values.
//!
//! PURE: the seed decides. libFuzzer does this better, for it sees what its
//! inputs reach; this needs no more than a compiler.

use proptest::prelude::{Rng as _, RngExt as _};
use proptest::test_runner::{RngAlgorithm, TestRng};

/// The longest input.
pub const LEN_MAX: usize = 32 * 1024;
/// So many changes are made at most.
const CHANGES_MAX: usize = 8;

/// Values that readers stumble over.
const WORDS: [&str; 44] = [
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "2147483648",
    "1e9",
    "0x50",
    "080",
    "99999999999999999999",
    "~",
    "null",
    "true",
    "no",
    "\"\"",
    "\"\\u001b[31m\"",
    "\"\\0\"",
    "[]",
    "{}",
    "[null]",
    "[{}]",
    "{a: b}",
    "&a",
    "*a",
    "[*a, *a, *a, *a]",
    "!!binary x",
    "|",
    "- ",
    "? ",
    "---",
    "\t",
    "\"",
    "10.96.0.10",
    "010.096.000.010",
    "::ffff:10.0.0.1",
    "fe80::1%eth0",
    "fd00:96::10",
    "127.0.0.1",
    "0.0.0.0",
    "10.0.0.0/8",
    "IPv6",
    "Local",
    "UDP",
    "80",
];
/// Lengths and numbers at the edges of what fits.
const EDGES: [u32; 10] = [0, 1, 3, 4, 16, 0x7f, 0xff, 0x7fff, 0xffff, u32::MAX];

/// The input that this seed makes of these.
#[must_use]
pub fn mutated(seed: u64, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..].copy_from_slice(&(!seed).to_le_bytes());
    let mut rng = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
    // Seeds that are near each other begin alike.
    (0..8).for_each(|_| _ = rng.next_u64());
    let mut input = one_of(&mut rng, corpus).cloned().unwrap_or_default();
    let is_text = std::str::from_utf8(&input).is_ok() && input.contains(&b'\n');
    for _ in 0..=rng.random_range(0..CHANGES_MAX) {
        if is_text && rng.random_ratio(4, 5) {
            input = change_lines(&mut rng, &input, corpus);
        } else {
            change_bytes(&mut rng, &mut input, corpus);
        }
    }
    input.truncate(LEN_MAX);
    input
}

fn one_of<'a, T>(rng: &mut TestRng, some: &'a [T]) -> Option<&'a T> {
    (!some.is_empty()).then(|| &some[rng.random_range(0..some.len())])
}

/// A stretch of an input.
fn stretch(rng: &mut TestRng, len: usize, most: usize) -> std::ops::Range<usize> {
    let begin = rng.random_range(0..=len);
    begin..begin + rng.random_range(0..=most.min(len - begin))
}

fn change_bytes(rng: &mut TestRng, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let len = input.len();
    let at = rng.random_range(0..=len);
    match rng.random_range(0..9) {
        0 => input.truncate(at),
        1 => drop(input.drain(stretch(rng, len, 32))),
        2 => {
            let copy = input[stretch(rng, len, 64)].to_vec();
            drop(input.splice(at..at, copy));
        }
        3 => {
            let noise: Vec<u8> = (0..rng.random_range(1..32)).map(|_| rng.random()).collect();
            drop(input.splice(at..at, noise));
        }
        4 => {
            let other = one_of(rng, corpus).map_or(&[][..], Vec::as_slice);
            let part = other[stretch(rng, other.len(), 512)].to_vec();
            drop(input.splice(stretch(rng, len, 64), part));
        }
        5 => {
            let edge = one_of(rng, &EDGES).map_or([0; 4], |it| it.to_ne_bytes());
            write_at(input, at / 4 * 4, &edge);
        }
        6 => {
            let edge = one_of(rng, &EDGES).map_or([0; 4], |it| it.to_ne_bytes());
            write_at(input, at / 2 * 2, &edge[..2]);
        }
        7 => write_at(input, at, &[rng.random()]),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
    }
}

fn write_at(input: &mut [u8], at: usize, bytes: &[u8]) {
    input.iter_mut().skip(at).zip(bytes).for_each(|(byte, new)| *byte = *new);
}

fn change_lines(rng: &mut TestRng, input: &[u8], corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    let count = lines.len();
    let at = rng.random_range(0..=count);
    let words: Vec<u8>;
    match rng.random_range(0..8) {
        0 => {
            let stretch = stretch(rng, count, 4);
            drop(lines.drain(stretch));
        }
        1 => {
            let copy = lines[stretch(rng, count, 6)].to_vec();
            drop(lines.splice(at..at, copy));
        }
        2 => {
            let other = one_of(rng, corpus).map_or(&[][..], Vec::as_slice);
            let others: Vec<&[u8]> = other.split_inclusive(|byte| *byte == b'\n').collect();
            let part = others[stretch(rng, others.len(), 12)].to_vec();
            drop(lines.splice(at..at, part));
        }
        3 if count > 1 => lines.swap(at % count, 0),
        _ => {
            let Some(line) = lines.get_mut(at) else { return input.to_vec() };
            words = with_another_value(rng, line);
            *line = &words;
        }
    }
    lines.concat()
}

/// `key: value` with another value, or any word of the line by another.
fn with_another_value(rng: &mut TestRng, line: &[u8]) -> Vec<u8> {
    let word = one_of(rng, &WORDS).map_or("", |word| *word);
    let line = String::from_utf8_lossy(line);
    let places: Vec<(usize, &str)> = line.match_indices([' ', ',', '[', '{', '"']).collect();
    let Some((begin, _)) = one_of(rng, &places).copied() else { return word.into() };
    let begin = begin + 1;
    let end = line[begin..].find([',', ']', '}', '"', '\n']).map_or(line.len(), |end| begin + end);
    [&line[..begin], word, &line[end..]].concat().into_bytes()
}
