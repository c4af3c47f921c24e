//! The written definitions of each duration, computed in one place for spans, metrics
//! and lines. Knows no OpenTelemetry.

use std::time::Duration;

use crate::observe::observation::{Ending, Note, Observation, Times};

/// When the CLIENT span begins, since zero: the first byte was sent upstream, or, where none was,
/// the search for a connection began. Absent where no upstream was asked.
pub(super) fn client_start(observation: &Observation) -> Option<Duration> {
    observation.upstream.as_ref()?;
    let times = &observation.times;
    // Without a mark only a refusal of our own says that nothing was sent.
    let unmarked = || (observation.ending != Ending::ProxyError).then_some(Duration::ZERO);
    times.sent.or(times.lease).or(times.head).or_else(unmarked)
}

/// From zero to its end. Absent where its beginning was not seen.
pub(super) fn duration(observation: &Observation) -> Option<Duration> {
    let is_seen = !observation.notes.contains(&Note::BeginningUnseen);
    is_seen.then_some(observation.times.end)
}

/// From the first byte sent upstream to the first generated content of a stream.
pub(super) fn time_to_first_chunk(observation: &Observation) -> Option<Duration> {
    let times = streamed(observation)?;
    times.first_chunk?.checked_sub(times.sent?)
}

/// From the last request byte sent upstream to the first generated content of a stream: the wait
/// the model caused. From the first byte where content came before the request was sent whole.
pub(super) fn wait(observation: &Observation) -> Option<Duration> {
    let times = streamed(observation)?;
    let chunk = times.first_chunk?;
    let after = |mark: Option<Duration>| mark.and_then(|mark| chunk.checked_sub(mark));
    after(times.sent_all).or_else(|| after(times.sent))
}

fn streamed(observation: &Observation) -> Option<&Times> {
    observation.response.streamed.then_some(&observation.times)
}

/// Time of our own: from the head to the search for a connection, and from having one to the first
/// byte upstream. Where the body was held to ask for usage, what the client took to send it is not
/// ours; where the upstream refused the question, all that it cost until the request went again is.
pub(super) fn overhead(times: &Times) -> Option<Duration> {
    let before = times.lease?.saturating_sub(times.held.unwrap_or_default());
    Some(before + times.sent?.saturating_sub(times.connected?))
}

/// Span and duration in nanoseconds, as OTLP wants them.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::literals::{self, ms};
    use super::*;

    #[test]
    fn the_wait_runs_from_the_last_request_byte_and_is_never_negative() {
        let mut chat = literals::streamed_chat();
        assert_eq!(time_to_first_chunk(&chat), Some(ms(310)));
        assert_eq!(wait(&chat), Some(ms(309)));
        chat.times.sent_all = Some(ms(900));
        assert_eq!(wait(&chat), Some(ms(310)));
        chat.response.streamed = false;
        assert_eq!((wait(&chat), time_to_first_chunk(&chat)), (None, None));
    }

    #[test]
    fn overhead_leaves_out_the_making_of_a_connection() {
        let chat = literals::streamed_chat();
        assert_eq!(overhead(&chat.times), Some(Duration::from_micros(120 + 80)));
        assert_eq!(overhead(&Times::default()), None);
        let (held, mut times) = (ms(30), chat.times);
        times.held = Some(held);
        times.lease = times.lease.map(|lease| lease + held);
        assert_eq!(overhead(&times), overhead(&chat.times), "the client sent for so long");
    }

    #[test]
    fn a_refusal_before_any_upstream_was_asked_has_no_client_span() {
        let mut busy = literals::no_route();
        assert_eq!(client_start(&busy), None);
        busy.upstream = literals::streamed_chat().upstream;
        assert_eq!(client_start(&busy), None);
        busy.ending = Ending::UpstreamReset;
        busy.times.lease = Some(ms(1));
        assert_eq!(client_start(&busy), Some(ms(1)));
    }
}
