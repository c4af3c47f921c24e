//! Token counts as providers write them, and the one nesting they become. Knows no dialect.

use super::extras::{Brief, Gateway, ServerTools, Times, Upstream, XaiTools};
use super::lenient::{Count, Flag, Number, Object, fields};
use super::money::Usd;
use crate::observe::observation::Usage;

fields! {
    /// A `usage` object, in any of the spellings of OpenAI and those that follow it.
    #[derive(Clone, Copy)]
    pub struct Tokens {
        prompt: Count = "prompt_tokens",
        completion: Count = "completion_tokens",
        total: Count = "total_tokens",
        input: Count = "input_tokens",
        output: Count = "output_tokens",
        prompt_details: Details = "prompt_tokens_details",
        completion_details: Details = "completion_tokens_details",
        input_details: Details = "input_tokens_details" | "input_token_details",
        output_details: Details = "output_tokens_details" | "output_token_details",
        /// Anthropic: not part of `input_tokens`.
        cache_creation: Count = "cache_creation_input_tokens",
        /// Anthropic: not part of `input_tokens`.
        cache_read: Count = "cache_read_input_tokens",
        /// DeepSeek.
        cache_hit: Count = "prompt_cache_hit_tokens",
        /// Moonshot, Together.
        cached: Count = "cached_tokens",
        /// Mistral.
        num_cached: Count = "num_cached_tokens",
        /// Perplexity: what was found in the web and read, not part of `prompt_tokens`.
        citations: Count = "citation_tokens",
        /// Perplexity.
        reasoning: Count = "reasoning_tokens",
        /// Perplexity.
        searches: Count = "num_search_queries",
        /// xAI.
        xai_tools: Object<XaiTools> = "server_side_tool_usage_details",
        /// OpenRouter.
        server_tools: ServerTools = "server_tool_use_details",
        /// Anthropic, and OpenRouter too.
        server_tools_old: ServerTools = "server_tool_use",
        /// Mistral, and OpenAI's transcriptions.
        audio_seconds: Number = "prompt_audio_seconds" | "seconds",
        /// OpenRouter, and Perplexity in an object.
        cost: Usd = "cost",
        /// OpenRouter: the customer pays the provider himself, `cost` is OpenRouter's fee.
        byok: Flag = "is_byok",
        /// OpenRouter.
        cost_details: Upstream = "cost_details",
        /// xAI: 10⁻¹⁰ USD each.
        ticks: Count = "cost_in_usd_ticks",
        /// Pydantic's gateway.
        gateway: Gateway = "pydantic_ai_gateway",
        /// Mistral.
        tier: Brief = "service_tier",
        /// Groq, in seconds.
        prompt_time: Number = "prompt_time",
        /// Groq, in seconds.
        completion_time: Number = "completion_time",
        /// Groq, in seconds.
        total_time: Number = "total_time",
        /// GPUStack.
        first_ms: Number = "time_to_first_token_ms",
        /// GPUStack.
        each_ms: Number = "time_per_output_token_ms",
        /// Azure.
        checkpoint: Times = "latency_checkpoint",
    }
}

fields! {
    /// What part of the tokens is what.
    #[derive(Clone, Copy)]
    pub struct Details {
        cached: Count = "cached_tokens",
        cache_write: Count = "cache_write_tokens",
        audio: Count = "audio_tokens",
        image: Count = "image_tokens",
        video: Count = "video_tokens",
        reasoning: Count = "reasoning_tokens",
        thinking: Count = "thinking_tokens",
        lifetimes: Lifetimes = "cache_write_tokens_details",
    }
}

fields! {
    /// How long what was written to the cache is to last.
    #[derive(Clone, Copy)]
    pub struct Lifetimes {
        long: Count = "ttl_12h_tokens",
    }
}

/// How a provider counts, where that is not how OpenAI does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting {
    /// There is no output: all tokens are input (embeddings).
    pub all_input: bool,
}

impl Tokens {
    /// Input with cached tokens, output with reasoning; none where nothing was counted.
    pub fn usage(&self, counting: Counting) -> Option<Usage> {
        let first = |counts: &[Count]| counts.iter().find_map(|count| count.0);
        let (input_details, output_details) = (
            [self.prompt_details, self.input_details],
            [self.completion_details, self.output_details],
        );
        let input_part = |part: fn(&Details) -> Count| first(&input_details.each_ref().map(part));
        let output_part = |part: fn(&Details) -> Count| first(&output_details.each_ref().map(part));
        let told = [output_part(|d| d.reasoning), output_part(|d| d.thinking), self.reasoning.0];
        let reasoning = told.into_iter().find_map(|count| count);
        let usage = Usage {
            input: self.input_total(counting),
            output: self.output_total(counting, reasoning),
            cache_read: input_part(|d| d.cached).or(first(&[
                self.cache_hit,
                self.cached,
                self.num_cached,
                self.cache_read,
            ])),
            cache_write: input_part(|d| d.cache_write).or(self.cache_creation.0),
            cache_write_long: input_part(|d| d.lifetimes.long),
            reasoning,
            input_audio: input_part(|d| d.audio),
            input_image: input_part(|d| d.image),
            input_video: input_part(|d| d.video),
            output_audio: output_part(|d| d.audio),
            output_image: output_part(|d| d.image),
            is_uneven: !counting.all_input && self.is_uneven(reasoning),
            units: self.units(),
            ..Usage::default()
        };
        (usage.input.is_some() || usage.output.is_some()).then_some(usage)
    }

    fn input_total(&self, counting: Counting) -> Option<u64> {
        let apart = [self.cache_creation, self.cache_read];
        let apart = apart.iter().filter_map(|count| count.0).fold(0, u64::saturating_add);
        let anthropic = self.input.0.map(|input| input.saturating_add(apart));
        let total = self.total.0.filter(|_| counting.all_input);
        let citations = self.citations.0.unwrap_or(0);
        self.prompt.0.map(|prompt| prompt.saturating_add(citations)).or(anthropic).or(total)
    }

    /// The total is none of the sums that providers make of it.
    fn is_uneven(&self, reasoning: Option<u64>) -> bool {
        let input = self.prompt.0.or(self.input.0);
        let output = self.completion.0.or(self.output.0);
        let Some(((input, output), total)) = input.zip(output).zip(self.total.0) else {
            return false;
        };
        let sum = input.saturating_add(output);
        // Some count these beside.
        let beside = [reasoning, self.citations.0, self.cache_read.0, self.cache_creation.0];
        let most = beside.iter().flatten().fold(sum, |sum, &part| sum.saturating_add(part));
        !(sum..=most).contains(&total)
    }

    /// Most count reasoning within the output. xAI's chat and Perplexity count it beside: the total
    /// says so, or that it is more than the output.
    fn output_total(&self, counting: Counting, reasoning: Option<u64>) -> Option<u64> {
        let output = self.completion.0.or(self.output.0).filter(|_| !counting.all_input)?;
        let both = output.saturating_add(reasoning.unwrap_or(0));
        let sum = self.prompt.0.map(|prompt| prompt.saturating_add(both));
        let is_apart = reasoning > Some(output) || (sum.is_some() && self.total.0 == sum);
        Some(if is_apart { both } else { output })
    }

    /// Lays a later report over this one, count by count.
    pub fn merge(&mut self, later: &Self) {
        let put = |count: &mut Count, later: Count| count.0 = later.0.or(count.0);
        put(&mut self.prompt, later.prompt);
        put(&mut self.completion, later.completion);
        put(&mut self.total, later.total);
        put(&mut self.input, later.input);
        put(&mut self.output, later.output);
        put(&mut self.cache_creation, later.cache_creation);
        put(&mut self.cache_read, later.cache_read);
        put(&mut self.cache_hit, later.cache_hit);
        put(&mut self.cached, later.cached);
        put(&mut self.num_cached, later.num_cached);
        self.merge_extras(later);
        for (details, later) in [
            (&mut self.prompt_details, later.prompt_details),
            (&mut self.completion_details, later.completion_details),
            (&mut self.input_details, later.input_details),
            (&mut self.output_details, later.output_details),
        ] {
            put(&mut details.cached, later.cached);
            put(&mut details.cache_write, later.cache_write);
            put(&mut details.audio, later.audio);
            put(&mut details.image, later.image);
            put(&mut details.video, later.video);
            put(&mut details.reasoning, later.reasoning);
            put(&mut details.thinking, later.thinking);
            put(&mut details.lifetimes.long, later.lifetimes.long);
        }
    }
}

/// What both say together; what neither says is unknown.
pub fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.zip(other).map(|(one, other)| one.saturating_add(other)).or(one).or(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::shapes::lenient::read;

    fn tokens(json: &str) -> Tokens {
        let mut tokens = Tokens::default();
        read(json.as_bytes(), &mut tokens).unwrap();
        tokens
    }

    fn usage(json: &str) -> Usage {
        tokens(json).usage(Counting::default()).unwrap()
    }

    #[test]
    fn openai_counts_parts_within_their_totals() {
        let found = usage(
            r#"{"prompt_tokens":1200,"completion_tokens":310,"total_tokens":1510,
            "prompt_tokens_details":{"cached_tokens":1024,"cache_write_tokens":7,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":256,"audio_tokens":3}}"#,
        );
        let expected = Usage {
            input: Some(1200),
            output: Some(310),
            cache_read: Some(1024),
            cache_write: Some(7),
            reasoning: Some(256),
            input_audio: Some(0),
            output_audio: Some(3),
            ..Usage::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn anthropic_counts_its_cache_beside_the_input() {
        let mut merged = tokens(
            r#"{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":100,"output_tokens":1}"#,
        );
        merged.merge(&tokens(r#"{"output_tokens":42,"input_tokens":null}"#));
        let found = merged.usage(Counting::default()).unwrap();
        assert_eq!((found.input, found.output), (Some(115), Some(42)));
        assert_eq!((found.cache_read, found.cache_write), (Some(100), Some(5)));
    }

    #[test]
    fn the_responses_names_are_read_and_nothing_is_added() {
        let found = usage(
            r#"{"input_tokens":5230,"input_tokens_details":{"cached_tokens":4096,"cache_write_tokens":512,
            "cache_write_tokens_details":{"ttl_30m_tokens":500,"ttl_12h_tokens":12}},
            "output_tokens":410,"output_tokens_details":{"reasoning_tokens":320},"total_tokens":5640}"#,
        );
        assert_eq!((found.input, found.output), (Some(5230), Some(410)));
        assert_eq!((found.cache_read, found.reasoning), (Some(4096), Some(320)));
        assert_eq!((found.cache_write, found.cache_write_long), (Some(512), Some(12)));
    }

    #[test]
    fn caches_are_found_where_each_provider_puts_them() {
        for key in [
            "prompt_cache_hit_tokens",
            "cached_tokens",
            "num_cached_tokens",
            "cache_read_input_tokens",
        ] {
            let found = usage(&format!(r#"{{"prompt_tokens":9,"completion_tokens":1,"{key}":4}}"#));
            assert_eq!((found.input, found.cache_read), (Some(9), Some(4)), "{key}");
        }
    }

    #[test]
    fn reasoning_beside_the_output_is_added_to_it() {
        let output = |completion: u64, reasoning: u64, total: u64| {
            usage(&format!(
                r#"{{"prompt_tokens":12,"completion_tokens":{completion},"total_tokens":{total},
                "completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}"#
            ))
            .output
        };
        assert_eq!(output(2, 340, 354), Some(342));
        assert_eq!(output(400, 340, 412), Some(400), "the total says within");
        assert_eq!(output(400, 340, 752), Some(740), "the total says beside");
        assert_eq!(output(498, 95_305, 510), Some(95_803), "it cannot be within");
    }

    #[test]
    fn what_was_found_and_read_is_input() {
        let found = usage(
            r#"{"prompt_tokens":19,"completion_tokens":498,"total_tokens":517,"citation_tokens":10175,
            "num_search_queries":48,"reasoning_tokens":95305}"#,
        );
        assert_eq!((found.input, found.output), (Some(10_194), Some(95_803)));
        assert_eq!((found.reasoning, found.units.web_searches), (Some(95_305), Some(48)));
    }

    #[test]
    fn embeddings_may_tell_only_a_total() {
        let all_input = Counting { all_input: true };
        let found = tokens(r#"{"total_tokens":8}"#).usage(all_input).unwrap();
        assert_eq!((found.input, found.output), (Some(8), None));
        assert_eq!(tokens(r#"{"total_tokens":8}"#).usage(Counting::default()), None);
        assert_eq!(tokens("{}").usage(all_input), None);
    }

    #[test]
    fn pictures_and_moving_ones_are_parts_too() {
        let found = usage(
            r#"{"prompt_tokens":90,"completion_tokens":30,
            "prompt_tokens_details":{"image_tokens":20,"video_tokens":40},
            "completion_tokens_details":{"image_tokens":10}}"#,
        );
        let told = (found.input_image, found.input_video, found.output_image);
        assert_eq!(told, (Some(20), Some(40), Some(10)));
        assert_eq!(usage(r#"{"completion_tokens":3}"#).output, Some(3), "of the output alone");
    }

    #[test]
    fn reasoning_is_within_the_output_unless_something_says_that_it_is_not() {
        let output = |json| usage(json).output;
        let all =
            r#"{"completion_tokens":340,"completion_tokens_details":{"reasoning_tokens":340}}"#;
        assert_eq!(output(all), Some(340));
        let other = r#"{"prompt_tokens":12,"completion_tokens":2,"total_tokens":15}"#;
        assert_eq!(output(other), Some(2), "no reasoning was told");
    }

    #[test]
    fn a_total_that_is_no_sum_of_its_parts_is_uneven() {
        for (json, uneven) in [
            (r#"{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14}"#, false),
            (r#"{"prompt_tokens":12,"completion_tokens":2,"total_tokens":15}"#, true),
            (r#"{"prompt_tokens":12,"completion_tokens":2,"total_tokens":13}"#, true),
            (r#"{"input_tokens":12,"output_tokens":2,"total_tokens":15}"#, true),
            (r#"{"input_tokens":12,"output_tokens":2,"total_tokens":14}"#, false),
            (
                r#"{"prompt_tokens":12,"completion_tokens":2,"reasoning_tokens":3,"total_tokens":17}"#,
                false,
            ),
            (
                r#"{"prompt_tokens":12,"completion_tokens":2,"citation_tokens":3,"total_tokens":17}"#,
                false,
            ),
            (
                r#"{"input_tokens":12,"output_tokens":2,"cache_read_input_tokens":3,"total_tokens":17}"#,
                false,
            ),
            (
                r#"{"input_tokens":12,"output_tokens":2,"cache_read_input_tokens":3,"total_tokens":18}"#,
                true,
            ),
            (r#"{"prompt_tokens":12,"completion_tokens":2}"#, false),
        ] {
            assert_eq!(usage(json).is_uneven, uneven, "{json}");
        }
        let all_input = Counting { all_input: true };
        let embedded = tokens(r#"{"prompt_tokens":8,"completion_tokens":0,"total_tokens":9}"#);
        assert!(!embedded.usage(all_input).unwrap().is_uneven);
    }

    #[test]
    fn a_later_report_lies_over_an_earlier_one_count_by_count() {
        let details = r#"{"cached_tokens":2,"cache_write_tokens":3,"audio_tokens":4,"image_tokens":5,
            "video_tokens":6,"cache_write_tokens_details":{"ttl_12h_tokens":1}}"#;
        let made = r#"{"reasoning_tokens":2,"audio_tokens":3,"image_tokens":4}"#;
        for json in [
            &format!(
                r#"{{"prompt_tokens":100,"completion_tokens":50,"total_tokens":151,
                "prompt_tokens_details":{details},"completion_tokens_details":{made}}}"#
            ),
            &format!(
                r#"{{"input_tokens":100,"output_tokens":50,"total_tokens":150,
                "input_tokens_details":{details},"output_tokens_details":{made}}}"#
            ),
            r#"{"output_tokens":9,"output_tokens_details":{"thinking_tokens":4}}"#,
            r#"{"input_tokens":9,"cache_creation_input_tokens":4,"cache_read_input_tokens":5}"#,
            r#"{"prompt_tokens":9,"prompt_cache_hit_tokens":4}"#,
            r#"{"prompt_tokens":9,"cached_tokens":4}"#,
            r#"{"prompt_tokens":9,"num_cached_tokens":4}"#,
            r#"{"prompt_tokens":9,"citation_tokens":4,"reasoning_tokens":5,"num_search_queries":6}"#,
            r#"{"prompt_tokens":9,"server_tool_use_details":{"web_search_requests":2}}"#,
            r#"{"prompt_tokens":9,"server_tool_use":{"web_search_requests":2}}"#,
            r#"{"prompt_tokens":9,"server_side_tool_usage_details":{"x_search_calls":1}}"#,
            r#"{"prompt_tokens":9,"prompt_audio_seconds":7.5}"#,
            r#"{"prompt_tokens":9,"cost_in_usd_ticks":4890000}"#,
            r#"{"prompt_tokens":9,"cost":0.1,"is_byok":true,"cost_details":{"upstream_inference_cost":0.02}}"#,
        ] {
            let whole = tokens(json);
            let told =
                |tokens: &Tokens| (tokens.usage(Counting::default()), tokens.reported_cost());
            let mut later = Tokens::default();
            later.merge(&whole);
            assert_eq!(told(&later), told(&whole), "laid over nothing: {json}");
            later.merge(&Tokens::default());
            assert_eq!(told(&later), told(&whole), "nothing laid over it: {json}");
        }
    }
}
