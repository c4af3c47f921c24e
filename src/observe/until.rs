//! How long it is until a moment that a header names, in whichever form it does. Knows no header, and
//! asks no clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is further away is no wait that anybody could mean.
const FURTHEST: Duration = Duration::from_hours(24 * 366);

/// From `now` until what `value` says: seconds (`15`, `0.5`), a duration as Go writes it (`6ms`, `1m30s`), a
/// count of seconds or milliseconds since 1970, a moment by RFC 3339 or as HTTP writes it. What has
/// passed is zero.
pub fn until(value: &[u8], now: impl FnOnce() -> SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let left = |then: SystemTime| then.duration_since(now()).unwrap_or_default();
    let wait = match text.parse::<f64>() {
        Ok(number) if number >= 1e11 => left(since_epoch(number / 1e3)?),
        Ok(number) if number >= 1e9 => left(since_epoch(number)?),
        Ok(number) => Duration::try_from_secs_f64(number).ok()?,
        Err(_) => match go(text) {
            Some(wait) => wait,
            None => left(rfc3339(text).or_else(|| httpdate::parse_http_date(text).ok())?),
        },
    };
    (wait <= FURTHEST).then_some(wait)
}

fn since_epoch(seconds: f64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

/// `1h2m3.5s`: numbers, each with its unit.
fn go(text: &str) -> Option<Duration> {
    let (mut seconds, mut rest) = (0.0, text);
    loop {
        let (number, after) = rest.split_at(rest.find(|it| !is_of_number(it))?);
        let (unit, after) = after.split_at(after.find(is_of_number).unwrap_or(after.len()));
        let scale = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = after;
        if rest.is_empty() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
    }
}

fn is_of_number(it: char) -> bool {
    it.is_ascii_digit() || it == '.'
}

/// `2026-11-21T08:30:00Z`, also with a fraction, which is left out, and an offset.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once('T')?;
    let (time, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => return None,
    };
    let [year, month, day] = three(date, '-')?;
    let [hour, minute, second] = three(time.split('.').next()?, ':')?;
    let valid = (1970..10_000).contains(&year) && (1..=12).contains(&month);
    if !valid || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let local = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let seconds = local.checked_add_signed(-offset_seconds(offset)?)?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// `Z` or `+02:00`.
fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("Z", "") => return Some(0),
        ("+", rest) => (1, rest),
        (_, rest) => (-1, rest),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
    (hours < 24 && minutes < 60)
        .then(|| sign * (i64::from(hours) * 3_600 + i64::from(minutes) * 60))
}

fn three(text: &str, between: char) -> Option<[u64; 3]> {
    let mut parts = text.split(between).map(|part| part.parse().ok());
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// Days since 1970 (Hinnant, "chrono-compatible low-level date algorithms": a year begins in March, so
/// that the leap day is its last).
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + of_year;
    (year / 400 * 146_097 + of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 08:30:00 UTC, as `date -u -d @1795249800` says.
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_795_249_800)
    }

    #[test]
    fn each_form_in_which_a_wait_is_told_is_read() {
        for (text, millis) in [
            ("15", 15_000),
            ("0", 0),
            ("0.25", 250),
            ("33011.382867", 33_011_383),
            ("6ms", 6),
            ("1m30s", 90_000),
            ("7.66s", 7_660),
            ("2m59.56s", 179_560),
            ("1h2m3s", 3_723_000),
            ("8d", 691_200_000),
            ("120us", 0),
            ("0s", 0),
            ("1795249810", 10_000),
            ("1795249812345", 12_345),
            ("2026-11-21T08:30:48Z", 48_000),
            ("2026-11-21T08:31:00.123456Z", 60_000),
            ("2026-11-21T10:30:05+02:00", 5_000),
            ("2026-11-21T03:00:05-05:30", 5_000),
            ("2027-03-01T08:30:00Z", 100 * 86_400_000),
            ("2026-11-21T08:29:00Z", 0),
            // The least count of seconds that is a moment, and the least of milliseconds.
            ("1000000000", 0),
            ("100000000000", 0),
            ("366d", 31_622_400_000),
            ("2026-11-21T08:30:60Z", 60_000),
            ("2026-11-21T08:59:59Z", 1_799_000),
            ("2026-12-31T08:30:00Z", 40 * 86_400_000),
            ("2026-11-22T08:29:05+23:59", 5_000),
            ("Sat, 21 Nov 2026 08:30:20 GMT", 20_000),
            (" 3 ", 3_000),
        ] {
            let wait = until(text.as_bytes(), now).map(|wait| {
                // To the millisecond, as a person would read them.
                (wait.as_secs_f64() * 1e3).round() as u64
            });
            assert_eq!(wait, Some(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_wait_is_none() {
        for text in [
            "",
            " ",
            "-1",
            "NaN",
            "inf",
            "soon",
            "1x",
            "m",
            "1m30",
            ".s",
            "1e300",
            "400d",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T08:60:00Z",
            "2026-11-21T08:30:61Z",
            "2026-12-32T00:00:00Z",
            "2026-12-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-11-21-01T08:30:48Z",
            "2026-11-21T08:30:48+24:00",
            "2026-11-21T08:30:48+01:60",
            "2026-11-21T08:30:48",
            "1970-01-01T00:00:00+02:00",
            "2026-11-21T08:30:48+0200",
            "9999-12-31T23:59:59Z",
            "1-2-3T4:5:6Z",
            "T",
            "TZ",
            "é",
            "1é",
        ] {
            assert_eq!(until(text.as_bytes(), now), None, "{text}");
        }
        assert_eq!(until(b"\xff", now), None);
    }

    #[test]
    fn leap_days_are_counted() {
        let seconds = |text| rfc3339(text).unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
        // As `date -u -d TEXT +%s` says.
        assert_eq!(seconds("1970-01-01T00:00:00Z"), 0);
        assert_eq!(seconds("2000-02-29T00:00:00Z"), 951_782_400);
        assert_eq!(seconds("2024-03-01T00:00:00Z"), 1_709_251_200);
        assert_eq!(seconds("2100-02-28T23:59:59Z"), 4_107_542_399);
    }

    #[test]
    fn each_day_is_a_day_after_the_one_before() {
        let mut expected = 0;
        for year in 1970..2101_u64 {
            let leap = year % 4 == 0 && year != 2100;
            let february = if leap { 29 } else { 28 };
            let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1..).zip(lengths) {
                for day in 1..=length {
                    assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
    }
}
