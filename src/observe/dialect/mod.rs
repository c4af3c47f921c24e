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
/// The longest name of a model in a path.
const MODEL: usize = 256;

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
    pub answer: fn(Context<'_>) -> Box<dyn Answer>,
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
    pub answer: fn(Context<'_>) -> Box<dyn Answer>,
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
    pub answer: fn(Context<'_>) -> Box<dyn Answer>,
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
pub struct Context<'a> {
    /// The HTTP status.
    pub status: u16,
    /// Who answers, in the conventions' spelling.
    pub provider: &'a str,
    /// What was asked for.
    pub operation: Option<Operation>,
}

impl Context<'_> {
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
}

/// What is said on one connection (a WebSocket) on which a model is called again and again: which
/// message begins a call, belongs to one, ends one. What cannot be read changes nothing.
pub trait Dialogue: Debug + Send {
    /// The client said this.
    fn asked(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread>;
    /// The upstream said this.
    fn answered(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread>;
}

/// The dialogue on a connection that a call to the path of this name began, where it is known.
pub fn dialogue(route: Option<&str>) -> Option<Box<dyn Dialogue>> {
    let route = route?;
    openai::dialogue(route).or_else(|| gemini::dialogue(route))
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

/// The model that a path names, where the format has it there. One that the body names comes first.
pub fn model(upstream: Option<&Upstream>, path: &str) -> Option<String> {
    let model = match named(upstream) {
        "gemini" => gemini::model(path),
        "openai" if gemini::is_spoken_at(path) => gemini::model(path),
        "openai" => openai::deployment(path),
        _ => None,
    };
    model.map(|model| model[..model.floor_char_boundary(MODEL)].to_owned())
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
