//! Reads durations as Go writes them: `1h0m0s`, `1.5s`, `300ms`, `-1s`, `0`.
//!
//! Its own reader: what crates read is close, but not the same set of texts.

/// Units by length in nanoseconds; those that begin alike with the longer first.
const UNITS_NS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

/// The nanoseconds of a duration; `None` if it is none, or does not fit where
/// Go keeps it.
pub(super) fn read_duration_ns(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut sum_ns = 0_i128;
    while sum_ns == 0 || !rest.is_empty() {
        let (part_ns, after) = part(rest)?;
        sum_ns = sum_ns.checked_add(part_ns)?;
        if after.is_empty() {
            return i64::try_from(sign * sum_ns).ok();
        }
        rest = after;
    }
    i64::try_from(sign * sum_ns).ok()
}

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;

/// A duration as Go writes it: `1h0m0s`, `1.5s`, `100ms`.
pub(super) fn duration_text(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let short = match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => decimal(ns, 1_000) + "µs",
        1_000_000..SECOND_NS => decimal(ns, 1_000_000) + "ms",
        _ => decimal(ns % MINUTE_NS, SECOND_NS) + "s",
    };
    match ns / MINUTE_NS {
        0 => format!("{sign}{short}"),
        minutes @ 1..60 => format!("{sign}{minutes}m{short}"),
        minutes => format!("{sign}{}h{}m{short}", minutes / 60, minutes % 60),
    }
}

/// So many of a unit, without zeros at the end.
fn decimal(ns: u64, unit_ns: u64) -> String {
    let digits = unit_ns.ilog10() as usize;
    let text = format!("{}.{:0digits$}", ns / unit_ns, ns % unit_ns);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The first number with its unit, and what follows.
fn part(text: &str) -> Option<(i128, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (unit_ns, rest) =
        UNITS_NS.iter().find_map(|(unit, ns)| Some((*ns, rest.strip_prefix(unit)?)))?;
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut ns = whole.checked_mul(unit_ns)?;
    let mut place_ns = unit_ns;
    for digit in fraction.bytes() {
        place_ns /= 10;
        ns += i128::from(digit - b'0') * place_ns;
    }
    Some((ns, rest))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::{duration_text, read_duration_ns};

    #[test]
    fn writes_what_go_writes() {
        for text in
            ["0s", "1ns", "1.5µs", "100ms", "1.001s", "10s", "1m0s", "1h0m0s", "24h0m0.5s", "-1m1s"]
        {
            assert_eq!(duration_text(read_duration_ns(text).unwrap()), text);
        }
        assert_eq!(duration_text(i64::MIN), "-2562047h47m16.854775808s");
    }

    #[test]
    fn reads_what_go_reads() {
        let cases = [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("1h0m0s", Some(3_600_000_000_000)),
            ("0h0m1s", Some(1_000_000_000)),
            ("15m0s", Some(900_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("300ms", Some(300_000_000)),
            ("1m", Some(60_000_000_000)),
            ("-1s", Some(-1_000_000_000)),
            ("+1µs", Some(1_000)),
            ("", None),
            ("1", None),
            ("s", None),
            (".s", None),
            ("1 s", None),
            ("1m 0s", None),
            ("1d", None),
            ("300000000h", None),
            ("99999999999999999999999999999999999999999h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read_duration_ns(text), expected, "{text}");
        }
    }
}
