//! What stands beside the counts of a `usage` object, or instead of one: money, times, tiers, and
//! what is billed in other units than tokens. Knows no dialect.

use std::time::Duration;

use super::lenient::{Count, Lenient, Number, fields};
use super::money::Usd;
use super::tokens::Tokens;
use crate::observe::observation::{ClaimedDurations, NanoUsd, Units};

/// Ticks of xAI in a nano-dollar.
const TICKS: u64 = 10;

fields! {
    /// What the customer's own account at the provider is billed (OpenRouter).
    #[derive(Clone, Copy)]
    pub struct Upstream {
        cost: Usd = "upstream_inference_cost",
    }
}

fields! {
    /// What a gateway says of its own.
    #[derive(Clone, Copy)]
    pub struct Gateway {
        cost: Usd = "cost_estimate",
    }
}

fields! {
    /// The tools that xAI runs.
    #[derive(Clone, Copy)]
    pub struct XaiTools {
        web: Count = "web_search_calls",
        x: Count = "x_search_calls",
        code: Count = "code_interpreter_calls",
        files: Count = "file_search_calls",
        documents: Count = "document_search_calls",
    }
}

fields! {
    /// The tools that OpenRouter runs.
    #[derive(Clone, Copy)]
    pub struct ServerTools {
        web_searches: Count = "web_search_requests",
    }
}

fields! {
    /// How long the server says that it worked: each has names of its own.
    #[derive(Clone, Copy)]
    pub struct Times {
        /// Cerebras, in seconds, as Groq within `usage`.
        prompt_time: Number = "prompt_time",
        /// Cerebras, in seconds.
        completion_time: Number = "completion_time",
        /// Cerebras, in seconds.
        total_time: Number = "total_time",
        /// llama.cpp.
        prompt_ms: Number = "prompt_ms",
        /// llama.cpp.
        predicted_ms: Number = "predicted_ms",
        /// llama.cpp: tokens of the prompt that were read from the cache.
        cached: Count = "cache_n",
        /// Azure.
        engine_first_ms: Number = "engine_ttft_ms",
        /// Azure.
        total_duration_ms: Number = "total_duration_ms",
    }
}

fn seconds(number: Number) -> Option<Duration> {
    Duration::try_from_secs_f64(number.0?).ok()
}

fn millis(number: Number) -> Option<Duration> {
    Duration::try_from_secs_f64(number.0? / 1e3).ok()
}

impl Times {
    /// The durations that it tells.
    pub fn claimed(&self) -> ClaimedDurations {
        ClaimedDurations {
            total: seconds(self.total_time).or(millis(self.total_duration_ms)),
            prompt: seconds(self.prompt_time).or(millis(self.prompt_ms)),
            output: seconds(self.completion_time).or(millis(self.predicted_ms)),
            first_token: millis(self.engine_first_ms),
            ..ClaimedDurations::default()
        }
    }
}

/// Lays later claims over earlier ones.
pub fn claim(facts: &mut ClaimedDurations, later: ClaimedDurations) {
    facts.total = later.total.or(facts.total);
    facts.load = later.load.or(facts.load);
    facts.prompt = later.prompt.or(facts.prompt);
    facts.output = later.output.or(facts.output);
    facts.first_token = later.first_token.or(facts.first_token);
    facts.per_token = later.per_token.or(facts.per_token);
}

impl Tokens {
    /// What the provider says that the call cost.
    pub fn reported_cost(&self) -> Option<NanoUsd> {
        let ticks = self.ticks.0.map(|ticks| NanoUsd(ticks.saturating_add(TICKS / 2) / TICKS));
        let cost = self.cost.0.or(ticks).or(self.gateway.cost.0)?;
        let beside = self.cost_details.cost.0.filter(|_| self.byok.0 == Some(true));
        Some(NanoUsd(cost.0.saturating_add(beside.unwrap_or_default().0)))
    }

    /// The tier that answered (Mistral).
    pub fn service_tier(&self) -> Option<&str> {
        self.tier.as_str()
    }

    /// The durations that stand among the counts.
    pub fn claimed(&self) -> ClaimedDurations {
        let Self { prompt_time, completion_time, total_time, .. } = *self;
        let own = Times { prompt_time, completion_time, total_time, ..Times::default() };
        let (first_token, per_token) = (millis(self.first_ms), millis(self.each_ms));
        let gpustack = ClaimedDurations { first_token, per_token, ..ClaimedDurations::default() };
        let mut claimed = self.checkpoint.claimed();
        claim(&mut claimed, gpustack);
        claim(&mut claimed, own.claimed());
        claimed
    }

    /// What is billed beside tokens.
    pub fn units(&self) -> Units {
        let tools = self.xai_tools.0.unwrap_or_default();
        let searches = [
            self.searches,
            self.server_tools.web_searches,
            self.server_tools_old.web_searches,
            both(tools.web, tools.x),
        ];
        Units {
            web_searches: searches.iter().find_map(|count| count.0),
            file_searches: both(tools.files, tools.documents).0,
            code_sessions: tools.code.0,
            input_audio_time: seconds(self.audio_seconds),
            ..Units::default()
        }
    }

    /// Lays a later report over this one.
    pub(super) fn merge_extras(&mut self, later: &Self) {
        let put = |count: &mut Count, later: Count| count.0 = later.0.or(count.0);
        put(&mut self.citations, later.citations);
        put(&mut self.reasoning, later.reasoning);
        put(&mut self.searches, later.searches);
        put(&mut self.server_tools.web_searches, later.server_tools.web_searches);
        put(&mut self.server_tools_old.web_searches, later.server_tools_old.web_searches);
        put(&mut self.ticks, later.ticks);
        self.xai_tools.0 = later.xai_tools.0.or(self.xai_tools.0);
        self.audio_seconds.0 = later.audio_seconds.0.or(self.audio_seconds.0);
        self.cost.0 = later.cost.0.or(self.cost.0);
        self.byok.0 = later.byok.0.or(self.byok.0);
        self.cost_details.cost.0 = later.cost_details.cost.0.or(self.cost_details.cost.0);
    }
}

fn both(one: Count, other: Count) -> Count {
    match (one.0, other.0) {
        (None, None) => Count(None),
        (one, other) => Count(Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0)))),
    }
}

/// A short word, kept in place; a longer one is passed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Brief {
    bytes: [u8; 16],
    length: usize,
}

impl Lenient<'_> for Brief {
    fn text(&mut self, text: &str) {
        if let Some(place) = self.bytes.get_mut(..text.len()) {
            place.copy_from_slice(text.as_bytes());
            self.length = text.len();
        }
    }
}

impl Brief {
    fn as_str(&self) -> Option<&str> {
        let bytes = self.bytes.get(..self.length)?;
        std::str::from_utf8(bytes).ok().filter(|word| !word.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::shapes::lenient::read;
    use crate::observe::shapes::tokens::Counting;

    fn tokens(json: &str) -> Tokens {
        let mut tokens = Tokens::default();
        read(json.as_bytes(), &mut tokens).unwrap();
        tokens
    }

    fn cost(json: &str) -> Option<u64> {
        tokens(json).reported_cost().map(|cost| cost.0)
    }

    #[test]
    fn each_provider_tells_the_cost_in_its_own_way() {
        assert_eq!(cost(r#"{"cost":0.00034225,"is_byok":false}"#), Some(342_250));
        assert_eq!(
            cost(r#"{"cost":{"request_cost":0.006,"total_cost":0.00614}}"#),
            Some(6_140_000)
        );
        assert_eq!(cost(r#"{"cost_in_usd_ticks":4890000}"#), Some(489_000));
        assert_eq!(cost(r#"{"cost_in_usd_ticks":15}"#), Some(2));
        let gateway = r#"{"pydantic_ai_gateway":{"cost_estimate":0.00012625}}"#;
        assert_eq!(cost(gateway), Some(126_250));
        assert_eq!(cost(r#"{"prompt_tokens":1}"#), None);
        let own_key = r#"{"cost":0.001,"is_byok":BYOK,"cost_details":{"upstream_inference_cost":0.02,
            "upstream_inference_prompt_cost":0.01}}"#;
        assert_eq!(cost(&own_key.replace("BYOK", "true")), Some(21_000_000));
        assert_eq!(cost(&own_key.replace("BYOK", "false")), Some(1_000_000));
    }

    #[test]
    fn searches_and_sound_are_units() {
        let units = |json| tokens(json).usage(Counting::default()).unwrap().units;
        let found = units(
            r#"{"prompt_tokens":1,"num_sources_used":9,"server_side_tool_usage_details":{"web_search_calls":2,
            "x_search_calls":1,"code_interpreter_calls":4,"file_search_calls":5,"mcp_calls":6}}"#,
        );
        assert_eq!((found.web_searches, found.file_searches), (Some(3), Some(5)));
        assert_eq!(found.code_sessions, Some(4));
        // Sources are no searches.
        assert_eq!(units(r#"{"prompt_tokens":1,"num_sources_used":9}"#).web_searches, None);
        let found =
            units(r#"{"prompt_tokens":1,"server_tool_use_details":{"web_search_requests":2}}"#);
        assert_eq!(found.web_searches, Some(2));
        let found = units(r#"{"prompt_tokens":1,"prompt_audio_seconds":7.5}"#);
        assert_eq!(found.input_audio_time, Some(Duration::from_millis(7500)));
        assert_eq!(units(r#"{"prompt_tokens":1,"prompt_audio_seconds":{}}"#), Units::default());
    }

    #[test]
    fn claims_are_told_in_seconds_and_in_milliseconds() {
        let millis = Duration::from_millis;
        let groq = tokens(
            r#"{"queue_time":9,"prompt_time":0.25,"completion_time":1.5,"total_time":1.75}"#,
        );
        let expected = ClaimedDurations {
            total: Some(millis(1750)),
            prompt: Some(millis(250)),
            output: Some(millis(1500)),
            ..ClaimedDurations::default()
        };
        assert_eq!(groq.claimed(), expected);
        let gpustack = tokens(
            r#"{"completion_tokens":10,"time_to_first_token_ms":60.5,"time_per_output_token_ms":20}"#,
        );
        let found = gpustack.claimed();
        assert_eq!(
            (found.first_token, found.per_token),
            (Some(Duration::from_micros(60_500)), Some(millis(20)))
        );
        let azure = tokens(
            r#"{"latency_checkpoint":{"engine_ttft_ms":50,"service_ttft_ms":70,"total_duration_ms":900}}"#,
        );
        assert_eq!(
            (azure.claimed().first_token, azure.claimed().total),
            (Some(millis(50)), Some(millis(900)))
        );
        let odd = tokens(r#"{"prompt_time":-1,"total_time":"x","completion_time":1e300}"#);
        assert_eq!(odd.claimed(), ClaimedDurations::default());
    }

    #[test]
    fn a_later_report_counts() {
        let mut merged = tokens(r#"{"cost":0.1,"num_search_queries":1,"cost_in_usd_ticks":5}"#);
        merged.merge(&tokens(r#"{"cost":null,"num_search_queries":2}"#));
        assert_eq!(merged.reported_cost(), Some(NanoUsd(100_000_000)));
        assert_eq!(merged.units().web_searches, Some(2));
    }

    #[test]
    fn a_tier_among_the_counts_is_a_short_word() {
        assert_eq!(tokens(r#"{"service_tier":"standard"}"#).service_tier(), Some("standard"));
        let long = format!(r#"{{"service_tier":"{}"}}"#, "x".repeat(17));
        assert_eq!(tokens(&long).service_tier(), None);
        assert_eq!(tokens(r#"{"service_tier":null}"#).service_tier(), None);
    }

    #[test]
    fn searches_of_one_kind_are_searches() {
        for tools in [r#"{"web_search_calls":2}"#, r#"{"x_search_calls":2}"#] {
            let json = format!(r#"{{"server_side_tool_usage_details":{tools}}}"#);
            assert_eq!(tokens(&json).units().web_searches, Some(2), "{json}");
        }
    }

    #[test]
    fn a_claim_stands_until_another_is_made() {
        let after = |nanos| Some(Duration::from_nanos(nanos));
        let first = ClaimedDurations {
            total: after(1),
            load: after(2),
            prompt: after(3),
            output: after(4),
            first_token: after(5),
            per_token: after(6),
        };
        let mut claimed = ClaimedDurations::default();
        claim(&mut claimed, first);
        assert_eq!(claimed, first);
        claim(&mut claimed, ClaimedDurations { output: after(9), ..ClaimedDurations::default() });
        assert_eq!(claimed, ClaimedDurations { output: after(9), ..first });
        let mut told = Times::default();
        read(br#"{"prompt_ms":1.5,"predicted_ms":2.5}"#, &mut told).unwrap();
        let claimed = told.claimed();
        assert_eq!(claimed.prompt.zip(claimed.output), after(1_500_000).zip(after(2_500_000)));
    }
}
