//! Which names a provider or a model answers to: a tree of conditions on the lower-cased name, as
//! genai-prices defines it. Knows no prices.

use std::borrow::Cow;

use regex_lite::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::moment::is_day;

/// A condition on a name in lower case.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Clause {
    /// It is this.
    Is(&'static str),
    /// It starts with this.
    Starts(&'static str),
    /// It ends with this.
    Ends(&'static str),
    /// It has this in it.
    Has(&'static str),
    /// It is this, where `#` stands for a digit.
    Shape(&'static str),
    /// The pattern is found in it.
    Regex(Pattern),
    /// The condition does not hold.
    Not(Box<Self>),
    /// One of the conditions holds.
    Any(Box<[Self]>),
    /// All conditions hold.
    All(Box<[Self]>),
}

impl Clause {
    /// Whether it holds for a name in lower case.
    pub(super) fn holds(&self, name: &str) -> bool {
        match self {
            Self::Is(text) => name == *text,
            Self::Starts(text) => name.starts_with(text),
            Self::Ends(text) => name.ends_with(text),
            Self::Has(text) => name.contains(text),
            Self::Shape(shape) => has_shape(name, shape),
            Self::Regex(pattern) => pattern.0.is_match(name),
            Self::Not(clause) => !clause.holds(name),
            Self::Any(clauses) => clauses.iter().any(|clause| clause.holds(name)),
            Self::All(clauses) => clauses.iter().all(|clause| clause.holds(name)),
        }
    }

    /// The condition in words; of alternatives only the first that holds for `name`.
    pub(super) fn in_words(&self, name: &str) -> String {
        match self {
            Self::Is(text) => format!("is `{text}`"),
            Self::Starts(text) => format!("starts with `{text}`"),
            Self::Ends(text) => format!("ends with `{text}`"),
            Self::Has(text) => format!("has `{text}` in it"),
            Self::Shape(shape) => format!("looks like `{shape}`"),
            Self::Regex(pattern) => format!("matches `{}`", pattern.0.as_str()),
            Self::Not(clause) => format!("not ({})", clause.in_words(name)),
            Self::Any(clauses) => clauses
                .iter()
                .find(|clause| clause.holds(name))
                .map_or_else(String::new, |clause| clause.in_words(name)),
            Self::All(clauses) => {
                clauses.iter().map(|clause| clause.in_words(name)).collect::<Vec<_>>().join(" and ")
            }
        }
    }
}

fn has_shape(name: &str, shape: &str) -> bool {
    let fits = |(byte, shape): (u8, u8)| byte == shape || (shape == b'#' && byte.is_ascii_digit());
    name.len() == shape.len() && name.bytes().zip(shape.bytes()).all(fits)
}

/// A regular expression, compiled while the table is read.
#[derive(Debug)]
pub(super) struct Pattern(Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regex::new(&text).map(Self).map_err(|error| D::Error::custom(format!("{text}: {error}")))
    }
}

/// The name with each compact date (`-20260305`, before `-`, `:` or the end) written with dashes
/// (`-2026-03-05`): some gateways send the one where the table has the other.
pub(super) fn with_dashed_dates(name: &str) -> Cow<'_, str> {
    let mut pieces = name.split('-');
    let mut dashed = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        dashed.push('-');
        match dashed_date(piece) {
            Some(date) => dashed.push_str(&date),
            None => dashed.push_str(piece),
        }
    }
    if dashed == name { Cow::Borrowed(name) } else { Cow::Owned(dashed) }
}

/// `20260305` or `20260305:free` with dashes, where it is a day of this century.
fn dashed_date(piece: &str) -> Option<String> {
    let (date, rest) = piece.split_at_checked(8)?;
    let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    let dashed = format!("{year}-{month}-{day}");
    let ends = rest.is_empty() || rest.starts_with(':');
    (ends && year.starts_with("20") && is_day(&dashed)).then(|| dashed + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clause(json: &'static str) -> Clause {
        serde_json::from_str(json).expect("a clause")
    }

    #[test]
    fn each_condition_holds_where_it_should() {
        for (json, yes, no) in [
            (r#"{"is":"o1"}"#, "o1", "o1-mini"),
            (r#"{"starts":"o1"}"#, "o1-mini", "xo1"),
            (r#"{"ends":"o1"}"#, "xo1", "o1-mini"),
            (r#"{"has":"o1"}"#, "xo1-mini", "o-1"),
            (r##"{"shape":"o1-####"}"##, "o1-2026", "o1-202x"),
            (r##"{"shape":"o1-####"}"##, "o1-2026", "o1-20260"),
            (r#"{"regex":"^o1-\\d{4}$"}"#, "o1-2026", "o1-20266"),
            (r#"{"not":{"is":"o1"}}"#, "o2", "o1"),
            (r#"{"any":[{"is":"o1"},{"is":"o2"}]}"#, "o2", "o3"),
            (r#"{"all":[{"starts":"o1"},{"ends":"mini"}]}"#, "o1-mini", "o1-pro"),
        ] {
            let clause = clause(json);
            assert!(clause.holds(yes), "{json} {yes}");
            assert!(!clause.holds(no), "{json} {no}");
        }
    }

    #[test]
    fn words_name_the_alternative_that_holds() {
        let clause =
            clause(r#"{"any":[{"is":"o1"},{"all":[{"starts":"o2"},{"not":{"has":"x"}}]}]}"#);
        assert_eq!(clause.in_words("o1"), "is `o1`");
        assert_eq!(clause.in_words("o2-mini"), "starts with `o2` and not (has `x` in it)");
    }

    #[test]
    fn compact_dates_get_dashes_where_they_are_dates() {
        for (name, dashed) in [
            ("gpt-5.2-20251211", "gpt-5.2-2025-12-11"),
            ("gpt-5.2-20251211-high", "gpt-5.2-2025-12-11-high"),
            ("gpt-5.2-20251211:free", "gpt-5.2-2025-12-11:free"),
            ("a-20251211-20261231", "a-2025-12-11-2026-12-31"),
            ("gpt-5.2-20251311", "gpt-5.2-20251311"),
            ("gpt-5.2-20260229", "gpt-5.2-20260229"),
            ("gpt-5.2-202512111", "gpt-5.2-202512111"),
            ("gpt-5.2-19991211", "gpt-5.2-19991211"),
            ("20251211", "20251211"),
            ("gpt-5.2@20251211", "gpt-5.2@20251211"),
            ("gpt-äöüäöü", "gpt-äöüäöü"),
        ] {
            assert_eq!(with_dashed_dates(name), dashed);
        }
    }
}
