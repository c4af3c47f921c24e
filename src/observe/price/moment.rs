//! When a price holds: from a day on, between two times of day, or on weekends, in UTC. Knows no clock.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, Error};

const DAY_SECONDS: u64 = 86_400;

/// A day and a minute of it, in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// As `2026-11-21`, so that the order of days is that of their text.
    pub(super) day: String,
    /// Minutes since midnight.
    pub(super) minute: u16,
    /// It is a Saturday or a Sunday.
    pub(super) weekend: bool,
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let days = seconds / DAY_SECONDS;
        let (year, month, day) = civil(days);
        Self {
            day: format!("{year:04}-{month:02}-{day:02}"),
            minute: (seconds % DAY_SECONDS / 60) as u16,
            // 1970 began on a Thursday.
            weekend: matches!(days % 7, 2 | 3),
        }
    }
}

/// Year, month and day of a count of days since 1970 (Hinnant, "chrono-compatible low-level date
/// algorithms": a year begins in March, so that the leap day is its last).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Whether a text is a day that exists, as `2026-11-21`.
pub(super) fn is_day(text: &str) -> bool {
    let digits = |part: &str, length| {
        (part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    let mut parts = text.split('-');
    let (Some(year), Some(month), Some(day), None) = (
        parts.next().and_then(|part| digits(part, 4)),
        parts.next().and_then(|part| digits(part, 2)),
        parts.next().and_then(|part| digits(part, 2)),
        parts.next(),
    ) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// A daily interval: from the first minute on, before the second; it may pass midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hours {
    start: u16,
    end: u16,
}

impl Hours {
    pub(super) fn contain(self, minute: u16) -> bool {
        if self.end < self.start {
            return minute >= self.start || minute < self.end;
        }
        (self.start..self.end).contains(&minute)
    }
}

impl std::fmt::Display for Hours {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { start, end } = self;
        let (hour, minute) = (start / 60, start % 60);
        write!(formatter, "{hour:02}:{minute:02} to {:02}:{:02} UTC", end / 60, end % 60)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let [start, end] = <[&str; 2]>::deserialize(deserializer)?;
        match (minute(start), minute(end)) {
            (Some(start), Some(end)) => Ok(Self { start, end }),
            _ => Err(D::Error::custom(format!("not times of day: {start} {end}"))),
        }
    }
}

/// The minutes since midnight of `16:30`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn seconds_become_the_day_and_the_minute() {
        // As `date -u -d @N` says.
        for (seconds, day, minute) in [
            (0, "1970-01-01", 0),
            (951_782_399, "2000-02-28", 1439),
            (951_782_400, "2000-02-29", 0),
            (1_709_164_800 + 59, "2024-02-29", 0),
            (1_735_689_599, "2024-12-31", 1439),
            (1_735_689_600 + 60, "2025-01-01", 1),
            (4_107_542_399, "2100-02-28", 1439),
            (4_107_542_400, "2100-03-01", 0),
        ] {
            let moment = at(seconds);
            assert_eq!((moment.day.as_str(), moment.minute), (day, minute), "{seconds}");
        }
    }

    #[test]
    fn weekends_are_saturdays_and_sundays() {
        // 2026-11-20 is a Friday.
        let friday = 1_795_132_800;
        let of = |days: u64| at(friday + days * DAY_SECONDS).weekend;
        assert_eq!([0, 1, 2, 3].map(of), [false, true, true, false]);
    }

    #[test]
    fn only_days_that_exist_are_days() {
        for (text, is) in [
            ("2026-11-21", true),
            ("2024-02-29", true),
            ("2026-02-29", false),
            ("2100-02-29", false),
            ("2026-04-31", false),
            ("2026-13-01", false),
            ("2026-00-01", false),
            ("2026-1-1", false),
            ("2026-01-01-01", false),
            ("+026-01-01", false),
            ("today", false),
        ] {
            assert_eq!(is_day(text), is, "{text}");
        }
    }

    #[test]
    fn hours_end_before_their_end_and_may_pass_midnight() {
        let read = |json| serde_json::from_str::<Hours>(json).expect("hours");
        let day = read(r#"["00:30","16:30"]"#);
        assert_eq!(
            [29, 30, 989, 990].map(|minute| day.contain(minute)),
            [false, true, true, false]
        );
        let night = read(r#"["16:30","00:30"]"#);
        assert_eq!(
            [29, 30, 989, 990].map(|minute| night.contain(minute)),
            [true, false, false, true]
        );
        assert_eq!(night.to_string(), "16:30 to 00:30 UTC");
        assert_eq!(read(r#"["23:00","23:59"]"#).to_string(), "23:00 to 23:59 UTC");
        for text in [r#"["24:00","00:30"]"#, r#"["00:60","12:00"]"#, r#"["1","12:00"]"#] {
            assert!(serde_json::from_str::<Hours>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        // From 1970-01-01 to 2400-03-01, as `date -u -d 2400-03-01 +%s` says. Days that exist, each later
        // than the last, and no fewer of them, can only be all.
        let days = 13_574_649_600 / DAY_SECONDS;
        let mut last = String::new();
        for day in 0..=days {
            let moment = at(day * DAY_SECONDS);
            assert!(is_day(&moment.day) && moment.day > last, "{last} {}", moment.day);
            last = moment.day;
        }
        assert_eq!(last, "2400-03-01");
    }
}
