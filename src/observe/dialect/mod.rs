//! Frames become facts: which call a path is, and what its bodies mean. Knows no bytes on the wire,
//! no time and no price.
//!
//! Adding a dialect: its file here, its line in `find`, its folder of fixtures.

/// OpenAI, and all who follow it.
pub mod openai;
/// Ollama's own routes.
pub mod ollama;
/// Anthropic's Messages.
pub mod anthropic;
/// Google's Gemini, and Vertex AI around it.
pub mod gemini;
/// Cohere's own routes.
pub mod cohere;
/// llama.cpp's own routes.
pub mod llamacpp;
/// Everything else.
pub mod unknown;
/// What answers tell.
#[cfg(test)]
mod told;

use std::fmt::Debug;

use crate::observe::Settings;
use crate::observe::decode::Frame;
use crate::observe::decode::body::Limits;
use crate::observe::observation::{Operation, RequestFacts, ResponseFacts};
use crate::observe::shapes::lenient::Unread;
use crate::observe::turns::Turns;
use crate::tape::Upstream;

/// The longest document that is read where no dialect knows it.
const SMALL: usize = 256 << 10;
/// The longest names in a path: of a model, of an answer.
const MODEL: usize = 256;
const ID: usize = 128;

/// How one call is read.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The path's name of low cardinality, where it is known.
    pub route: Option<&'static str>,
    /// What a model is asked for, if one is.
    pub operation: Option<Operation>,
    /// Reads the request's body; absent where nobody needs it.
    pub request: Option<ReadRequest>,
    /// Begins to read the answer.
    pub answer: fn(Context) -> Box<dyn Answer>,
    /// Which answers are read.
    pub reads: Reads,
    /// A stream of it tells its usage only where it was asked to.
    pub asks: bool,
}

/// A call to a model, and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// What is asked of it.
    pub operation: Operation,
    /// Reads the request's body.
    pub request: ReadRequest,
    /// Begins to read the answer.
    pub answer: fn(Context) -> Box<dyn Answer>,
    /// A stream of it tells its usage only where it was asked to.
    pub asks: bool,
}

impl Model {
    /// As a call on the path of this name.
    fn call(self, route: &'static str, reads: Reads) -> Found {
        Found::Call(Call {
            route: Some(route),
            operation: Some(self.operation),
            request: Some(self.request),
            answer: self.answer,
            reads,
            asks: self.asks,
        })
    }
}

/// How an answer is fetched that another call made.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    /// By a call of this method.
    pub method: &'static str,
    /// Begins to read it.
    pub answer: fn(Context) -> Box<dyn Answer>,
}

impl Fetch {
    /// As a call on the path of this name.
    fn call(self, route: &'static str) -> Found {
        Found::Call(Call {
            route: Some(route),
            operation: Some(Operation::FetchResponse),
            request: None,
            answer: self.answer,
            reads: Reads::All,
            asks: false,
        })
    }
}

/// What a POST to a path is, or the call that fetches what another made.
#[derive(Clone, Copy, Debug)]
pub enum Post {
    /// A call to a model, read by the dialect.
    Model(Model),
    /// The same; the answer is pictures, sound, or what was heard.
    Media(Model),
    /// No new answer, but one that another call made.
    Fetch(Fetch),
    /// A call that may report usage, though its format is not read yet.
    Usage,
    /// Nothing that a model answers.
    Plain,
}

impl Post {
    /// What a call of `method` is.
    fn found(self, method: &str, route: &'static str) -> Found {
        match self {
            Self::Model(model) if method == "POST" => model.call(route, Reads::All),
            Self::Media(model) if method == "POST" => model.call(route, Reads::Media),
            Self::Fetch(fetch) if method == fetch.method => fetch.call(route),
            Self::Usage if method == "POST" => Found::Other { route: Some(route), usage: true },
            _ => Found::Other { route: Some(route), usage: false },
        }
    }
}

/// Reads a request's body. Of one that breaks off, only the model and whether to stream are kept.
pub type ReadRequest = fn(&[u8], &mut RequestFacts) -> Result<(), Unread>;

/// Which answers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Each, whatever its size.
    All,
    /// As `All`; a list in JSON is the stream of its elements.
    Elements,
    /// As `All`, without the middle of long texts in base64; sound and plain text are the answer itself.
    Media,
    /// Each that is small, and streams.
    Small,
    /// Small errors only.
    Errors,
}

impl Reads {
    /// The bounds of a body.
    pub fn limits(self, settings: &Settings) -> Limits {
        let document = match self {
            Self::All | Self::Elements | Self::Media => settings.decoded_bytes,
            Self::Small | Self::Errors => settings.decoded_bytes.min(SMALL),
        };
        Limits { event: settings.event_bytes, document, decoded: settings.inflation() }
    }
}

/// What is known when the answer begins.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The HTTP status.
    pub status: u16,
    /// What was asked for.
    pub operation: Option<Operation>,
    /// How many answers were asked for, where all of what was asked has been read.
    pub choices: Option<u64>,
}

impl Context {
    /// The word for an error that has none of its own.
    fn error(self) -> String {
        match self.status {
            200..400 => "error_in_stream".to_owned(),
            status => status.to_string(),
        }
    }

    /// Whether the status alone says that it is an error.
    fn is_error(self) -> bool {
        self.status >= 400
    }
}

#[cfg(test)]
impl Context {
    /// That of an answer with this status to a call of which nothing is known.
    pub fn of(status: u16) -> Self {
        Self { status, operation: None, choices: None }
    }
}

/// One answer, read frame by frame or as one document. What cannot be read changes nothing.
pub trait Answer: Debug + Send {
    /// Reads one event or line; says which generated content it carried.
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread>;
    /// Reads the whole answer.
    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread>;
    /// Reads the end of an answer whose beginning was lost.
    fn tail(&mut self, _: &[u8], _: &mut ResponseFacts) {}
    /// Whether the stream's terminator was seen.
    fn is_terminated(&self, facts: &ResponseFacts) -> bool;
    /// Whether it is whole where its framing ends well here.
    fn may_end(&self, facts: &ResponseFacts) -> bool {
        self.is_terminated(facts)
    }
}

/// What is said on one connection (a WebSocket) on which a model is called again and again: which
/// message begins a call, belongs to one, ends one. What cannot be read changes nothing.
pub trait Dialogue: Debug + Send {
    /// The client said this.
    fn asked(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread>;
    /// The upstream said this.
    fn answered(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread>;
}

/// The dialogue on a connection that a call to the path of this name began, where it is known; `model` is
/// what that call named.
pub fn dialogue(route: Option<&str>, model: Option<&str>) -> Option<Box<dyn Dialogue>> {
    let route = route?;
    openai::dialogue(route, model).or_else(|| gemini::dialogue(route))
}

/// The generated content that one event carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Text for the user, or a refusal.
    pub text: bool,
    /// Reasoning.
    pub reasoning: bool,
    /// The name or the arguments of a tool call.
    pub tool_call: bool,
    /// Anything else that a model makes: sound, pictures.
    pub other: bool,
}

impl Content {
    /// Whether there was any.
    pub fn is_some(self) -> bool {
        self.text || self.reasoning || self.tool_call || self.other
    }
}

/// What a dialect makes of a path.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// A call that it reads.
    Call(Call),
    /// Something else; `usage`: it may report usage all the same.
    Other {
        /// The path's name, where it is known.
        route: Option<&'static str>,
        /// Whether to look for usage.
        usage: bool,
    },
}

/// Who speaks OpenAI's format may offer routes of its own beside.
fn compatible(method: &str, path: &str) -> Found {
    match openai::find(method, path) {
        Found::Other { route: None, .. } if ollama::is_spoken_at(path) => {
            ollama::find(method, path)
        }
        Found::Other { route: None, .. } if cohere::is_spoken_at(path) => {
            cohere::find(method, path)
        }
        other @ Found::Other { route: None, .. } => llamacpp::find(method, path).unwrap_or(other),
        found => found,
    }
}

fn named(upstream: Option<&Upstream>) -> &str {
    upstream.map_or("unknown", |upstream| &upstream.dialect)
}

fn found(dialect: &str, method: &str, path: &str) -> Found {
    match dialect {
        "openai" | "ollama" if anthropic::is_spoken_at(path) => anthropic::find(method, path),
        "openai" if gemini::is_spoken_at(path) => gemini::find(method, path),
        "anthropic" => anthropic::find(method, path),
        "openai" => compatible(method, path),
        "ollama" => ollama::find(method, path),
        "gemini" => match gemini::guest(path) {
            Some(guest) => found(guest.dialect, method, guest.path).at(guest.route),
            None => gemini::find(method, path),
        },
        "cohere" => cohere::find(method, path),
        _ => Found::Other { route: None, usage: method == "POST" },
    }
}

/// The model that a path names, where the format has it there, or else its query, where a call to the path of
/// this name has it there. One that the body names comes first.
pub fn model(
    upstream: Option<&Upstream>,
    path: &str,
    route: Option<&str>,
    in_query: Option<String>,
) -> Option<String> {
    let in_query = in_query.filter(|_| route.is_some_and(openai::is_named_in_query));
    let model = match named(upstream) {
        "gemini" => gemini::model(path),
        "openai" if gemini::is_spoken_at(path) => gemini::model(path),
        "openai" => openai::deployment(path),
        _ => None,
    };
    model.map(|model| model[..model.floor_char_boundary(MODEL)].to_owned()).or(in_query)
}

/// The last id in a path, where its name has any.
pub fn named_last(route: Option<&str>, path: &str) -> Option<String> {
    let mut segments = route?.rsplit('/').zip(path.trim_end_matches('/').rsplit('/'));
    let (_, id) = segments.find(|(name, _)| *name == "{id}")?;
    Some(id[..id.floor_char_boundary(ID)].to_owned()).filter(|id| !id.is_empty())
}

impl Found {
    /// The same under the name of another path, where there is one.
    fn at(mut self, name: Option<&'static str>) -> Self {
        let (Self::Call(Call { route, .. }) | Self::Other { route, .. }) = &mut self;
        *route = name.or(*route);
        self
    }
}

/// How to read a call of `method` to `path` (mount and query taken off).
pub fn find(upstream: Option<&Upstream>, method: &str, path: &str) -> Call {
    match found(named(upstream), method, path) {
        Found::Call(call) => call,
        Found::Other { route, usage } => unknown::call(route, usage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(dialect: &str) -> Upstream {
        Upstream {
            name: "up".into(),
            provider: dialect.into(),
            dialect: dialect.into(),
            address: "h".into(),
            port: None,
        }
    }

    /// A call of each kind that a dialect reads.
    const CALLS: &[(&str, &str, &str)] = &[
        ("openai", "POST", "/v1/chat/completions"),
        ("openai", "POST", "/v1/completions"),
        ("openai", "POST", "/v1/embeddings"),
        ("openai", "POST", "/v1/responses"),
        ("openai", "POST", "/v1/moderations"),
        ("openai", "POST", "/v1/images/generations"),
        ("openai", "POST", "/v1/audio/transcriptions"),
        ("openai", "POST", "/v1/threads/runs"),
        ("openai", "GET", "/v1/batches/b"),
        ("openai", "GET", "/v1/evals/e/runs/r"),
        ("openai", "POST", "/completion"),
        ("anthropic", "POST", "/v1/messages"),
        ("gemini", "POST", "/v1beta/models/m:generateContent"),
        ("gemini", "POST", "/v1beta/models/m:embedContent"),
        ("gemini", "POST", "/v1/models/text-embedding-005:predict"),
        ("gemini", "POST", "/v1beta/interactions"),
        ("ollama", "POST", "/api/chat"),
        ("ollama", "POST", "/api/embed"),
        ("cohere", "POST", "/v2/chat"),
        ("cohere", "POST", "/v2/embed"),
    ];

    fn each() -> impl Iterator<Item = (&'static str, Call)> {
        CALLS.iter().map(|&(dialect, method, path)| {
            let call = find(Some(&upstream(dialect)), method, path);
            assert!(call.operation.is_some(), "{dialect} {path}");
            (path, call)
        })
    }

    fn answer(call: &Call, status: u16) -> Box<dyn Answer> {
        (call.answer)(Context { operation: call.operation, ..Context::of(status) })
    }

    #[test]
    fn a_status_that_says_error_is_one_whatever_the_body() {
        for (path, call) in each() {
            let mut facts = ResponseFacts::default();
            answer(&call, 503).document(b"{}", &mut facts).unwrap();
            assert_eq!(facts.error.as_deref(), Some("503"), "{path}");
            let mut facts = ResponseFacts::default();
            answer(&call, 200).document(b"{}", &mut facts).unwrap();
            assert_eq!(facts.error, None, "{path}");
        }
    }

    #[test]
    fn the_word_for_an_error_stays_where_none_is_told_after_it() {
        let told = br#"{"error":{"code":"slow_down","type":"slow_down","status":"slow_down","message":"x"}}"#;
        // Those that stream events, each of which may hold an error.
        let streams =
            ["completions", "responses", "runs", "completion", "generateContent", "interactions"];
        let streams = |path: &str| {
            path.ends_with("messages")
                || path.ends_with("chat")
                || streams.iter().any(|it| path.ends_with(it))
        };
        for (path, call) in each() {
            let (mut answer, mut facts) = (answer(&call, 503), ResponseFacts::default());
            answer.document(told, &mut facts).unwrap();
            assert_eq!(facts.error.as_deref(), Some("slow_down"), "{path}");
            if streams(path) {
                answer.document(b"{}", &mut facts).unwrap();
                assert_eq!(facts.error.as_deref(), Some("slow_down"), "{path}");
            }
        }
    }

    #[test]
    fn of_a_request_that_breaks_off_only_model_and_stream_are_told() {
        let cut =
            br#"{"model":"m","stream":true,"temperature":0.25,"top_p":0.5,"n":2,"max_tokens":12"#;
        for (path, call) in each() {
            let (Some(read), mut facts) = (call.request, RequestFacts::default()) else { continue };
            assert_eq!(read(cut, &mut facts), Err(Unread::Short), "{path}");
            // What the path says of every call, and what holds unless it is declined.
            let (output_type, stored) = (facts.output_type, facts.stored);
            let (model, stream) = (facts.model.clone(), facts.stream);
            let expected =
                RequestFacts { model, stream, output_type, stored, ..RequestFacts::default() };
            assert_eq!(facts, expected, "{path}");
        }
    }

    #[test]
    fn only_what_is_posted_is_looked_through_for_usage() {
        for (method, usage) in [("POST", true), ("GET", false)] {
            let Found::Other { usage: found, .. } = Post::Usage.found(method, "/x") else {
                panic!("no call")
            };
            assert_eq!(found, usage, "{method}");
        }
    }
}
