//! How standard variables are written: booleans, numbers, lists, pairs. What cannot be read is a
//! warning and ignored, and an empty value is an unset one. Knows no variable's meaning.
//! <https://opentelemetry.io/docs/specs/otel/configuration/common/>

use std::time::Duration;

use super::environment::Environment;

/// Reads variables, and notes what is ignored.
pub(super) struct Reader<'a> {
    pub(super) environment: &'a Environment,
    pub(super) warnings: &'a mut Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.environment.text(name)
    }

    pub(super) fn ignored(&mut self, name: &str, why: &str) {
        self.warnings.push(format!("{name} is ignored: {why}"));
    }

    pub(super) fn is_true(&mut self, name: &str) -> bool {
        let Some(text) = self.text(name) else { return false };
        let known = ["true", "false"].iter().find(|known| text.eq_ignore_ascii_case(known));
        if known.is_none() {
            self.ignored(name, "it is neither true nor false");
        }
        known == Some(&"true")
    }

    /// A whole number above 0.
    pub(super) fn count(&mut self, name: &str) -> Option<usize> {
        let text = self.text(name)?;
        let count = text.parse().ok().filter(|&count| count > 0);
        if count.is_none() {
            self.ignored(name, "it is no whole number above 0");
        }
        count
    }

    /// A whole number; 0 is one.
    pub(super) fn limit(&mut self, name: &str) -> Option<usize> {
        let limit = self.text(name)?.parse().ok();
        if limit.is_none() {
            self.ignored(name, "it is no whole number");
        }
        limit
    }

    pub(super) fn millis(&mut self, name: &str) -> Option<Duration> {
        // More than a u32 holds (49 days) is as good as never.
        let millis = self.count(name)?.min(u32::MAX as usize);
        Some(Duration::from_millis(millis as u64))
    }

    /// One of these words, in whatever case.
    pub(super) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let found = words.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.ignored(name, &format!("it is none of {}", words.join(", ")));
        }
        found.map(|(_, value)| *value)
    }
}

/// The entries of a list, without whitespace and empty ones.
pub(super) fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// `key=value`, both percent-encoded.
pub(super) fn pair(entry: &str) -> Option<(String, String)> {
    let (key, value) = entry.split_once('=')?;
    let key = percent_decoded(key.trim()).filter(|key| !key.is_empty())?;
    Some((key, percent_decoded(value.trim())?))
}

fn percent_decoded(text: &str) -> Option<String> {
    let (first, escapes) = text.split_once('%').map_or((text, None), |(a, b)| (a, Some(b)));
    let mut bytes = first.as_bytes().to_vec();
    for escape in escapes.iter().flat_map(|rest| rest.split('%')) {
        let (digits, rest) = escape.split_at_checked(2)?;
        let [high, low] =
            [digits.chars().next()?, digits.chars().nth(1)?].map(|it| it.to_digit(16));
        bytes.push((high? * 16 + low?) as u8);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_and_ignored() {
        let variables =
            [("A", "1"), ("B", "0"), ("C", "-1"), ("D", "soon"), ("E", "TRUE"), ("F", "")];
        let environment = Environment::of(variables);
        let mut warnings = Vec::new();
        let mut reader = Reader { environment: &environment, warnings: &mut warnings };
        let (a, b, c, f) = ("A", "B", "C", "F");
        assert_eq!([a, b, c, f].map(|name| reader.count(name)), [Some(1), None, None, None]);
        assert_eq!([a, b, c, f].map(|name| reader.limit(name)), [Some(1), Some(0), None, None]);
        assert_eq!(["E", "D", "F"].map(|name| reader.is_true(name)), [true, false, false]);
        let words = [("soon", 1), ("true", 2)];
        assert_eq!(
            ["D", "E", "A", "F"].map(|it| reader.word(it, &words)),
            [Some(1), Some(2), None, None]
        );
        assert_eq!(
            warnings,
            [
                "B is ignored: it is no whole number above 0",
                "C is ignored: it is no whole number above 0",
                "C is ignored: it is no whole number",
                "D is ignored: it is neither true nor false",
                "A is ignored: it is none of soon, true",
            ]
        );
    }

    #[test]
    fn no_wait_is_longer_than_weeks() {
        let environment = Environment::of([("A", "99999999999")]);
        let mut reader = Reader { environment: &environment, warnings: &mut Vec::new() };
        assert_eq!(reader.millis("A"), Some(Duration::from_millis(u64::from(u32::MAX))));
    }

    #[test]
    fn percent_escapes_are_two_digits_and_unicode() {
        let decoded = |text| percent_decoded(text);
        assert_eq!(decoded("a%20b%41"), Some("a bA".into()));
        assert_eq!(decoded(""), Some(String::new()));
        for text in ["%", "%2", "a%g1", "%+1", "%ff", "%é"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }
}
