//! What is billed beside tokens: searches, pages, hours, pieces. Knows no tokens, nor what they cost.
//!
//! A tool that a call may use (a search, a container) is told by the provider that bills it, when it was
//! used: untold is unused, but where every call uses it. What a call is *for* (pages read, sound heard,
//! pictures made) cannot have been nothing: untold is missed, where the tariff charges for it.

use std::time::Duration;

use super::Unpriced;
use super::dimension::Dimension;
use super::others::OTHER_MODELS;
use super::sum::{Ledger, nanos};
use crate::observe::observation::Usage;

/// Counts what `usage` tells beside tokens.
pub(super) fn count(ledger: &mut Ledger<'_>, usage: &Usage) -> Result<(), Unpriced> {
    use Dimension::{
        AnnotatedPage, Character, CodeSession, FileSearch, Image, Message, Page, Request,
        RerankSearch, WebSearch,
    };
    let units = &usage.units;
    let calls = units.calls.unwrap_or(1);
    tool(ledger, WebSearch, units.web_searches, calls);
    tool(ledger, FileSearch, units.file_searches, calls);
    tool(ledger, CodeSession, units.code_sessions, calls);
    if units.other_models > Some(0) {
        ledger.miss(OTHER_MODELS);
    }
    ledger.take(Request, calls);
    purpose(ledger, Image, units.images);
    purpose(ledger, Character, units.characters);
    purpose(ledger, Page, units.documents);
    purpose(ledger, RerankSearch, units.documents);
    // Nothing tells these.
    purpose(ledger, AnnotatedPage, None);
    purpose(ledger, Message, None);
    sound(ledger, usage)
}

/// A tool that the call may have used.
fn tool(ledger: &mut Ledger<'_>, dimension: Dimension, told: Option<u64>, calls: u64) {
    let terms = &ledger.tariff.terms;
    if told.is_none() && terms.always.contains(&dimension) {
        ledger.miss(dimension.as_str());
    }
    let used = told.unwrap_or(0);
    let charged = if terms.once.contains(&dimension) { used.min(calls) } else { used };
    ledger.take_or_miss(dimension, charged);
}

/// What the call is for. Without a rate it is charged by its tokens.
fn purpose(ledger: &mut Ledger<'_>, dimension: Dimension, told: Option<u64>) {
    match told {
        Some(count) => {
            ledger.take(dimension, count);
        }
        None if ledger.has(dimension) => ledger.miss(dimension.as_str()),
        None => {}
    }
}

/// Sound that was heard, sound or moving pictures that were made.
fn sound(ledger: &mut Ledger<'_>, usage: &Usage) -> Result<(), Unpriced> {
    use Dimension::{AudioHour, Input, InputAudioHour, OutputSecond};
    let heard = usage.units.input_audio_time;
    let made = usage.units.output_time;
    let least = Duration::from_secs(ledger.tariff.terms.least_seconds.unwrap_or(0));
    let charged = |time: Duration| if time.is_zero() { time } else { time.max(least) };
    let heard_nanos = heard.map(|time| nanos(charged(time))).transpose()?;
    let made_nanos = made.map(nanos).transpose()?;
    if ledger.has(OutputSecond) {
        purpose(ledger, OutputSecond, made_nanos);
        return Ok(());
    }
    if ledger.has(InputAudioHour) {
        // Beside tokens, sound is told where there was some.
        if heard.is_some() || !ledger.has(Input) {
            purpose(ledger, InputAudioHour, heard_nanos);
        }
        if let Some(made) = made_nanos {
            ledger.take(AudioHour, made);
        }
        return Ok(());
    }
    // A session is charged by its length, which at least is that of what was heard or made in it.
    if ledger.has(AudioHour) && heard.is_some() && made.is_some() {
        ledger.miss(AudioHour.as_str());
    }
    purpose(ledger, AudioHour, heard_nanos.max(made_nanos));
    // Sound that tokens do not count, either.
    if heard_nanos > Some(0) && !ledger.has(AudioHour) && usage.input_audio.is_none() {
        ledger.miss(InputAudioHour.as_str());
    }
    Ok(())
}
