//! What Google counted, in the spellings of its three interfaces, and the one nesting it becomes: thoughts
//! stand beside the candidates, what tools brought beside the prompt, and a count of zero is left out.
//! Knows no answer around it.

use serde::de::SeqAccess;

use super::WORD;
use crate::observe::observation::{ResponseFacts, Units, Usage};
use crate::observe::shapes::lenient::{Count, Into, Lenient, Text, fields};
use crate::observe::shapes::tokens::sum;

fields! {
    /// `usageMetadata`, or an interaction's `usage`.
    pub(super) struct Counts {
        prompt: Count = "promptTokenCount" | "total_input_tokens",
        /// Part of the prompt.
        cached: Count = "cachedContentTokenCount" | "total_cached_tokens",
        candidates: Count = "candidatesTokenCount" | "responseTokenCount" | "total_output_tokens",
        thoughts: Count = "thoughtsTokenCount" | "total_thought_tokens",
        tool_use: Count = "toolUsePromptTokenCount" | "total_tool_use_tokens",
        total: Count = "totalTokenCount" | "total_tokens",
        prompt_parts: Parts = "promptTokensDetails" | "promptTokenDetails" | "input_tokens_by_modality",
        tool_use_parts: Parts = "toolUsePromptTokensDetails" | "tool_use_tokens_by_modality",
        cached_parts: Parts = "cacheTokensDetails" | "cached_tokens_by_modality",
        candidates_parts: Parts = "candidatesTokensDetails" | "responseTokensDetails" | "output_tokens_by_modality",
        searches: Searches = "grounding_tool_count",
        tier: Tier = "serviceTier" | "trafficType",
    }
}

/// What of some tokens is not text, where that is told. A document's pages are pictures: they are called
/// so once they are cached, and priced so (genai-prices 0.2.3, `google`: `DOCUMENT` is image tokens).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// All that is named, text with it.
    all: Option<u64>,
    audio: Option<u64>,
    image: Option<u64>,
    video: Option<u64>,
}

fields! {
    struct Part<'de> {
        modality: Text<'de> = "modality",
        tokens: Count = "tokenCount" | "tokens",
    }
}

impl<'de> Lenient<'de> for Parts {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut part = Part::default();
            if list.next_element_seed(Into(&mut part))?.is_none() {
                return Ok(());
            }
            let told = Some(part.tokens.0.unwrap_or(0));
            self.all = sum(self.all, told);
            let tokens = match part.modality.as_str() {
                "AUDIO" | "audio" => &mut self.audio,
                "IMAGE" | "image" | "DOCUMENT" | "document" => &mut self.image,
                "VIDEO" | "video" => &mut self.video,
                _ => continue,
            };
            *tokens = sum(*tokens, told);
        }
    }
}

/// Searches of the web, of all that grounded an interaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Searches(Option<u64>);

fields! {
    struct Grounding<'de> {
        kind: Text<'de> = "type",
        count: Count = "count",
    }
}

impl<'de> Lenient<'de> for Searches {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut grounding = Grounding::default();
            if list.next_element_seed(Into(&mut grounding))?.is_none() {
                return Ok(());
            }
            if grounding.kind.as_str() == "google_search" {
                self.0 = sum(self.0, grounding.count.0);
            }
        }
    }
}

/// What was bought, in the word that prices know it by.
#[derive(Debug, Default)]
pub(super) struct Tier(Option<String>);

impl Lenient<'_> for Tier {
    fn text(&mut self, text: &str) {
        let word = text[..text.floor_char_boundary(WORD)].to_ascii_lowercase();
        self.0 = match word.as_str() {
            "" | "unspecified" | "service_tier_unspecified" | "traffic_type_unspecified" => None,
            // Vertex's words for what the Gemini API calls so.
            "on_demand_priority" => Some("priority".to_owned()),
            "on_demand_flex" => Some("flex".to_owned()),
            _ => Some(word),
        };
    }
}

impl Tier {
    /// Tells it, where there is one.
    pub(super) fn tell(&self, facts: &mut ResponseFacts) {
        if self.0.is_some() && facts.service_tier != self.0 {
            facts.service_tier.clone_from(&self.0);
        }
    }
}

impl Parts {
    /// Both parts of one whole.
    fn with(self, more: Self) -> Self {
        Self {
            all: sum(self.all, more.all),
            audio: sum(self.audio, more.audio),
            image: sum(self.image, more.image),
            video: sum(self.video, more.video),
        }
    }

    /// Where what is named is all of `total`, what is not named is none.
    fn of(self, total: Option<u64>) -> Self {
        let rest = (self.all.is_some() && self.all == total).then_some(0);
        let Self { all, audio, image, video } = self;
        Self { all, audio: audio.or(rest), image: image.or(rest), video: video.or(rest) }
    }
}

impl Counts {
    /// Lays a later report over this one: each tells all up to then.
    pub(super) fn merge(&mut self, later: &Self) {
        let put = |count: &mut Count, later: Count| count.0 = later.0.or(count.0);
        put(&mut self.prompt, later.prompt);
        put(&mut self.cached, later.cached);
        put(&mut self.candidates, later.candidates);
        put(&mut self.thoughts, later.thoughts);
        put(&mut self.tool_use, later.tool_use);
        put(&mut self.total, later.total);
        for (parts, later) in [
            (&mut self.prompt_parts, later.prompt_parts),
            (&mut self.tool_use_parts, later.tool_use_parts),
            (&mut self.cached_parts, later.cached_parts),
            (&mut self.candidates_parts, later.candidates_parts),
        ] {
            if later != Parts::default() {
                *parts = later;
            }
        }
        self.searches.0 = later.searches.0.or(self.searches.0);
    }

    /// Tells what was bought, where that is told.
    pub(super) fn tell_tier(&self, facts: &mut ResponseFacts) {
        self.tier.tell(facts);
    }

    /// Input with what tools brought, output with thoughts; none where nothing was counted.
    pub(super) fn usage(&self) -> Option<Usage> {
        let input = sum(self.prompt.0, self.tool_use.0);
        let told = sum(self.candidates.0, self.thoughts.0);
        let left = || self.total.0?.checked_sub(input?);
        let parts = self.prompt_parts.with(self.tool_use_parts).of(input);
        let cached = self.cached_parts.of(self.cached.0);
        let made = self.candidates_parts.of(self.candidates.0);
        let usage = Usage {
            input,
            output: told.or_else(left),
            cache_read: self.cached.0,
            reasoning: self.thoughts.0,
            input_audio: parts.audio,
            input_image: parts.image,
            input_video: parts.video,
            cache_read_audio: within(cached.audio, parts.audio),
            cache_read_image: within(cached.image, parts.image),
            output_audio: made.audio,
            output_image: made.image,
            // Some of Google's interfaces leave thoughts, or what tools brought, out of the total.
            is_uneven: self.prompt.0.zip(self.candidates.0).zip(self.total.0).is_some_and(
                |((prompt, candidates), total)| {
                    let least = prompt.saturating_add(candidates);
                    let most = input.unwrap_or(0).saturating_add(told.unwrap_or(0));
                    !(least..=most).contains(&total)
                },
            ),
            units: Units { web_searches: self.searches.0, ..Units::default() },
            ..Usage::default()
        };
        (usage.input.is_some() || usage.output.is_some()).then_some(usage)
    }
}

/// What is no part of the whole is left out.
fn within(part: Option<u64>, whole: Option<u64>) -> Option<u64> {
    part.filter(|part| whole.is_some_and(|whole| *part <= whole))
}

/// Of an answer whose beginning was lost: a document that begins at `usageMetadata`. It can be read if
/// what follows closes one object.
pub(super) fn tail(body: &[u8]) -> Option<Vec<u8>> {
    // Within a text the quotes would have a backslash before them.
    let at = memchr::memmem::rfind(body, b"\"usageMetadata\"")?;
    Some([b"{", body.get(at..)?].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::shapes::lenient::read;

    fn counts(json: &str) -> Counts {
        let mut counts = Counts::default();
        read(json.as_bytes(), &mut counts).unwrap();
        counts
    }

    fn usage(json: &str) -> Usage {
        counts(json).usage().unwrap()
    }

    #[test]
    fn thoughts_and_what_tools_brought_are_added() {
        let found = usage(
            r#"{"promptTokenCount":900,"cachedContentTokenCount":512,"candidatesTokenCount":40,
            "thoughtsTokenCount":302,"toolUsePromptTokenCount":7,"totalTokenCount":1249}"#,
        );
        assert_eq!((found.input, found.output), (Some(907), Some(342)));
        assert_eq!((found.cache_read, found.reasoning), (Some(512), Some(302)));
    }

    #[test]
    fn a_count_of_zero_is_left_out() {
        let blocked = usage(r#"{"promptTokenCount":5,"totalTokenCount":5}"#);
        assert_eq!((blocked.input, blocked.output), (Some(5), Some(0)));
        let vectors = usage(r#"{"promptTokenCount":5}"#);
        assert_eq!((vectors.input, vectors.output), (Some(5), None));
        assert_eq!(usage(r#"{"promptTokenCount":5,"totalTokenCount":4}"#).output, None);
        assert_eq!(counts(r#"{"trafficType":"ON_DEMAND","totalTokenCount":4}"#).usage(), None);
        let audio = usage(r#"{"promptTokenCount":5,"promptTokensDetails":[{"modality":"AUDIO"}]}"#);
        assert_eq!((audio.input_audio, audio.input_image), (Some(0), None));
    }

    #[test]
    fn each_kind_of_token_is_told_apart() {
        let found = usage(
            r#"{"promptTokenCount":1000,"cachedContentTokenCount":90,"candidatesTokenCount":1300,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":10},{"modality":"IMAGE","tokenCount":258},
              {"modality":"AUDIO","tokenCount":32},{"modality":"VIDEO","tokenCount":700}],
            "toolUsePromptTokensDetails":[{"modality":"IMAGE","tokenCount":2}],
            "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":30},{"modality":"IMAGE","tokenCount":60}],
            "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290},{"modality":"AUDIO","tokenCount":1}]}"#,
        );
        let input = (found.input_image, found.input_audio, found.input_video);
        assert_eq!(input, (Some(260), Some(32), Some(700)));
        assert_eq!((found.cache_read_audio, found.cache_read_image), (Some(30), Some(60)));
        assert_eq!((found.output_image, found.output_audio), (Some(1290), Some(1)));
    }

    #[test]
    fn pages_of_a_document_are_pictures_cached_or_not() {
        let found = usage(
            r#"{"promptTokenCount":1344,"cachedContentTokenCount":1274,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":54},{"modality":"DOCUMENT","tokenCount":1290}],
            "cacheTokensDetails":[{"modality":"TEXT","tokenCount":51},{"modality":"IMAGE","tokenCount":1223}]}"#,
        );
        let pictures = (found.input_image, found.cache_read_image);
        assert_eq!((found.cache_read, pictures), (Some(1274), (Some(1290), Some(1223))));
    }

    #[test]
    fn what_is_not_named_is_none_where_all_is_named() {
        let list = r#"[{"modality":"TEXT","tokenCount":10}]"#;
        let of = |prompt: u64, made: u64| {
            usage(&format!(
                r#"{{"promptTokenCount":{prompt},"promptTokensDetails":{list},
                "candidatesTokenCount":{made},"candidatesTokensDetails":{list},"thoughtsTokenCount":3}}"#
            ))
        };
        let parts = |usage: Usage| [usage.input_audio, usage.input_image, usage.output_image];
        assert_eq!(parts(of(10, 10)), [Some(0); 3]);
        assert_eq!(parts(of(11, 12)), [None; 3], "some are not named");
        let tools = usage(&format!(
            r#"{{"promptTokenCount":10,"promptTokensDetails":{list},"toolUsePromptTokenCount":5}}"#
        ));
        assert_eq!(tools.input_image, None, "what tools brought may be pictures");
    }

    #[test]
    fn what_was_bought_is_told_in_the_words_of_prices() {
        let tier = |json: &str| {
            let mut facts = ResponseFacts::default();
            counts(json).tier.tell(&mut facts);
            facts.service_tier
        };
        for (json, expected) in [
            (r#"{"serviceTier":"standard"}"#, Some("standard")),
            (r#"{"trafficType":"ON_DEMAND"}"#, Some("on_demand")),
            (r#"{"trafficType":"ON_DEMAND_PRIORITY"}"#, Some("priority")),
            (r#"{"trafficType":"ON_DEMAND_FLEX"}"#, Some("flex")),
            (r#"{"trafficType":"ON_DEMAND_OFFPEAK"}"#, Some("on_demand_offpeak")),
            (r#"{"trafficType":"PROVISIONED_THROUGHPUT"}"#, Some("provisioned_throughput")),
            (r#"{"trafficType":"TRAFFIC_TYPE_UNSPECIFIED"}"#, None),
            ("{}", None),
        ] {
            assert_eq!(tier(json).as_deref(), expected, "{json}");
        }
    }
}
