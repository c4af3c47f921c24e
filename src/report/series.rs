//! The metrics of one exchange, recorded through instruments bound to its labels once: recording
//! then costs nanoseconds and allocates nothing. Knows no reader and no exporter.

use std::sync::Arc;
use std::time::Instant;

use opentelemetry::KeyValue;
use rustc_hash::FxHashMap;

use super::bound::{Adds, Records};
use super::headroom::Headroom;
use super::labels::{Label, Labels, with};
use super::names::{self, Instruments};
use super::outcome::{self, Outcome};
use super::tokens::{KIND_COUNT, KINDS};
use super::units::Beside;
use super::{spans, timing};
use crate::observe::observation::{
    COUNTED_BEFORE, Ending, Known, LimitHit, Note, Observation, Operation, Part, Side, Usage,
};
use crate::tape::Upstream;

/// What all workers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) instruments: Instruments,
    pub(super) cost_histogram: bool,
    /// Attribute sets that one worker keeps bound.
    pub(super) series: usize,
    pub(super) asked: Labels,
    pub(super) answered: Labels,
    pub(super) errors: Labels,
    pub(super) headroom: Arc<Headroom>,
}

/// Everything that decides the labels of an exchange's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    // The address of the upstream's facts, which the series keeps alive.
    upstream: usize,
    method: &'static str,
    route: Option<&'static str>,
    scheme: &'static str,
    version: &'static str,
    status: Option<u16>,
    upstream_status: Option<u16>,
    called: bool,
    ending: Ending,
    error: Label,
    side: Option<Side>,
    limit_hit: Option<LimitHit>,
    operation: Option<Operation>,
    asked: Label,
    answered: Label,
    cost: &'static str,
    usage_missing: &'static str,
}

/// One worker's recorder.
#[derive(Debug)]
pub(super) struct Recorder {
    shared: Arc<Shared>,
    // A quick hash will do: texts that others choose are in the key as our numbers of them.
    bound: FxHashMap<Key, Series>,
}

impl Recorder {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, bound: FxHashMap::default() }
    }

    /// Records all metrics of one exchange.
    pub(super) fn record(&mut self, of: &Observation, outcome: &Outcome<'_>) {
        let key = self.key(of, outcome);
        // Binding again finds the same sums: a full table may simply be emptied.
        if self.bound.len() >= self.shared.series && !self.bound.contains_key(&key) {
            self.bound.clear();
        }
        let Self { shared, bound } = self;
        shared.headroom.see(of, key.asked, Instant::now());
        let series = bound.entry(key).or_insert_with(|| Series::new(key, of, outcome));
        if !matches!(of.part, Part::Turn { .. }) {
            series.http(&shared.instruments, of);
        }
        series.ending(&shared.instruments);
        series.notes(&shared.instruments, of);
        match (of.operation, &of.usage) {
            (Some(_), _) if key.called => series.call(shared, of),
            (None, Known::Value(usage)) => series.used(&shared.instruments, usage),
            _ => (),
        }
    }

    fn key(&self, of: &Observation, outcome: &Outcome<'_>) -> Key {
        let shared = &*self.shared;
        Key {
            upstream: of.upstream.as_ref().map_or(0, |it| Arc::as_ptr(it) as usize),
            method: spans::method(&of.http.method).unwrap_or(names::UNKNOWN_METHOD),
            route: of.http.route,
            scheme: of.http.scheme,
            version: of.http.version,
            status: of.http.status,
            upstream_status: outcome::upstream_status(of),
            called: timing::client_start(of).is_some(),
            ending: of.ending,
            error: shared.errors.label(outcome.client),
            side: of.error_side,
            limit_hit: of.limit_hit,
            operation: of.operation,
            asked: shared.asked.label(of.request.model.as_deref()),
            answered: shared.answered.label(of.response.model.as_deref()),
            cost: match &of.cost {
                Known::Value(cost) => cost.basis.as_str(),
                Known::Unknown(reason) => reason,
            },
            usage_missing: match &of.usage {
                Known::Value(_) => "",
                Known::Unknown(reason) => reason,
            },
        }
    }
}

/// The label sets of one key, and what is bound to them.
#[derive(Debug)]
struct Series {
    // Keeps the address in the key from being used again.
    _upstream: Option<Arc<Upstream>>,
    key: Key,
    // The conventions' labels of a model call.
    call: Vec<KeyValue>,
    // Our own labels.
    own: Vec<KeyValue>,
    http_server: Vec<KeyValue>,
    http_client: Vec<KeyValue>,
    upstream: Vec<KeyValue>,
    error: Option<KeyValue>,
    bound: Bound,
}

#[derive(Debug, Default)]
struct Bound {
    http_server: Records,
    http_client: Records,
    requests: Adds<u64>,
    refusals: Adds<u64>,
    endings: Adds<u64>,
    limit_hits: Adds<u64>,
    overhead: Records,
    duration: Records,
    input: Records,
    output: Records,
    first_chunk: Records,
    per_chunk: Records,
    model_wait: Records,
    cost_per_call: Records,
    cost: Adds<f64>,
    tokens: [Adds<u64>; KIND_COUNT],
    units: Beside,
    estimated: [Adds<u64>; 2],
    discarded: [Adds<u64>; 2],
    stalls: Adds<u64>,
    tool_calls: Adds<u64>,
    unpriced: Adds<u64>,
    usage_missing: Adds<u64>,
    notes: [Adds<u64>; Note::ALL.len()],
    claimed_duration: Records,
    claimed_first_token: Records,
    claimed_per_token: Records,
}

impl Series {
    fn new(key: Key, of: &Observation, outcome: &Outcome<'_>) -> Self {
        let (place, model) = (place_labels(of), model_labels(&key, of));
        let upstream = of.upstream.iter().map(|it| owned(names::UPSTREAM, &it.name));
        let upstream: Vec<_> = upstream.collect();
        Self {
            _upstream: of.upstream.clone(),
            key,
            call: with(&model, place.clone()),
            own: with(&upstream, model),
            http_server: server_labels(&key, outcome),
            http_client: client_labels(&key, place, outcome),
            upstream,
            error: key.error.text(outcome.client).map(|it| owned(names::ERROR_TYPE, it)),
            bound: Bound::default(),
        }
    }

    /// What every exchange has, and no call within one.
    fn http(&self, to: &Instruments, of: &Observation) {
        let bound = &self.bound;
        let end = of.times.end;
        bound.http_server.record(&to.http_server, || self.http_server.clone(), end.as_secs_f64());
        if let Some(start) = timing::client_start(of) {
            let (labels, took) = (|| self.http_client.clone(), end.saturating_sub(start));
            bound.http_client.record(&to.http_client, labels, took.as_secs_f64());
        }
        let requests = || {
            let http = self.http_server.iter().filter(|it| {
                [names::METHOD, names::ROUTE, names::STATUS].iter().any(|of| of.is(it))
            });
            self.upstream.iter().chain(http).cloned().collect()
        };
        bound.requests.add(&to.requests, requests, 1);
        if self.key.ending == Ending::ProxyError {
            bound.refusals.add(&to.refusals, || with(&self.upstream, self.error.clone()), 1);
        }
        if let Some(own) = timing::overhead(&of.times) {
            bound.overhead.record(&to.overhead, || self.upstream.clone(), own.as_secs_f64());
        }
    }

    /// How it ended: an exchange, and each call within one that is a session.
    fn ending(&self, to: &Instruments) {
        let Self { key, bound, .. } = self;
        let ending = || {
            let side = key.side.map(|it| names::ERROR_SIDE.of(it.as_str()));
            with(&self.own, std::iter::once(names::ENDING.of(key.ending.as_str())).chain(side))
        };
        bound.endings.add(&to.endings, ending, 1);
        if let Some(hit) = key.limit_hit {
            let labels = || with(&self.own, [names::LIMIT_CAUSE.of(hit.as_str())]);
            bound.limit_hits.add(&to.limit_hits, labels, 1);
        }
    }

    /// What only a model call has.
    fn call(&self, shared: &Shared, of: &Observation) {
        let (bound, to) = (&self.bound, &shared.instruments);
        let start = timing::client_start(of).unwrap_or_default();
        if let Some(end) = timing::duration(of) {
            let took = end.saturating_sub(start).as_secs_f64();
            bound.duration.record(&to.duration, || with(&self.call, self.error.clone()), took);
        }
        self.stream(to, of);
        let fetched = of.operation == Some(Operation::FetchResponse);
        let before = of.usage == Known::Unknown(COUNTED_BEFORE);
        // What was made by another call counted there, and is not missed where it is fetched or heard again.
        if before || fetched && of.usage.value().is_none() {
            return self.claims(to, of);
        }
        self.usage(to, of);
        self.estimate(to, of);
        self.discard(to, of);
        self.cost(shared, of);
        let tools = u64::from(of.response.tool_calls);
        if tools > 0 {
            bound.tool_calls.add(&to.tool_calls, || self.own.clone(), tools);
        }
        self.claims(to, of);
    }

    fn usage(&self, to: &Instruments, of: &Observation) {
        match &of.usage {
            Known::Value(usage) => {
                self.token_usage(to, usage);
                self.used(to, usage);
            }
            Known::Unknown(reason) => {
                let labels = || with(&self.own, [names::USAGE_MISSING.of(*reason)]);
                self.bound.usage_missing.add(&to.usage_missing, labels, 1);
            }
        }
    }

    fn cost(&self, shared: &Shared, of: &Observation) {
        let (bound, to) = (&self.bound, &shared.instruments);
        match &of.cost {
            Known::Value(cost) => {
                let usd = cost.total.usd();
                let labels = || with(&self.own, [names::COST_BASIS.of(cost.basis.as_str())]);
                bound.cost.add(&to.cost, labels, usd);
                if shared.cost_histogram && outcome::is_cost_told(of) {
                    bound.cost_per_call.record(&to.cost_per_call, || self.call.clone(), usd);
                }
            }
            // Where nothing was answered, nothing was sold.
            Known::Unknown(_) if !outcome::is_answered(of) => (),
            Known::Unknown(reason) => {
                let labels = || with(&self.own, [names::COST_UNPRICED.of(*reason)]);
                bound.unpriced.add(&to.unpriced, labels, 1);
            }
        }
    }

    fn stream(&self, to: &Instruments, of: &Observation) {
        let bound = &self.bound;
        if let Some(first) = timing::time_to_first_chunk(of) {
            bound.first_chunk.record(&to.first_chunk, || self.call.clone(), first.as_secs_f64());
        }
        if let Some(wait) = timing::wait(of) {
            // No convention asks for who answered here, and each label set of a histogram is long.
            let is_told = |it: &&KeyValue| !names::RESPONSE_MODEL.is(it);
            let labels = || self.own.iter().filter(is_told).cloned().collect();
            bound.model_wait.record(&to.model_wait, labels, wait.as_secs_f64());
        }
        for (mean, count) in of.gaps.means() {
            for _ in 0..count {
                bound.per_chunk.record(&to.per_chunk, || self.call.clone(), mean);
            }
        }
        if of.stalls > 0 {
            bound.stalls.add(&to.stalls, || self.own.clone(), u64::from(of.stalls));
        }
    }

    /// The conventions' histogram.
    fn token_usage(&self, to: &Instruments, usage: &Usage) {
        let bound = &self.bound;
        let typed = |kind| move || with(&self.call, [names::TOKEN_TYPE.of(kind)]);
        if let Some(input) = usage.input {
            bound.input.record(&to.token_usage, typed("input"), input as f64);
        }
        if let Some(output) = usage.output {
            bound.output.record(&to.token_usage, typed("output"), output as f64);
        }
    }

    fn estimate(&self, to: &Instruments, of: &Observation) {
        let Some(estimate) = &of.estimate else { return };
        if estimate.stands_in {
            self.token_usage(to, &estimate.usage);
        }
        for (adds, (kind, count)) in self.bound.estimated.iter().zip(totals(&estimate.usage)) {
            if let Some(count) = count {
                adds.add(&to.estimated, || with(&self.own, [names::TOKEN_KIND.of(kind)]), count);
            }
        }
    }

    /// What could not be read or kept, or cannot be right.
    fn notes(&self, to: &Instruments, of: &Observation) {
        for (adds, note) in self.bound.notes.iter().zip(Note::ALL) {
            if of.notes.contains(&note) {
                let labels = || with(&self.upstream, [names::NOTE.of(note.as_str())]);
                adds.add(&to.notes, labels, 1);
            }
        }
    }

    /// What was paid for and thrown away. An error in an answer's stead is not paid for.
    fn discard(&self, to: &Instruments, of: &Observation) {
        let (usage, basis) = match (&of.usage, &of.estimate) {
            (Known::Value(usage), _) => (usage, "reported"),
            (Known::Unknown(_), Some(estimate)) => (&estimate.usage, "estimated"),
            (Known::Unknown(_), None) => return,
        };
        if matches!(of.ending, Ending::Complete | Ending::ErrorStatus) {
            return;
        }
        for (adds, (kind, count)) in self.bound.discarded.iter().zip(totals(usage)) {
            let Some(count) = count else { continue };
            let ending = names::ENDING.of(of.ending.as_str());
            let more = [names::TOKEN_KIND.of(kind), names::USAGE_BASIS.of(basis), ending];
            adds.add(&to.discarded, || with(&self.own, more), count);
        }
    }

    /// Our own counters.
    fn used(&self, to: &Instruments, usage: &Usage) {
        let bound = &self.bound;
        for (adds, kind) in bound.tokens.iter().zip(&KINDS) {
            if let Some(count) = (kind.count)(usage) {
                let labels = || with(&self.own, [names::TOKEN_KIND.of(kind.word)]);
                adds.add(&to.tokens, labels, count);
            }
        }
        self.bound.units.add(to, &self.own, &usage.units);
    }

    /// What the model server itself says, of calls that came to their end. A stream's header
    /// cannot know how long the stream will take.
    fn claims(&self, to: &Instruments, of: &Observation) {
        if of.ending != Ending::Complete {
            return;
        }
        let (bound, claimed) = (&self.bound, &of.response.claimed);
        let labels = || self.call.clone();
        let whole = !of.response.streamed || claimed.output.is_some();
        if let Some(total) = claimed.total.filter(|_| whole) {
            bound.claimed_duration.record(&to.claimed_duration, labels, total.as_secs_f64());
        }
        let loaded = claimed.prompt.map(|prompt| claimed.load.unwrap_or_default() + prompt);
        if let Some(first) = claimed.first_token.or(loaded) {
            bound.claimed_first_token.record(&to.claimed_first_token, labels, first.as_secs_f64());
        }
        let tokens = of.usage.value().and_then(|usage| usage.output).filter(|&count| count > 0);
        let mean = claimed.output.zip(tokens).map(|(all, count)| all.as_secs_f64() / count as f64);
        if let Some(each) = claimed.per_token.map(|it| it.as_secs_f64()).or(mean) {
            bound.claimed_per_token.record(&to.claimed_per_token, labels, each);
        }
    }
}

/// Both totals, by kind.
fn totals(usage: &Usage) -> [(&'static str, Option<u64>); 2] {
    [("input", usage.input), ("output", usage.output)]
}

/// A label whose value is not ours.
fn owned(name: names::Attribute, text: &str) -> KeyValue {
    name.of(text.to_owned())
}

fn status_label(status: Option<u16>) -> Option<KeyValue> {
    status.map(|it| names::STATUS.of(i64::from(it)))
}

fn server_labels(key: &Key, outcome: &Outcome<'_>) -> Vec<KeyValue> {
    let error = match &outcome.server {
        Some(own) if key.status.is_some_and(|it| it >= 500) => Some(&**own),
        Some(_) => key.error.text(outcome.client),
        None => None,
    };
    let labels = [
        Some(names::METHOD.of(key.method)),
        Some(names::URL_SCHEME.of(key.scheme)),
        key.route.map(|it| names::ROUTE.of(it)),
        status_label(key.status),
        error.map(|it| owned(names::ERROR_TYPE, it)),
        Some(names::PROTOCOL_VERSION.of(key.version)),
    ];
    labels.into_iter().flatten().collect()
}

fn client_labels(key: &Key, place: Vec<KeyValue>, outcome: &Outcome<'_>) -> Vec<KeyValue> {
    let error = match key.upstream_status {
        Some(status @ 400..) => Some(status.to_string()),
        _ if matches!(key.ending, Ending::ErrorInStream | Ending::Truncated) => None,
        _ => key.error.text(outcome.client).map(str::to_owned),
    };
    let error = error.map(|it| names::ERROR_TYPE.of(it));
    let method = std::iter::once(names::METHOD.of(key.method));
    method.chain(place).chain(status_label(key.upstream_status)).chain(error).collect()
}

fn place_labels(of: &Observation) -> Vec<KeyValue> {
    let Some(upstream) = &of.upstream else { return Vec::new() };
    let port = upstream.port.map(|port| names::SERVER_PORT.of(i64::from(port)));
    [Some(owned(names::SERVER_ADDRESS, &upstream.address)), port].into_iter().flatten().collect()
}

fn model_labels(key: &Key, of: &Observation) -> Vec<KeyValue> {
    // Of what is no known call a model is told only where it told its usage.
    if key.operation.is_none() && of.usage.value().is_none() {
        return Vec::new();
    }
    let asked = key.asked.text(of.request.model.as_deref());
    let answered = key.answered.text(of.response.model.as_deref());
    let labels = [
        key.operation.map(|it| names::OPERATION.of(it.as_str())),
        of.upstream.as_ref().map(|it| owned(names::PROVIDER, &it.provider)),
        asked.map(|it| owned(names::REQUEST_MODEL, it)),
        answered.map(|it| owned(names::RESPONSE_MODEL, it)),
    ];
    labels.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::super::{literals, whole};
    use super::*;

    #[test]
    fn a_worker_keeps_no_more_bound_than_its_limit() {
        let mut settings = whole::settings(vec![]);
        settings.limits.series = 5;
        let metrics = Metrics::new(&settings, whole::sources(), vec![], None, vec![]);
        let mut recorder = metrics.recorder();
        for of in literals::all() {
            recorder.record(&of, &outcome::of(&of));
            assert!((1..=5).contains(&recorder.bound.len()));
        }
        assert_eq!(recorder.bound.len(), 2, "emptied when the sixth came");
    }

    #[test]
    fn two_upstreams_are_two_series_and_a_call_again_is_none() {
        let settings = whole::settings(vec![]);
        let metrics = Metrics::new(&settings, whole::sources(), vec![], None, vec![]);
        let mut recorder = metrics.recorder();
        let mut of = literals::streamed_chat();
        for (name, series) in [(None, 1), (None, 1), (Some("other"), 2), (None, 2)] {
            if let Some(name) = name {
                std::sync::Arc::make_mut(of.upstream.as_mut().unwrap()).name = name.to_owned();
            }
            recorder.record(&of, &outcome::of(&of));
            assert_eq!(recorder.bound.len(), series, "{name:?}");
        }
    }

    #[test]
    fn a_claim_over_no_tokens_is_no_time_of_each() {
        use super::super::prometheus::{self, Format};
        let settings = whole::settings(vec![]);
        let metrics = Metrics::new(&settings, whole::sources(), vec![], None, vec![]);
        let mut of = literals::ollama();
        of.response.claimed.per_token = None;
        of.usage = Known::Value(Usage { input: Some(26), output: Some(0), ..Usage::default() });
        metrics.recorder().record(&of, &outcome::of(&of));
        let text = prometheus::write(&metrics.collect(), Format::of(None));
        assert!(text.contains("gen_ai_server_request_duration_seconds_sum"), "{text}");
        let endless = |line: &&str| line.ends_with("Inf") || line.ends_with("NaN");
        assert_eq!(text.lines().find(endless), None);
    }
}
