//! Properties that hold for any bytes, by name. Each stands beside what it is about; `tests/fuzz`
//! calls them for hours, and `cargo test` for seconds. Compiled for those two alone; knows no parser.

/// An input, piece by piece.
pub(crate) mod input;
/// A tape that an input writes, through all of the cold path.
mod tape;
/// Every property on its corpus and what is made of it.
#[cfg(test)]
mod corpus;

use crate::observe::decode::{elements, encoding, json, multipart, ndjson, sse, websocket};
use crate::observe::price;
use crate::{config, forward};

/// Panics where it finds itself broken.
pub type Property = fn(&[u8]);

/// Each has a line here, a line in `tests/fuzz/Cargo.toml` and a folder in `tests/fuzz/corpus`.
pub const TARGETS: &[(&str, Property)] = &[
    ("sse", sse::fuzz),
    ("ndjson", ndjson::fuzz),
    ("elements", elements::fuzz),
    ("json", json::fuzz),
    ("multipart", multipart::fuzz),
    ("encoding", encoding::fuzz),
    ("websocket", websocket::fuzz),
    ("openai", |input| tape::spoken("openai", input)),
    ("anthropic", |input| tape::spoken("anthropic", input)),
    ("ollama", |input| tape::spoken("ollama", input)),
    ("gemini", |input| tape::spoken("gemini", input)),
    ("cohere", |input| tape::spoken("cohere", input)),
    // Spoken on paths of its own, wherever OpenAI's format is.
    ("llamacpp", |input| tape::spoken("openai", input)),
    ("unknown", |input| tape::spoken("unknown", input)),
    ("tape", tape::fuzz),
    ("config", config::fuzz::load_text),
    ("routing", forward::fuzz::route),
    ("headers", forward::fuzz::fields),
    ("ask_request", forward::fuzz::request),
    ("ask_answer", forward::fuzz::answer),
    ("price", price::fuzz::table),
    ("overrides", price::fuzz::own),
];

/// Runs the property of this name.
pub fn run(name: &str, input: &[u8]) {
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    assert!(found.is_some(), "no property is called {name}");
    found.into_iter().for_each(|(_, property)| property(input));
}
