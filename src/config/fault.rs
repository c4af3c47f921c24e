//! How a fault in `proxy.toml` is told: file, line, caret, sentence. Knows no key.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::secret::SECRET_AS_TEXT;

/// Something wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where, as a dotted path with numbers for places in a list (`upstream.1.url`). A rule between
    /// two keys names both; the first that somebody wrote is shown.
    pub(super) places: Vec<String>,
    /// What is wrong and what to do.
    pub(super) message: String,
    /// The line may hold a secret and is not shown.
    pub(super) secret: bool,
}

impl Fault {
    /// A fault at one place.
    pub(super) fn at(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { places: vec![place.into()], message: message.into(), secret: false }
    }

    /// The same at a second place.
    pub(super) fn or_at(mut self, place: impl Into<String>) -> Self {
        self.places.push(place.into());
        self
    }

    /// The same, its line not shown.
    pub(super) fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// All that is good, or all that is wrong.
pub(super) fn all<T>(
    results: impl Iterator<Item = Result<T, Vec<Fault>>>,
) -> Result<Vec<T>, Vec<Fault>> {
    let mut good = Vec::new();
    let mut faults = Vec::new();
    for result in results {
        match result {
            Ok(it) => good.push(it),
            Err(wrong) => faults.extend(wrong),
        }
    }
    if faults.is_empty() { Ok(good) } else { Err(faults) }
}

/// `toml`'s own refusal of the file `name`, with unknown names explained.
pub(super) fn refusal(name: &str, text: &str, error: &toml::de::Error) -> String {
    let message = explain(error.message());
    let Some(span) = error.span() else { return format!("{name}: {message}") };
    pointed(name, text, span, &message, error.message() == SECRET_AS_TEXT)
}

/// The line in which `span` begins, counted from 1.
pub(super) fn line(text: &str, span: &Range<usize>) -> usize {
    let before = text.get(..text.floor_char_boundary(span.start)).unwrap_or_default();
    before.matches('\n').count() + 1
}

/// `message` under the line of `text` where `span` begins, in the form that `toml` uses.
pub(super) fn pointed(
    name: &str,
    text: &str,
    span: Range<usize>,
    message: &str,
    secret: bool,
) -> String {
    let start = text.floor_char_boundary(span.start);
    let (before, after) = text.split_at(start);
    let number = line(text, &span);
    if secret {
        return format!(
            "{name}: error at line {number} (not shown, it may hold a secret)\n{message}"
        );
    }
    let begun = before.rsplit('\n').next().unwrap_or_default();
    let rest = after.split('\n').next().unwrap_or_default().trim_end_matches('\r');
    // Between CR and LF is the end of the line, too.
    let begun = if rest.is_empty() { begun.trim_end_matches('\r') } else { begun };
    let column = begun.chars().count();
    let marked = span.end.saturating_sub(start).min(rest.len());
    let carets = rest.get(..marked).map_or(1, |it| it.chars().count()).max(1);
    let gutter = " ".repeat(number.to_string().len());
    format!(
        "{name}: error at line {number}, column {}\n{gutter} |\n{number} | {begun}{rest}\n{gutter} | {}{}\n{message}",
        column + 1,
        " ".repeat(column),
        "^".repeat(carets),
    )
}

/// Where `place` stands in `text`; a key that is not written is where its table is.
pub(super) fn locate(text: &str, place: &str) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut table = Some(document.get_ref());
    let mut list = None;
    let mut span = None;
    for step in place.split('.') {
        let found = match (table, list) {
            (Some(table), _) => table.get(step),
            (None, Some(list)) => element(list, step),
            (None, None) => None,
        };
        let Some(found) = found else { break };
        span = Some(found.span());
        table = found.get_ref().as_table();
        list = found.get_ref().as_array();
    }
    span
}

fn element<'a, 'i>(
    list: &'a toml::de::DeArray<'i>,
    step: &str,
) -> Option<&'a toml::Spanned<DeValue<'i>>> {
    list.get(step.parse::<usize>().ok()?)
}

/// What serde expects, as a person would say it; the longest first, of those that begin alike.
const WANTED: [(&str, &str); 12] = [
    ("a nonzero usize", "a whole number above 0"),
    ("usize", "a whole number, 0 or more"),
    ("u16", "a whole number from 0 to 65535"),
    ("u8", "a whole number from 0 to 255"),
    ("a boolean", "true or false"),
    ("a string", "text in quotes"),
    ("path string", "a path in quotes"),
    ("a sequence", "a list, like [\"a\", \"b\"]"),
    ("a map", "a table"),
    ("struct", "a table"),
    ("string or table", "text in quotes"),
    ("string", "text in quotes"),
];

/// serde's "invalid type: integer `2`, expected a boolean" as a sentence that helps.
fn explain_value(message: &str) -> Option<String> {
    let rest = ["invalid type: ", "invalid value: "].iter().find_map(|it| message.strip_prefix(it));
    let (found, wanted) = rest?.split_once(", expected ")?;
    let known = WANTED.iter().find(|(theirs, _)| wanted.starts_with(theirs));
    let wanted = known.map_or(wanted, |(_, ours)| ours);
    let found = found.replace("integer ", "the number ").replace("floating point ", "the number ");
    let found = found.replace("string ", "the text ").replace("boolean ", "the word ");
    let found = match found.as_str() {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        _ => found,
    };
    Some(format!("this is {found}: write {wanted}"))
}

/// serde's "unknown field `a`, expected one of `b`, `c`" as a sentence that helps.
pub(super) fn explain(message: &str) -> String {
    // Of a key that knows a few words, which `toml` does not tell.
    if message == "wanted string or table" {
        return "this is no text: write one of the words that the key knows, in quotes".to_owned();
    }
    if let Some(explained) = explain_value(message) {
        return explained;
    }
    let what = if message.starts_with("unknown field `") {
        "key"
    } else if message.starts_with("unknown variant `") {
        "value"
    } else {
        return message.to_owned();
    };
    // Between backticks stand first the unknown name, then the known ones.
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    let hint = nearest(unknown, known.iter().copied())
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default();
    let list = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    format!(
        "unknown {what} `{unknown}`: this version knows no such {what} here{hint}\nit knows {list}"
    )
}

/// The name most like `wrong`, if any is like it.
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = wrong.chars().count().div_ceil(3).min(3);
    names
        .map(|name| (distance(wrong, name), name))
        .filter(|(edits, _)| *edits <= bound)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Levenshtein's distance: how many characters must be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (line, from) in a.chars().enumerate() {
        let mut left = line + 1;
        let mut next = vec![left];
        for ((to, &above), &diagonal) in b.chars().zip(row.iter().skip(1)).zip(&row) {
            left = (left + 1).min(above + 1).min(diagonal + usize::from(from != to));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::File;

    fn refused(text: &str) -> String {
        refusal("proxy.toml", text, &toml::from_str::<File>(text).unwrap_err())
    }

    #[test]
    fn an_unknown_key_is_shown_with_the_nearest_known_one() {
        assert_eq!(
            refused("[server]\nlistn = \"127.0.0.1:1\"\n"),
            "\
proxy.toml: error at line 2, column 1
  |
2 | listn = \"127.0.0.1:1\"
  | ^^^^^
unknown key `listn`: this version knows no such key here; did you mean `listen`?
it knows `listen`, `admin`, `root`, `socket_mode`, `tls`"
        );
    }

    #[test]
    fn a_key_that_comes_later_is_unknown_now() {
        assert_eq!(
            refused("[[upstream]]\nname = \"a\"\nurl = \"http://a\"\nfallback = \"b\"\n"),
            "\
proxy.toml: error at line 4, column 1
  |
4 | fallback = \"b\"
  | ^^^^^^^^
unknown key `fallback`: this version knows no such key here
it knows `name`, `url`, `provider`, `dialect`, `paths`, `mount`, `stream_usage`, `propagate`, `http`, `listen`, `tls`, `ca`, `cert`, `key`, `server_name`, `proxy`"
        );
        for key in [
            "[telemetry]\nsemconv = '1.41'",
            "[telemetry]\ncontent = 'off'",
            "[sampling]",
            "[attribution]",
            "[[telemetry.export]]\nprofile = 'latest'",
            "[limits]\nstreams = 1",
        ] {
            assert!(refused(key).contains("this version knows no such key here"), "{key}");
        }
    }

    #[test]
    fn an_unknown_value_is_shown_with_those_there_are() {
        assert_eq!(
            refused("[telemetry]\nlines = \"jsn\"\n"),
            "\
proxy.toml: error at line 2, column 9
  |
2 | lines = \"jsn\"
  |         ^^^^^
unknown value `jsn`: this version knows no such value here; did you mean `json`?
it knows `auto`, `json`, `off`"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_shown() {
        assert_eq!(
            refused("\n[limits]\nmax_exchanges = 0\n"),
            "\
proxy.toml: error at line 3, column 17
  |
3 | max_exchanges = 0
  |                 ^
this is the number `0`: write a whole number above 0"
        );
    }

    #[test]
    fn what_is_wanted_is_said_as_a_person_would() {
        let last = |text: &str| refused(text).lines().last().unwrap_or_default().to_owned();
        let upstream = |key: &str| last(&format!("[[upstream]]\nname='a'\nurl='http://a'\n{key}"));
        assert_eq!(upstream("http = 2"), "this is the number `2`: write \"1\" or \"2\", in quotes");
        assert_eq!(upstream("propagate = 'yes'"), "this is the text \"yes\": write true or false");
        let list = "this is the text \"/v1/\": write a list, like [\"a\", \"b\"]";
        assert_eq!(upstream("paths = '/v1/'"), list);
        assert_eq!(upstream("name = 3"), "duplicate key");
        assert_eq!(
            last("[limits]\nworkers = 300"),
            "this is the number `300`: write a whole number from 0 to 255"
        );
        assert_eq!(
            last("[limits]\nupstream_idle_connections = -1"),
            "this is the number `-1`: write a whole number, 0 or more"
        );
        assert_eq!(last("[server]\nroot = 3"), "this is the number `3`: write text in quotes");
        assert_eq!(
            last("[telemetry]\nlines = 1"),
            "this is no text: write one of the words that the key knows, in quotes"
        );
        assert_eq!(last("server = 1"), "this is the number `1`: write a table");
        for written in ["localhost:4319", ":4319", "4319"] {
            let offered = "a listener has an IP address, not a name: write \"127.0.0.1:4319\", or \"0.0.0.0:4319\" for other machines too";
            assert_eq!(last(&format!("[server]\nlisten = '{written}'")), offered);
        }
        assert!(
            last("[server]\nlisten = 'gpu:4319'")
                .starts_with("this is the text \"gpu:4319\": write an IP address and a port")
        );
    }

    #[test]
    fn a_missing_key_is_shown_at_its_table() {
        let told = refused("[[upstream]]\nname = \"a\"\n");
        assert!(told.starts_with("proxy.toml: error at line 1, column 1\n"), "{told}");
        assert!(told.ends_with("\nmissing field `url`"), "{told}");
    }

    #[test]
    fn broken_toml_is_shown() {
        let told = refused("[server\nlisten = 3\n");
        assert!(told.starts_with("proxy.toml: error at line 1, column 8\n"), "{told}");
    }

    #[test]
    fn a_secret_written_as_text_is_not_shown() {
        let text = "[[telemetry.export]]\nendpoint = \"http://a\"\nheaders = { a = \"hunter2\" }\n";
        let told = refused(text);
        assert_eq!(
            told,
            format!(
                "proxy.toml: error at line 3 (not shown, it may hold a secret)\n{SECRET_AS_TEXT}"
            )
        );
    }

    #[test]
    fn places_are_found_by_path() {
        let text = "[server]\nroot = \"x\"\n[[upstream]]\nname = \"a\"\n[[upstream]]\npaths = [\"/a\", \"/b\"]\n";
        let at = |place| locate(text, place).map(|span| &text[span]);
        assert_eq!(at("server.root"), Some("\"x\""));
        assert_eq!(at("upstream.0.name"), Some("\"a\""));
        assert_eq!(at("upstream.1.paths.1"), Some("\"/b\""));
        assert_eq!(at("upstream.1.mount"), Some("[[upstream]]"));
        assert_eq!(at("limits.workers"), None);
    }

    #[test]
    fn carets_count_characters_and_stay_in_the_line() {
        let told = pointed("f", "ä = 'öü'\r\nb", 5..50, "m", false);
        assert_eq!(told, "f: error at line 1, column 5\n  |\n1 | ä = 'öü'\n  |     ^^^^\nm");
        let told = pointed("f", "ab\r\n", 3..4, "m", false);
        assert_eq!(told, "f: error at line 1, column 3\n  |\n1 | ab\n  |   ^\nm");
        let told = pointed("f", "a\n", 2..2, "m", false);
        assert_eq!(told, "f: error at line 2, column 1\n  |\n2 | \n  | ^\nm");
    }

    #[test]
    fn a_name_is_near_up_to_a_third_of_its_length_and_three_edits() {
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        let names = || ["listen", "admin", "root"].into_iter();
        assert_eq!(nearest("amdin", names()), Some("admin"));
        assert_eq!(nearest("lsiten", names()), Some("listen"));
        assert_eq!(nearest("lists", names()), Some("listen"));
        assert_eq!(nearest("lasts", names()), None);
        assert_eq!(nearest("tls", names()), None);
        let long = || ["telemetry_lines"].into_iter();
        assert_eq!(nearest("telemetry_export", long()), None);
    }
}
