//! Reads `metadata.creationTimestamp` (RFC 3339) as seconds since 1970.

/// The seconds since 1970 of `2026-01-31T12:00:00Z`, fractions dropped.
pub(super) fn read_timestamp_s(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut date = date.splitn(3, '-').map(|part| number(part, 4));
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone_at);
    let time = time.split_once('.').map_or(time, |(whole, _)| whole);
    let mut time = time.splitn(3, ':').map(|part| number(part, 2));
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    in_range.then_some(())?;
    let days = days_since_1970(year, month, day);
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - zone_offset_s(zone)?)
}

fn zone_offset_s(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, clock) = match zone.split_at_checked(1)? {
        ("+", clock) => (1, clock),
        ("-", clock) => (-1, clock),
        _ => return None,
    };
    let (hours, minutes) = clock.split_once(':')?;
    Some(sign * (number(hours, 2)? * 3600 + number(minutes, 2)? * 60))
}

fn number(text: &str, digits_max: usize) -> Option<i64> {
    let plain = (1..=digits_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Days of the proleptic Gregorian calendar; years begin in March here, so
/// that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::read_timestamp_s;

    #[test]
    fn reads_rfc_3339_and_nothing_else() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T12:30:05Z", Some(1_709_209_805)),
            ("2024-02-29T13:30:05.25+01:00", Some(1_709_209_805)),
            ("1969-12-31T23:59:59Z", Some(-1)),
            ("2024-13-01T00:00:00Z", None),
            ("2024-02-29", None),
            ("2024-02-29T12:30:05", None),
            ("yesterday", None),
            ("", None),
            ("2024-02-29T12:30:05+é1:00", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read_timestamp_s(text), expected, "{text}");
        }
    }
}
