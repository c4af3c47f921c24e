//! The standard variables that choose conventions, or what of a message is told: none of them changes
//! anything here, and a value that asks for more than there is, is a warning. Knows no `proxy.toml`.
//! <https://opentelemetry.io/docs/specs/semconv/gen-ai/>

use super::variables::{Reader, entries};

/// Variables that are read here.
pub(super) const READ: [&str; 3] = [OPT_IN, CAPTURE, METHODS];
/// Beginnings of such that change what other instrumentations tell.
pub(super) const TOUCHING: [&str; 3] =
    ["OTEL_SEMCONV_", "OTEL_INSTRUMENTATION_GENAI_", "OTEL_INSTRUMENTATION_HTTP_"];

const OPT_IN: &str = "OTEL_SEMCONV_STABILITY_OPT_IN";
const CAPTURE: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
const METHODS: &str = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS";
/// What is told in any case.
const OPTED: [&str; 2] = ["http", "gen_ai_latest_experimental"];
/// Groups of conventions of which nothing is told.
const UNTOLD: [&str; 6] = ["code", "database", "k8s", "messaging", "rpc", "service.peer"];

/// Warns of what they ask for and do not get.
pub(super) fn warn(reader: &mut Reader<'_>) {
    for word in reader.text(OPT_IN).into_iter().flat_map(entries) {
        let group = word.strip_suffix("/dup").unwrap_or(word).to_ascii_lowercase();
        let why = match word.len() == group.len() {
            _ if UNTOLD.contains(&group.as_str()) => continue,
            true if OPTED.contains(&group.as_str()) => continue,
            true => format!("`{word}` is not known here; names are those of 1.41"),
            false => format!("`{word}`: names are those of 1.41, and no older ones beside them"),
        };
        reader.ignored(OPT_IN, &why);
    }
    let capture = [
        ("false", false),
        ("no_content", false),
        ("true", true),
        ("span_only", true),
        ("event_only", true),
        ("span_and_event", true),
    ];
    if reader.word(CAPTURE, &capture) == Some(true) {
        reader.ignored(CAPTURE, "prompts and answers are never told");
    }
    if reader.text(METHODS).is_some() {
        let why = "methods are those of RFC 9110 and PATCH; any other is told as `_OTHER`, and as it \
                   was sent beside that";
        reader.ignored(METHODS, why);
    }
}
