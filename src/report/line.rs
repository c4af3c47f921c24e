//! One exchange as one line for a person. Knows no OpenTelemetry and no output.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::outcome::{Outcome, Severity};
use super::timing;
use crate::observe::observation::{
    CostBasis, Ending, Known, NanoUsd, Note, Observation, Part, Units, Usage,
};

const RESET: &str = "\u{1b}[0m";
/// What says that calls of a session are missing.
const LOST: [Note; 2] = [Note::TurnsForgotten, Note::ResponseTorn];

/// `chat gpt-4o-mini → stop  412→96 tok  $0.00012  ttft 310 ms  1.2 s  stream`, without a line
/// feed, appended to `to`. What is unknown says so.
pub(super) fn person(of: &Observation, outcome: &Outcome<'_>, colour: bool, to: &mut String) {
    // Writing into a string cannot fail.
    try_person(of, outcome, colour, to).ok();
}

fn try_person(
    of: &Observation,
    outcome: &Outcome<'_>,
    colour: bool,
    to: &mut String,
) -> fmt::Result {
    subject(of, to);
    to.push_str(" → ");
    if colour {
        to.push_str(match outcome.severity {
            Severity::Info => "\u{1b}[32m",
            Severity::Warn => "\u{1b}[33m",
            Severity::Error => "\u{1b}[31m",
        });
    }
    ending(of, to)?;
    if colour {
        to.push_str(RESET);
    }
    match (of.operation, &of.usage) {
        (Some(_), _) if failed_early(of.ending).is_none() => usage_and_cost(of, to)?,
        (None, Known::Value(usage)) => used(of, usage, to)?,
        _ => (),
    }
    if let Some(first) = timing::time_to_first_chunk(of) {
        write!(to, "  ttft {}", Human(first))?;
    }
    if let Some(took) = timing::duration(of) {
        write!(to, "  {}", Human(took))?;
    }
    if of.response.streamed {
        to.push_str("  stream");
    }
    match of.part {
        Part::Session { turns, .. } => {
            write!(to, "  {turns} call{}", if turns == 1 { "" } else { "s" })?;
            if of.notes.iter().any(|note| LOST.contains(note)) {
                to.push_str(" or more");
            }
        }
        Part::Exchange | Part::Turn { .. } => (),
    }
    Ok(())
}

fn subject(of: &Observation, to: &mut String) {
    match of.operation {
        Some(operation) => {
            to.push_str(operation.as_str());
            if let Some(model) = &of.request.model {
                to.push(' ');
                push_visible(model, to);
            }
        }
        None => {
            push_visible(&of.http.method, to);
            to.push(' ');
            push_visible(&of.http.path, to);
        }
    }
}

/// Endings before any usage could come.
fn failed_early(ending: Ending) -> Option<Ending> {
    matches!(ending, Ending::ProxyError | Ending::ErrorStatus).then_some(ending)
}

fn ending(of: &Observation, to: &mut String) -> fmt::Result {
    match of.ending {
        Ending::Complete => {
            let reasons = of.response.finish_reasons.iter().flatten();
            let before = to.len();
            for reason in reasons {
                if to.len() > before {
                    to.push(',');
                }
                push_visible(reason, to);
            }
            match of.http.status {
                Some(status) if to.len() == before => write!(to, "{status}")?,
                _ => (),
            }
            return Ok(());
        }
        Ending::ErrorStatus | Ending::ProxyError => match of.http.status {
            Some(status) => write!(to, "{status}")?,
            None => to.push_str(of.ending.as_str()),
        },
        other => to.push_str(other.as_str()),
    }
    let status = of.http.status.unwrap_or_default();
    if let Some(reason) = &of.error_type
        && reason.parse() != Ok(status)
        && reason != of.ending.as_str()
    {
        to.push(' ');
        push_visible(reason, to);
    }
    if matches!(of.ending, Ending::UpstreamReset | Ending::UpstreamTimeout) {
        whom(of, to)?;
    }
    Ok(())
}

/// The upstream that failed, and where it is: who reads the line has to look there.
fn whom(of: &Observation, to: &mut String) -> fmt::Result {
    let Some(upstream) = &of.upstream else { return Ok(()) };
    write!(to, " ({} at {}", upstream.name, upstream.address)?;
    match upstream.port {
        Some(port) => write!(to, ":{port})"),
        None => write!(to, ")"),
    }
}

fn usage_and_cost(of: &Observation, to: &mut String) -> fmt::Result {
    match (&of.usage, &of.estimate) {
        (Known::Value(usage), _) => used(of, usage, to)?,
        (Known::Unknown(reason), None) => return write!(to, "  ? tok ({})", Words(reason)),
        (Known::Unknown(reason), Some(estimate)) => {
            to.push_str("  ≈ ");
            tokens(&estimate.usage, to)?;
            write!(to, " ({})", Words(reason))?;
        }
    }
    match &of.cost {
        Known::Value(cost) if cost.basis == CostBasis::LowerBound => {
            write!(to, "  ≥ {}", Usd(cost.total))
        }
        Known::Value(cost) if cost.basis == CostBasis::Estimated => {
            write!(to, "  ≈ {}", Usd(cost.total))
        }
        Known::Value(cost) => write!(to, "  {}", Usd(cost.total)),
        Known::Unknown(reason) => write!(to, "  unpriced ({})", Words(reason)),
    }
}

/// What was reported, and whether that can be right.
fn used(of: &Observation, usage: &Usage, to: &mut String) -> fmt::Result {
    to.push_str("  ");
    let is_silent = usage.input.is_none() && usage.output.is_none();
    match usage.units {
        beside if is_silent && beside != Units::default() => units(&beside, to)?,
        _ => tokens(usage, to)?,
    }
    if of.notes.contains(&Note::UsageSuspicious) {
        to.push_str(" (suspicious)");
    }
    Ok(())
}

fn tokens(usage: &Usage, to: &mut String) -> fmt::Result {
    let count = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |it| it.to_string());
    to.push_str(&count(usage.input));
    // Embeddings have no output.
    if usage.output.is_some() {
        write!(to, "→{}", count(usage.output))?;
    }
    to.push_str(" tok");
    Ok(())
}

/// What is billed beside tokens, where these are not told.
fn units(units: &Units, to: &mut String) -> fmt::Result {
    match *units {
        Units { images: Some(images), .. } => write!(to, "{images} img"),
        Units { input_audio_time: Some(heard), .. } => write!(to, "{} heard", Human(heard)),
        Units { characters: Some(characters), .. } => write!(to, "{characters} chars"),
        _ => write!(to, "? tok"),
    }
}

/// Client-chosen text must not steer a terminal, nor break a line.
fn push_visible(text: &str, to: &mut String) {
    to.extend(text.chars().take(128).map(|c| if c.is_control() { '\u{fffd}' } else { c }));
}

/// `not_asked` as `not asked`.
struct Words(&'static str);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c == '_' { ' ' } else { c }))
    }
}

/// Two significant digits below a cent, four decimals below a dollar, then two.
struct Usd(NanoUsd);

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nano = self.0.0;
        let decimals = match nano {
            0 => 0,
            1_000_000_000.. => 2,
            10_000_000.. => 4,
            _ => 10_usize.saturating_sub(nano.ilog10() as usize).min(9),
        };
        write!(f, "${:.decimals$}", self.0.usd())
    }
}

/// `0.4 ms`, `310 ms`, `1.2 s`, `2 min 5 s`.
struct Human(Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        match micros {
            0..9_950 => write!(f, "{:.1} ms", micros as f64 / 1e3),
            9_950..999_500 => write!(f, "{:.0} ms", micros as f64 / 1e3),
            999_500..59_950_000 => write!(f, "{:.1} s", micros as f64 / 1e6),
            _ => {
                let seconds = (self.0 + Duration::from_millis(500)).as_secs();
                write!(f, "{} min {} s", seconds / 60, seconds % 60)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{literals, outcome};
    use super::*;

    fn line(of: &Observation, colour: bool) -> String {
        let mut to = String::new();
        person(of, &outcome::of(of), colour, &mut to);
        to
    }

    #[test]
    fn each_exchange_is_told_in_one_line() {
        let lines: Vec<_> = literals::all().iter().map(|it| line(it, false)).collect();
        let expected = [
            "chat gpt-4o-mini → stop  412→96 tok (suspicious)  $0.00012  ttft 310 ms  1.2 s  stream",
            "chat gpt-4o → 429 rate_limit_exceeded  1.2 s",
            "chat gpt-4o-mini → client_canceled  ? tok (cut)  ttft 310 ms  1.2 s  stream",
            "POST /v2/nowhere → 404 no_route  0.4 ms",
            "PURGE /v1/files/abc → 200  1.2 s",
            "chat llama3.2 → stop  26→100 tok  unpriced (local)  ttft 160 ms  1.2 s  stream",
            "embeddings text-embedding-3-small → 200  8 tok  $0.00000016  1.2 s",
        ];
        assert_eq!(lines, expected);
        let told = [literals::session(), literals::turn()].map(|it| line(&it, false));
        let turn = "chat gpt-4o-mini → stop  412→96 tok (suspicious)  $0.00012  400 ms  stream";
        assert_eq!(told, ["GET /v1/responses → 101  1.2 s  2 calls", turn]);
        let mut late = literals::turn();
        late.notes.push(Note::BeginningUnseen);
        assert_eq!(line(&late, false), turn.replace("  400 ms", ""));
        let cut = "chat gpt-4o-mini → client_canceled  ≈ 412→37 tok (cut)  ≈ $0.000084  ttft 310 ms  1.2 s  stream";
        assert_eq!(line(&literals::estimated_chat(), false), cut);
        let unknown = "POST /v1/novelties → 200  3→4 tok  1.2 s";
        assert_eq!(line(&literals::unnamed(), false), unknown);
        let mut lost = literals::session();
        lost.notes = vec![Note::TurnsForgotten];
        assert_eq!(line(&lost, false), "GET /v1/responses → 101  1.2 s  2 calls or more");
        let mut least = literals::embeddings();
        if let Known::Value(cost) = &mut least.cost {
            cost.basis = CostBasis::LowerBound;
        }
        assert!(line(&least, false).contains("8 tok  ≥ $0.00000016"));
        let all = literals::units();
        let heard = Units { images: None, ..all };
        let spoken = Units { input_audio_time: None, ..heard };
        for (units, told) in [(all, "2 img"), (heard, "3.3 s heard"), (spoken, "25 chars")] {
            let expected = format!("image_generation pictures → 200  {told}  $0.00000016  1.2 s");
            assert_eq!(line(&literals::media(units), false), expected);
        }
    }

    #[test]
    fn an_upstream_that_failed_is_named_with_its_place() {
        let mut failed = literals::rate_limited();
        failed.ending = Ending::UpstreamReset;
        failed.error_type = Some("connection_refused".into());
        let told = line(&failed, false);
        assert!(
            told.contains("upstream_reset connection_refused (openai at api.openai.com:443)"),
            "{told}"
        );
    }

    #[test]
    fn colour_stands_around_the_ending_alone() {
        let told = line(&literals::rate_limited(), true);
        let end = "\u{1b}[33m429 rate_limit_exceeded\u{1b}[0m";
        assert_eq!(told, format!("chat gpt-4o → {end}  1.2 s"));
    }

    #[test]
    fn a_client_cannot_steer_the_terminal() {
        let mut chat = literals::rate_limited();
        chat.request.model = Some("a\u{1b}[2J\n\u{9b}b".to_owned());
        let told = line(&chat, false);
        assert_eq!(told, "chat a\u{fffd}[2J\u{fffd}\u{fffd}b → 429 rate_limit_exceeded  1.2 s");
    }

    #[test]
    fn money_and_time_are_short() {
        let usd = |nano| Usd(NanoUsd(nano)).to_string();
        let told = [0, 1, 160, 120_000, 9_999_999, 12_345_678, 1_234_567_890].map(usd);
        let expected =
            ["$0", "$0.000000001", "$0.00000016", "$0.00012", "$0.0100", "$0.0123", "$1.23"];
        assert_eq!(told, expected);
        let human = |micros| Human(Duration::from_micros(micros)).to_string();
        let told = [400, 9_949, 9_950, 999_499, 999_500, 59_949_000, 59_950_000, 125_000_000];
        let expected =
            ["0.4 ms", "9.9 ms", "10 ms", "999 ms", "1.0 s", "59.9 s", "1 min 0 s", "2 min 5 s"];
        assert_eq!(told.map(human), expected);
    }
}
