//! XEP-0082 date and time profiles: reading a DateTime.

/// A point in time as a client wrote it, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant {
    /// Milliseconds since 1970, rounded down; negative before.
    pub ms: i64,
    /// Digits that a millisecond cannot hold were cut off.
    pub rounded: bool,
}

/// Longest fraction of a second that is read, in digits.
const FRACTION_DIGITS_MAX: usize = 18;

/// §3.2: `CCYY-MM-DDThh:mm:ss[.sss]TZD` with `Z` or an offset like `+02:00`. `None` for anything else.
pub fn parse(text: &str) -> Option<Instant> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.strip_prefix('T')?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => rest.split_at_checked(rest.bytes().take_while(u8::is_ascii_digit).count())?,
    };
    let fraction_fits = fraction.len() <= FRACTION_DIGITS_MAX && fraction.is_empty() != rest.starts_with('.');
    // 60 is a leap second: the first moment of the next minute.
    if !fraction_fits || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    let (thousandths, finer) = fraction.split_at_checked(3).unwrap_or((fraction, ""));
    let mut ms = 0;
    for place in 0..3 {
        ms = ms * 10 + thousandths.as_bytes().get(place).map_or(0, |digit| i64::from(digit - b'0'));
    }
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - offset_seconds(zone)?;
    Some(Instant { ms: seconds * 1_000 + ms, rounded: finer.bytes().any(|digit| digit != b'0') })
}

/// Seconds that a zone is ahead of UTC.
fn offset_seconds(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, zone) = match zone.split_at_checked(1)? {
        ("+", zone) => (1, zone),
        ("-", zone) => (-1, zone),
        _ => return None,
    };
    let [hours, minutes] = numbers(zone, ':', [2, 2])?;
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes) * 60)
}

/// Numbers of so many digits each, and nothing else.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(between);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Of a day in the Gregorian calendar, extended to the years before it.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    // Counted from the first of March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(year * 365 + leap_days + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(text: &str) -> i64 {
        parse(text).unwrap_or_else(|| panic!("{text}")).ms
    }

    #[test]
    fn days_and_zones() {
        assert_eq!(ms("1970-01-01T00:00:00Z"), 0);
        assert_eq!(ms("1969-12-31T23:59:59.999Z"), -1);
        assert_eq!(ms("2000-02-29T12:00:00Z"), 951_825_600_000);
        assert_eq!(ms("2010-07-10T23:08:25Z"), 1_278_803_305_000);
        assert_eq!(ms("2010-07-11T01:08:25+02:00"), 1_278_803_305_000);
        assert_eq!(ms("2010-07-10T17:38:25-05:30"), 1_278_803_305_000);
        assert_eq!(ms("2016-12-31T23:59:60Z"), ms("2017-01-01T00:00:00Z"));
    }

    #[test]
    fn fractions() {
        assert_eq!(ms("1970-01-01T00:00:01.5Z"), 1_500);
        let exact = Instant { ms: 1_123, rounded: false };
        assert_eq!(parse("1970-01-01T00:00:01.123000Z"), Some(exact));
        assert_eq!(parse("1970-01-01T00:00:01.123456+00:00"), Some(Instant { rounded: true, ..exact }));
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "Z",
            "now",
            "2010-07-10",
            "2010-07-10T23:08:25",
            "2010-07-10 23:08:25Z",
            "20100710T23:08:25Z",
            "2010-7-10T23:08:25Z",
            "2010-13-10T23:08:25Z",
            "2010-02-29T23:08:25Z",
            "1900-02-29T00:00:00Z",
            "2010-07-10T24:08:25Z",
            "2010-07-10T23:60:25Z",
            "2010-07-10T23:08:61Z",
            "2010-07-10T23:08:25.Z",
            "2010-07-10T23:08:25.1",
            "2010-07-10T23:08:25+0200",
            "2010-07-10T23:08:25+24:00",
            "2010-07-10T23:08:25Zx",
            "-010-07-10T23:08:25Z",
            "２010-07-10T23:08:25Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ms in 0u64..253_402_300_800_000) {
            let read = parse(&crate::feed::timestamp(ms));
            prop_assert_eq!(read, Some(Instant { ms: i64::try_from(ms).unwrap_or(0), rounded: false }));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}", cut in "[-0-9T:.Z+]{0,40}") {
            let _ = (parse(&text), parse(&cut));
        }
    }
}
