//! Worked costs: calls of many providers, each with its arithmetic written out, held against `clearspan prices`
//! and against the library, to the nano-dollar. Knows no table. The numbers are those of two price lists
//! that name the providers' pages, genai-prices 0.2.3 and litellm 1.109.1; they agree where both have one,
//! but for Mistral's (`overlay.json` says why), and some rows are in one of them only.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clearspan::observe::observation::{Units, Usage};
use clearspan::observe::price::{Call, Prices, Who};

/// 2026-11-21 12:00 UTC.
const NOW: u64 = 1_795_262_400;

/// For how many a price is.
const MILLION: u64 = 1_000_000;
const THOUSAND: u64 = 1_000;
const PIECE: u64 = 1;

const OPENAI: &str = "developers.openai.com/api/docs/pricing";
const CLAUDE: &str = "platform.claude.com/docs/en/about-claude/pricing";
const GEMINI: &str = "ai.google.dev/gemini-api/docs/pricing";

/// A call and what it costs.
struct Worked {
    /// The price page.
    page: &'static str,
    provider: &'static str,
    model: &'static str,
    /// The service tier that answered; empty: none is told.
    tier: &'static str,
    /// What was used, in the words of `clearspan prices`.
    used: &'static str,
    /// The page's arithmetic: how many, at so many USD, for how many that is.
    sum: &'static [(u64, &'static str, u64)],
    /// What it comes to, in nano-dollars.
    nanos: u64,
    /// What that leaves out.
    left_out: &'static [&'static str],
}

const NOTHING: Worked = Worked {
    page: "",
    provider: "",
    model: "",
    tier: "",
    used: "",
    sum: &[],
    nanos: 0,
    left_out: &[],
};
const OF_OPENAI: Worked = Worked { page: OPENAI, provider: "openai", ..NOTHING };
const OF_ANTHROPIC: Worked = Worked { page: CLAUDE, provider: "anthropic", ..NOTHING };
const OF_GOOGLE: Worked = Worked { page: GEMINI, provider: "gemini", ..NOTHING };

const WORKED: [Worked; 31] = [
    Worked {
        model: "gpt-4o-mini",
        used: "--input 1200 --cached 1024 --output 310",
        sum: &[(176, "0.15", MILLION), (1_024, "0.075", MILLION), (310, "0.6", MILLION)],
        nanos: 289_200,
        ..OF_OPENAI
    },
    Worked {
        model: "gpt-4o-mini",
        tier: "batch",
        used: "--input 1001 --output 333",
        sum: &[(1_001, "0.075", MILLION), (333, "0.3", MILLION)],
        nanos: 174_975,
        ..OF_OPENAI
    },
    Worked {
        model: "gpt-5",
        tier: "flex",
        used: "--input 1000 --cached 400 --output 700 --reasoning 640",
        sum: &[(600, "0.625", MILLION), (400, "0.0625", MILLION), (700, "5", MILLION)],
        nanos: 3_900_000,
        ..OF_OPENAI
    },
    // Priority is twice the price, but not for all: o3's is 1.75 times.
    Worked {
        model: "gpt-5",
        tier: "priority",
        used: "--input 1000 --cached 400 --output 700",
        sum: &[(600, "2.5", MILLION), (400, "0.25", MILLION), (700, "20", MILLION)],
        nanos: 15_600_000,
        ..OF_OPENAI
    },
    Worked {
        model: "o3",
        tier: "priority",
        used: "--input 1000 --cached 400 --output 700",
        sum: &[(600, "3.5", MILLION), (400, "0.875", MILLION), (700, "14", MILLION)],
        nanos: 12_250_000,
        ..OF_OPENAI
    },
    // At 272 000 the short prices still hold; one token more, and the whole request costs more.
    Worked {
        model: "gpt-5.4",
        used: "--input 272000 --output 10",
        sum: &[(272_000, "2.5", MILLION), (10, "15", MILLION)],
        nanos: 680_150_000,
        ..OF_OPENAI
    },
    Worked {
        model: "gpt-5.4",
        used: "--input 272001 --cached 272000 --output 10",
        sum: &[(1, "5", MILLION), (272_000, "0.5", MILLION), (10, "22.5", MILLION)],
        nanos: 136_230_000,
        ..OF_OPENAI
    },
    Worked {
        model: "gpt-5.4",
        tier: "flex",
        used: "--input 300000 --output 1000",
        sum: &[(300_000, "2.5", MILLION), (1_000, "11.25", MILLION)],
        nanos: 761_250_000,
        ..OF_OPENAI
    },
    // Written for half an hour at $5, for twelve hours at $10.
    Worked {
        model: "gpt-5.6-sol",
        used: "--input 1000 --cached 600 --cache-write 300 --cache-write-12h 100 --output 50",
        sum: &[
            (100, "4", MILLION),
            (600, "0.4", MILLION),
            (200, "5", MILLION),
            (100, "10", MILLION),
            (50, "20", MILLION),
        ],
        nanos: 3_640_000,
        ..OF_OPENAI
    },
    Worked {
        model: "gpt-5.6-sol",
        tier: "priority",
        used: "--input 300000 --output 100",
        sum: &[(300_000, "16", MILLION), (100, "60", MILLION)],
        nanos: 4_806_000_000,
        ..OF_OPENAI
    },
    Worked {
        model: "gpt-audio",
        used: "--input 120 --input-audio 100 --output 80 --output-audio 60",
        sum: &[
            (20, "2.5", MILLION),
            (100, "32", MILLION),
            (20, "10", MILLION),
            (60, "64", MILLION),
        ],
        nanos: 7_290_000,
        ..OF_OPENAI
    },
    Worked {
        model: "text-embedding-3-small",
        tier: "batch",
        used: "--input 12345",
        sum: &[(12_345, "0.01", MILLION)],
        nanos: 123_450,
        ..OF_OPENAI
    },
    Worked {
        model: "ft:gpt-4.1-mini-2025-04-14:acme::a1B2",
        used: "--input 1000 --cached 400 --output 100",
        sum: &[(600, "0.8", MILLION), (400, "0.2", MILLION), (100, "3.2", MILLION)],
        nanos: 880_000,
        ..OF_OPENAI
    },
    Worked {
        model: "gpt-5",
        used: "--input 100 --output 10 --web-searches 3 --file-searches 2",
        sum: &[
            (100, "1.25", MILLION),
            (10, "10", MILLION),
            (3, "10", THOUSAND),
            (2, "2.5", THOUSAND),
        ],
        nanos: 35_225_000,
        ..OF_OPENAI
    },
    // The smallest container: larger ones cost more, and which it was is not told.
    Worked {
        model: "gpt-5",
        used: "--input 100 --output 10 --code-sessions 1",
        sum: &[(100, "1.25", MILLION), (10, "10", MILLION), (1, "0.03", PIECE)],
        nanos: 30_225_000,
        left_out: &["code_session"],
        ..OF_OPENAI
    },
    // $0.006 a minute: $0.0001 a second.
    Worked {
        model: "whisper-1",
        used: "--input-seconds 95.5",
        sum: &[(955, "0.00001", PIECE)],
        nanos: 9_550_000,
        ..OF_OPENAI
    },
    Worked {
        model: "tts-1",
        used: "--characters 1234",
        sum: &[(1_234, "15", MILLION)],
        nanos: 18_510_000,
        ..OF_OPENAI
    },
    Worked {
        model: "gpt-image-1.5",
        tier: "batch",
        used: "--input 350 --input-image 300 --output 4160 --output-image 4000 --images 1",
        sum: &[
            (50, "2.5", MILLION),
            (300, "4", MILLION),
            (160, "5", MILLION),
            (4_000, "16", MILLION),
        ],
        nanos: 66_125_000,
        ..OF_OPENAI
    },
    Worked {
        model: "claude-sonnet-4-6",
        used: "--input 2000 --cached 1000 --cache-write 500 --cache-write-1h 200 --output 300",
        sum: &[
            (500, "3", MILLION),
            (1_000, "0.3", MILLION),
            (300, "3.75", MILLION),
            (200, "6", MILLION),
            (300, "15", MILLION),
        ],
        nanos: 8_625_000,
        ..OF_ANTHROPIC
    },
    Worked {
        model: "claude-haiku-4-5",
        tier: "batch",
        used: "--input 1000 --cached 600 --output 100",
        sum: &[(400, "0.5", MILLION), (600, "0.05", MILLION), (100, "2.5", MILLION)],
        nanos: 480_000,
        ..OF_ANTHROPIC
    },
    Worked {
        model: "claude-opus-4-6",
        used: "--input 1000 --output 100 --web-searches 2",
        sum: &[(1_000, "5", MILLION), (100, "25", MILLION), (2, "10", THOUSAND)],
        nanos: 27_500_000,
        ..OF_ANTHROPIC
    },
    Worked {
        model: "gemini-2.5-pro",
        used: "--input 200000 --cached 1000 --output 100",
        sum: &[(199_000, "1.25", MILLION), (1_000, "0.125", MILLION), (100, "10", MILLION)],
        nanos: 249_875_000,
        ..OF_GOOGLE
    },
    Worked {
        model: "gemini-2.5-pro",
        used: "--input 200001 --cached 1000 --output 100",
        sum: &[(199_001, "2.5", MILLION), (1_000, "0.25", MILLION), (100, "15", MILLION)],
        nanos: 499_252_500,
        ..OF_GOOGLE
    },
    Worked {
        model: "gemini-2.5-flash",
        used: "--input 1000 --input-audio 300 --cached 200 --cached-audio 100 --output 100",
        sum: &[
            (600, "0.3", MILLION),
            (200, "1", MILLION),
            (100, "0.03", MILLION),
            (100, "0.1", MILLION),
            (100, "2.5", MILLION),
        ],
        nanos: 643_000,
        ..OF_GOOGLE
    },
    // Up to 2.5 a prompt that is searched for costs $0.035, whatever it asks; later ones $0.014 a search.
    Worked {
        model: "gemini-2.5-pro",
        used: "--input 100 --output 10 --web-searches 3",
        sum: &[(100, "1.25", MILLION), (10, "10", MILLION), (1, "35", THOUSAND)],
        nanos: 35_225_000,
        ..OF_GOOGLE
    },
    Worked {
        model: "gemini-3-flash-preview",
        used: "--input 100 --output 10 --web-searches 3",
        sum: &[(100, "0.5", MILLION), (10, "3", MILLION), (3, "14", THOUSAND)],
        nanos: 42_080_000,
        ..OF_GOOGLE
    },
    Worked {
        page: "docs.x.ai/developers/pricing",
        provider: "xai",
        model: "grok-4.3",
        used: "--input 250000 --cached 50000 --output 1000 --reasoning 900",
        sum: &[(200_000, "2.5", MILLION), (50_000, "0.4", MILLION), (1_000, "5", MILLION)],
        nanos: 525_000_000,
        ..NOTHING
    },
    // $0.04 an hour, ten seconds at the least.
    Worked {
        page: "groq.com/pricing",
        provider: "groq",
        model: "whisper-large-v3-turbo",
        used: "--input-seconds 90",
        sum: &[(90, "0.04", 3_600)],
        nanos: 1_000_000,
        ..NOTHING
    },
    Worked {
        page: "docs.mistral.ai/models/mistral-large-3-25-12",
        provider: "mistral",
        model: "mistral-large-latest",
        used: "--input 1000 --cached 200 --output 100",
        sum: &[(800, "0.5", MILLION), (200, "0.05", MILLION), (100, "1.5", MILLION)],
        nanos: 560_000,
        ..NOTHING
    },
    // With the smallest of three search contexts: which it was is not told.
    Worked {
        page: "docs.perplexity.ai/getting-started/pricing",
        provider: "perplexity",
        model: "sonar-pro",
        used: "--input 17 --output 6",
        sum: &[(17, "3", MILLION), (6, "15", MILLION), (1, "6", THOUSAND)],
        nanos: 6_141_000,
        left_out: &["request"],
        ..NOTHING
    },
    // 19 tokens asked and 10 175 of what was read; 498 said after 95 305 of reasoning; 48 searches.
    Worked {
        page: "docs.perplexity.ai/getting-started/pricing",
        provider: "perplexity",
        model: "sonar-deep-research",
        used: "--input 10194 --output 95803 --reasoning 95305 --web-searches 48",
        sum: &[
            (10_194, "2", MILLION),
            (498, "8", MILLION),
            (95_305, "3", MILLION),
            (48, "5", THOUSAND),
        ],
        nanos: 550_287_000,
        left_out: &["citation"],
        ..NOTHING
    },
];

/// A decimal number of dollars in nano-dollars.
fn nanos(usd: &str) -> u64 {
    let (whole, fraction) = usd.split_once('.').unwrap_or((usd, ""));
    format!("{whole}{fraction:0<9}").parse().unwrap()
}

impl Worked {
    /// The arithmetic, each line rounded half up.
    fn sum(&self) -> u64 {
        self.sum.iter().map(|(count, usd, per)| (count * nanos(usd) + per / 2) / per).sum()
    }

    fn arithmetic(&self) -> String {
        let short = |per| match per {
            MILLION => "/M".to_owned(),
            THOUSAND => "/k".to_owned(),
            PIECE => String::new(),
            per => format!("/{per}"),
        };
        let line = |(count, usd, per): &(u64, &str, u64)| format!("{count}×${usd}{}", short(*per));
        self.sum.iter().map(line).collect::<Vec<_>>().join(" + ")
    }

    /// Total and what it leaves out, as the program prints them.
    fn printed(&self) -> (u64, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clearspan"));
        command.current_dir(std::env::temp_dir()).env_clear();
        command.args(["prices", self.model, "--provider", self.provider]);
        if !self.tier.is_empty() {
            command.args(["--tier", self.tier]);
        }
        let output = command.args(self.used.split(' ')).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let after = |start: &str| text.lines().find_map(|line| line.trim().strip_prefix(start));
        let total = after("total").unwrap_or_else(|| panic!("{}: {text}", self.model));
        let left_out = after("at least so much; not priced in full: ").unwrap_or_default();
        (nanos(total.split_whitespace().next().unwrap()), left_out.to_owned())
    }

    /// The counts that `used` writes out.
    fn usage(&self) -> Usage {
        let words: Vec<_> = self.used.split(' ').collect();
        let told = |name: &str| words.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1]);
        let count = |name: &str| told(name).map(|count| count.parse().unwrap());
        let time = |name: &str| told(name).map(|it| Duration::from_secs_f64(it.parse().unwrap()));
        let tokens = told("--input").is_some();
        Usage {
            input: count("--input"),
            output: count("--output").or(tokens.then_some(0)),
            cache_read: count("--cached"),
            cache_write: count("--cache-write"),
            cache_write_long: count("--cache-write-1h").or(count("--cache-write-12h")),
            reasoning: count("--reasoning"),
            input_audio: count("--input-audio"),
            input_image: count("--input-image"),
            output_audio: count("--output-audio"),
            output_image: count("--output-image"),
            cache_read_audio: count("--cached-audio"),
            units: Units {
                web_searches: count("--web-searches"),
                file_searches: count("--file-searches"),
                code_sessions: count("--code-sessions"),
                images: count("--images"),
                characters: count("--characters"),
                input_audio_time: time("--input-seconds"),
                ..Units::default()
            },
            ..Usage::default()
        }
    }

    /// Total and what it leaves out for this usage, as the library says.
    fn computed(&self, usage: Usage) -> (u64, String) {
        let call = Call {
            who: Who::Named(self.provider),
            answered: Some(self.model),
            asked: None,
            tier: Some(self.tier).filter(|tier| !tier.is_empty()),
            place: None,
            usage: Some(usage),
            at: UNIX_EPOCH + Duration::from_secs(NOW),
            worked: None,
        };
        let cost = Prices::embedded().explain(&call).cost.unwrap();
        (cost.total.0, cost.unpriced.join(", "))
    }
}

#[test]
fn calls_cost_what_the_price_pages_arithmetic_comes_to() {
    // Prices have days; the program asks the clock.
    assert!(SystemTime::now() > UNIX_EPOCH + Duration::from_secs(NOW - 86_400));
    for worked in &WORKED {
        let Worked { page, provider, model, tier, used, nanos, .. } = worked;
        let expected = (*nanos, worked.left_out.join(", "));
        let (printed, computed) = (worked.printed(), worked.computed(worked.usage()));
        println!(
            "{provider} {model} {tier} | {used} | {} = {nanos} | prices {}, library {} | {page}",
            worked.arithmetic(),
            printed.0,
            computed.0
        );
        assert_eq!(worked.sum(), *nanos, "{model} {tier} {used}");
        assert_eq!(computed, expected, "library: {model} {tier} {used}");
        assert_eq!(printed, expected, "prices: {model} {tier} {used}");
    }
}

/// What calls cost by the providers' own account: who, the model, input, of it cached, output, nano-dollars.
/// Each was told beside the counts in a real answer: by `usage.cost` (OpenRouter), `cost_in_usd_ticks` (xAI),
/// or a gateway's estimate.
const TOLD: [(&str, &str, u64, u64, u64, u64); 10] = [
    ("openai", "gpt-5-2025-08-07", 13, 0, 11, 126_250),
    ("openrouter", "openai/gpt-5-mini-2025-08-07", 73, 0, 162, 342_250),
    ("openrouter", "anthropic/claude-4.5-haiku-20251001", 625, 0, 152, 1_385_000),
    ("openrouter", "anthropic/claude-haiku-4.5", 626, 0, 106, 1_156_000),
    // Of OpenRouter too, at the makers' own prices.
    ("xai", "grok-4", 687, 679, 187, 3_338_250),
    ("openai", "text-embedding-3-small", 7, 0, 0, 140),
    ("xai", "grok-4.3", 478, 320, 91, 489_000),
    ("xai", "grok-4.3", 235, 128, 2_525, 6_471_850),
    ("xai", "grok-4.3", 595, 384, 106, 605_550),
    ("xai", "grok-4.3", 470, 192, 81, 588_400),
];

#[test]
fn calls_cost_what_their_providers_said_that_they_cost() {
    for (provider, model, input, cached, output, nanos) in TOLD {
        let worked = Worked { provider, model, ..NOTHING };
        let usage = Usage {
            input: Some(input),
            cache_read: Some(cached),
            output: Some(output),
            ..Usage::default()
        };
        assert_eq!(worked.computed(usage), (nanos, String::new()), "{provider} {model}");
    }
}
