//! Datetimes of payloads and filters: text to microseconds since the epoch, UTC. Never prints them.

use crate::error::Error;

const MICROS: i64 = 1_000_000;

/// Microseconds since 1970-01-01T00:00:00Z.
///
/// Accepted are RFC 3339, `YYYY-MM-DD`, and `YYYY-MM-DD[T ]HH:MM[:SS[.f]]` with an optional zone `Z`, `UTC`,
/// `±HH`, `±HHMM` or `±HH:MM`; no zone is UTC. Digits past microseconds are cut off.
pub fn parse_datetime(text: &str) -> Option<i64> {
    let mut rest = Cursor(text.trim_start().as_bytes());
    let year = rest.number(4, 4)?;
    rest.take(b'-')?;
    let month = rest.number(1, 2)?;
    rest.take(b'-')?;
    let day = rest.number(1, 2)?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    if rest.0.is_empty() {
        return Some(days * 86_400 * MICROS);
    }
    rest.take_any(b"Tt ")?;
    let hour = rest.number(1, 2)?;
    rest.take(b':')?;
    let minute = rest.number(1, 2)?;
    let (mut second, mut micros) = (0, 0);
    if rest.take(b':').is_some() {
        second = rest.number(1, 2)?;
        if rest.take(b'.').is_some() {
            micros = rest.fraction()?;
        }
    }
    // 60 is a leap second: the first of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let offset = rest.zone()?;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    Some(seconds * MICROS + micros)
}

/// [`parse_datetime`] for a bound in a request.
///
/// # Errors
/// [`Error::BadInput`] with the protocol's text.
pub fn parse_bound(text: &str) -> Result<i64, Error> {
    parse_datetime(text).ok_or_else(|| {
        Error::BadInput(format!(
            "'{text}' does not match accepted datetime format (RFC3339). Example: 2014-01-01T00:00:00Z"
        ))
    })
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take(&mut self, byte: u8) -> Option<()> {
        self.take_any(&[byte]).map(|_| ())
    }

    fn take_any(&mut self, bytes: &[u8]) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        bytes.contains(&first).then(|| {
            self.0 = rest;
            first
        })
    }

    fn digits(&self) -> usize {
        self.0.iter().take_while(|b| b.is_ascii_digit()).count()
    }

    /// A number of `min` to `max` digits.
    fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let n = self.digits().min(max);
        if n < min {
            return None;
        }
        let (digits, rest) = self.0.split_at(n);
        self.0 = rest;
        Some(digits.iter().fold(0, |value, b| value * 10 + i64::from(b - b'0')))
    }

    /// The digits after the point, as microseconds.
    fn fraction(&mut self) -> Option<i64> {
        let n = self.digits();
        if n == 0 {
            return None;
        }
        let (digits, rest) = self.0.split_at(n);
        self.0 = rest;
        Some(
            digits
                .iter()
                .map(|b| i64::from(b - b'0'))
                .chain(std::iter::repeat(0))
                .take(6)
                .fold(0, |v, d| v * 10 + d),
        )
    }

    /// The zone's seconds east of Greenwich; the text has to end after it.
    fn zone(&mut self) -> Option<i64> {
        self.take(b' ');
        if self.0.is_empty() || matches!(self.0, b"Z" | b"z" | b"UTC") {
            return Some(0);
        }
        let sign = if self.take_any(b"+-")? == b'-' { -1 } else { 1 };
        let hours = self.number(2, 2)?;
        let minutes = if self.0.is_empty() {
            0
        } else {
            self.take(b':');
            self.number(2, 2)?
        };
        (self.0.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar; years 0 to 9999.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    const EPOCH: i64 = 719_528;
    let leap_days_before =
        if year == 0 { 0 } else { (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 + 1 };
    let this_leap_day = i64::from(is_leap(year) && month > 2);
    let before_month = BEFORE_MONTH[usize::try_from(month - 1).expect("months are 1 to 12")];
    year * 365 + leap_days_before + before_month + this_leap_day + day - 1 - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let expected = expected.map(|rfc| rfc.parse::<jiff::Timestamp>().expect("RFC 3339").as_microsecond());
        assert_eq!(parse_datetime(text), expected, "{text}");
    }

    #[test]
    fn every_accepted_form_is_read() {
        for (text, rfc) in [
            ("2014-01-01T00:00:00Z", "2014-01-01T00:00:00Z"),
            ("2014-01-01t00:00:00z", "2014-01-01T00:00:00Z"),
            ("2014-01-01T00:00:00+01:00", "2013-12-31T23:00:00Z"),
            ("2014-01-01T00:00:00+0130", "2013-12-31T22:30:00Z"),
            ("2014-01-01 00:00:00-10", "2014-01-01T10:00:00Z"),
            ("2014-01-01 00:00:00.5 -10", "2014-01-01T10:00:00.5Z"),
            ("2014-01-01T01:02:03.123456789Z", "2014-01-01T01:02:03.123456Z"),
            ("2014-01-01 01:02:03.1", "2014-01-01T01:02:03.1Z"),
            ("2014-01-01 01:02", "2014-01-01T01:02:00Z"),
            ("2014-01-01T01:02Z", "2014-01-01T01:02:00Z"),
            ("2014-01-01", "2014-01-01T00:00:00Z"),
            ("  2014-01-01", "2014-01-01T00:00:00Z"),
            ("2014-01-01 01:02:03 UTC", "2014-01-01T01:02:03Z"),
            ("2000-02-29", "2000-02-29T00:00:00Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("0000-01-01", "0000-01-01T00:00:00Z"),
            ("9999-12-30", "9999-12-30T00:00:00Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ] {
            check(text, Some(rfc));
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for text in [
            "2023-13-01",
            "",
            "2014",
            "2014-01",
            "2014-01-32",
            "2023-02-29",
            "1900-02-29",
            "2014-01-01T",
            "2014-01-01T25:00",
            "2014-01-01T00:61",
            "2014-01-01T00",
            "2014-01-01T00:00:00.",
            "2014-01-01T00:00:00+1",
            "2014-01-01T00:00:00Zx",
            "2014-01-01Z",
            "abc",
            "20140101",
            "2014-01-01T00:00:00+24:00",
            "14-01-01",
            "2014-01-01T00:00:00.5+",
        ] {
            check(text, None);
        }
        let error = parse_bound("2023-13-01").expect_err("there is no month 13");
        let text =
            "'2023-13-01' does not match accepted datetime format (RFC3339). Example: 2014-01-01T00:00:00Z";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn every_day_of_some_centuries_is_counted_right() {
        let mut expected = jiff::civil::date(1890, 1, 1);
        let mut days = days_since_epoch(1890, 1, 1);
        while expected.year() < 2110 {
            let (y, m, d) = (expected.year().into(), expected.month().into(), expected.day().into());
            assert_eq!(days_since_epoch(y, m, d), days, "{expected}");
            expected = expected.tomorrow().expect("far from the last day");
            days += 1;
        }
        assert_eq!(days_since_epoch(1970, 1, 1), 0);
    }
}
