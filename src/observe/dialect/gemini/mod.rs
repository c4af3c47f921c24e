//! Google's Gemini API, and Vertex AI, which offers other publishers' models beside it: the model and
//! what is asked of it stand in the path. Knows no other dialect but by name.
//!
//! Source: the Gemini API's and Vertex AI's REST references, the types of google-genai 3.4.0.

/// What the client asks for.
mod request;
/// What the model generates, streamed or whole.
mod answer;
/// What was counted, and the one nesting it becomes.
mod usage;
/// Vectors, and pictures of models that are asked in the same way.
mod predict;
/// Interactions: the newer way to ask, with events of its own.
mod interactions;
/// Spoken sessions.
mod live;

use super::{Call, Dialogue, Fetch, Found, ID, MODEL, Model, Post, Reads, WORD};
use crate::observe::observation::Operation;
use crate::observe::shapes::route::{self, Route, route};

const GENERATE: Model = Model {
    operation: Operation::GenerateContent,
    request: request::generate,
    answer: answer::begin,
    asks: false,
};
const STREAM: Model = Model { request: request::stream, ..GENERATE };
const EMBED: Model = Model {
    operation: Operation::Embeddings,
    request: request::predict,
    answer: predict::begin,
    asks: false,
};
const DRAW: Model = Model { operation: Operation::ImageGeneration, ..EMBED };
const INTERACT: Model =
    Model { request: request::interact, answer: interactions::begin, ..GENERATE };

const POLL: Fetch = Fetch { method: "GET", answer: interactions::begin };

/// What is asked of the resource before the colon, under its name for telemetry.
const VERBS: [(&str, Route<Post>); 15] = [
    ("generateContent", route("/v1beta/models/{id}:generateContent", Post::Model(GENERATE))),
    ("streamGenerateContent", route(STREAMED, Post::Model(STREAM))),
    ("embedContent", route("/v1beta/models/{id}:embedContent", Post::Model(EMBED))),
    ("batchEmbedContents", route("/v1beta/models/{id}:batchEmbedContents", Post::Model(EMBED))),
    // A free count, no usage.
    ("countTokens", route("/v1beta/models/{id}:countTokens", Post::Plain)),
    ("computeTokens", route("/v1beta/models/{id}:computeTokens", Post::Plain)),
    ("predict", route("/v1beta/models/{id}:predict", Post::Usage)),
    ("rawPredict", route(RAW, Post::Usage)),
    ("streamRawPredict", route(RAW_STREAMED, Post::Usage)),
    // What these begin is done later, and told elsewhere.
    ("predictLongRunning", route("/v1beta/models/{id}:predictLongRunning", Post::Plain)),
    ("fetchPredictOperation", route("/v1beta/models/{id}:fetchPredictOperation", Post::Plain)),
    ("batchGenerateContent", route("/v1beta/models/{id}:batchGenerateContent", Post::Plain)),
    ("asyncBatchEmbedContent", route("/v1beta/models/{id}:asyncBatchEmbedContent", Post::Plain)),
    ("cancel", route("/v1beta/batches/{id}:cancel", Post::Plain)),
    ("uploadToFileSearchStore", route("/v1beta/fileSearchStores/{id}:upload", Post::Plain)),
];
const STREAMED: &str = "/v1beta/models/{id}:streamGenerateContent";
const RAW: &str = "/v1beta/models/{id}:rawPredict";
const RAW_STREAMED: &str = "/v1beta/models/{id}:streamRawPredict";

/// The name of the paths at which a connection becomes a WebSocket: those of a service's method, in
/// either of its forms.
const LIVE: &str = "/ws/BidiGenerateContent";
const METHODS: [&str; 2] = ["BidiGenerateContent", "BidiGenerateContentConstrained"];

/// What is said on a connection that a call to the path of this name began.
pub fn dialogue(route: &str) -> Option<Box<dyn Dialogue>> {
    (route == LIVE).then(|| Box::new(live::Live::default()) as Box<dyn Dialogue>)
}

/// Whether a service's method stands at the end of `path`, alone (Vertex) or behind its service's name.
fn is_live(path: &str) -> bool {
    let method = path.rsplit(['/', '.']).next().unwrap_or_default();
    METHODS.contains(&method)
}

/// The paths without a verb.
const ROUTES: [Route<Post>; 17] = [
    route("/v1beta/interactions", Post::Model(INTERACT)),
    route("/v1beta/interactions/{id}", Post::Fetch(POLL)),
    route("/v1beta/interactions/{id}/cancel", Post::Plain),
    route("/v1beta/models", Post::Plain),
    route("/v1beta/models/{id}", Post::Plain),
    route("/v1beta/tunedModels", Post::Plain),
    route("/v1beta/tunedModels/{id}", Post::Plain),
    route("/v1beta/files", Post::Plain),
    route("/v1beta/files/{id}", Post::Plain),
    route("/v1beta/cachedContents", Post::Plain),
    route("/v1beta/cachedContents/{id}", Post::Plain),
    route("/v1beta/batches", Post::Plain),
    route("/v1beta/batches/{id}", Post::Plain),
    route("/v1beta/batchPredictionJobs", Post::Plain),
    route("/v1beta/batchPredictionJobs/{id}", Post::Plain),
    route("/v1beta/fileSearchStores", Post::Plain),
    route("/v1beta/fileSearchStores/{id}", Post::Plain),
];

/// A path's last segment, cut at its verb, and the segments of the two before it.
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    verb: &'a str,
    /// The name before the verb.
    id: &'a str,
    /// What it is one of: `models`, `endpoints`.
    kind: &'a str,
    /// Whose it is, on Vertex.
    publisher: &'a str,
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let (resource, verb) = path.rsplit_once(':')?;
        let mut segments = resource.rsplit('/');
        let (id, kind) = (segments.next()?, segments.next()?);
        let (publisher, publishers) = (segments.next(), segments.next());
        let publisher = publisher.filter(|_| publishers == Some("publishers")).unwrap_or_default();
        (!verb.contains('/')).then_some(Self { verb, id, kind, publisher })
    }

    /// What this model of Google's is asked for by `predict`.
    fn predicts(self) -> Post {
        match self.id {
            id if id.contains("embedding") => Post::Model(EMBED),
            id if id.contains("imagen") => Post::Model(DRAW),
            _ => Post::Usage,
        }
    }
}

/// A path on which another format is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest<'a> {
    /// Whose format.
    pub dialect: &'static str,
    /// The path that it would be under at home.
    pub path: &'a str,
    /// The path's name here, where it has one.
    pub route: Option<&'static str>,
}

/// Whose format is spoken at `path`, where it is not Google's: OpenAI's on the paths that are
/// compatible with it, and that of the publisher of another's model on Vertex.
pub fn guest(path: &str) -> Option<Guest<'_>> {
    let compatible = ["/openai/", "/endpoints/openapi/"].iter().any(|part| path.contains(part));
    // OpenAI is also a publisher.
    if compatible && !path.contains("/publishers/") {
        return Some(Guest { dialect: "openai", path, route: None });
    }
    let target = Target::of(path)?;
    let route = match target.verb {
        "rawPredict" => Some(RAW),
        "streamRawPredict" => Some(RAW_STREAMED),
        _ => return None,
    };
    match (target.publisher, target.id) {
        ("" | "google", _) => None,
        ("anthropic", id) if id.starts_with("count-tokens") => {
            Some(Guest { dialect: "anthropic", path: "/v1/messages/count_tokens", route })
        }
        ("anthropic", _) => Some(Guest { dialect: "anthropic", path: "/v1/messages", route }),
        _ => Some(Guest { dialect: "openai", path: "/v1/chat/completions", route }),
    }
}

/// Whether a server of another dialect is spoken to in this one: gateways offer the same paths.
pub fn is_spoken_at(path: &str) -> bool {
    [":generateContent", ":streamGenerateContent"].iter().any(|end| path.ends_with(end))
}

/// The model that `path` names, where something is asked of it.
pub fn model(path: &str) -> Option<&str> {
    let target = Target::of(path)?;
    let is_model = ["models", "tunedModels", "endpoints"].contains(&target.kind);
    (is_model && !target.id.is_empty()).then_some(target.id)
}

/// What a call of `method` to `path` is.
pub fn find(method: &str, path: &str) -> Found {
    let target = Target::of(path);
    let verb = target.and_then(|target| VERBS.iter().find(|(verb, _)| *verb == target.verb));
    let Some((_, route)) = verb else {
        if is_live(path) {
            return Found::Other { route: Some(LIVE), usage: false };
        }
        return match route::find(&ROUTES, "/v1beta", path) {
            Some(route) => route.is.found(method, route.name),
            None => Found::Other { route: None, usage: method == "POST" },
        };
    };
    let predicts = target.filter(|target| matches!(target.verb, "predict" | "rawPredict"));
    let is = predicts.map_or(route.is, Target::predicts);
    match is.found(method, route.name) {
        Found::Call(call) if route.name == STREAMED => {
            Found::Call(Call { reads: Reads::Elements, ..call })
        }
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERTEX: &str = "/v1beta1/projects/p/locations/global/publishers";

    fn call(method: &str, path: &str) -> Option<(&'static str, Operation)> {
        match find(method, path) {
            Found::Call(call) => call.route.zip(call.operation),
            Found::Other { .. } => None,
        }
    }

    #[test]
    fn the_verb_says_what_is_asked_of_the_model_in_the_path() {
        let generate = "/v1beta/models/gemini-3:generateContent";
        let expected = Some(("/v1beta/models/{id}:generateContent", Operation::GenerateContent));
        assert_eq!((call("POST", generate), model(generate)), (expected, Some("gemini-3")));
        let vertex = format!("{VERTEX}/google/models/gemini-3:generateContent");
        assert_eq!((call("POST", &vertex), model(&vertex)), (expected, Some("gemini-3")));
        let tuned = "/v1/projects/p/locations/l/endpoints/123:generateContent";
        assert_eq!((call("POST", tuned), model(tuned)), (expected, Some("123")));
        for (path, expected) in [
            ("/v1beta/models/e:embedContent", Some(Operation::Embeddings)),
            ("/v1/models/text-embedding-005:predict", Some(Operation::Embeddings)),
            ("/v1/models/imagen-4:predict", Some(Operation::ImageGeneration)),
            ("/v1/models/other:predict", None),
            ("/v1beta/models/g:countTokens", None),
            ("/v1beta/models/g:novelty", None),
            ("/v1beta/interactions", Some(Operation::GenerateContent)),
        ] {
            assert_eq!(call("POST", path).map(|it| it.1), expected, "{path}");
            assert_eq!(call("GET", path), None, "{path}");
        }
        for path in ["/v1beta/models/g", "/v1beta/files/a", "/v1beta/batches/b:cancel", "/:x", ""] {
            assert_eq!(model(path), None, "{path}");
        }
    }

    #[test]
    fn other_publishers_models_speak_their_own_format() {
        let at = |rest: &str| {
            guest(&format!("{VERTEX}/{rest}")).map(|it| (it.dialect, it.path.to_owned()))
        };
        let told = |dialect, path: &str| Some((dialect, path.to_owned()));
        let messages = told("anthropic", "/v1/messages");
        assert_eq!(at("anthropic/models/claude-opus-5@20260301:streamRawPredict"), messages);
        let count = told("anthropic", "/v1/messages/count_tokens");
        assert_eq!(at("anthropic/models/count-tokens@latest:rawPredict"), count);
        let chat = told("openai", "/v1/chat/completions");
        assert_eq!(at("mistralai/models/mistral-large@2:rawPredict"), chat);
        assert_eq!(at("openai/models/gpt-oss:streamRawPredict"), chat);
        assert_eq!(at("google/models/text-embedding-005:rawPredict"), None);
        assert_eq!(at("google/models/gemini-3:generateContent"), None);
        for path in
            ["/v1beta/openai/chat/completions", "/v1/projects/p/endpoints/openapi/embeddings"]
        {
            assert_eq!(guest(path), Some(Guest { dialect: "openai", path, route: None }));
        }
    }

    #[test]
    fn every_route_finds_itself() {
        for (name, is) in VERBS.iter().map(|it| it.1).chain(ROUTES).map(|it| (it.name, it.is)) {
            let path =
                name.replace("{id}", "some-id").replace(":upload", ":uploadToFileSearchStore");
            let found = match find("GET", &path) {
                Found::Other { route, .. } => route,
                Found::Call(call) => call.route,
            };
            assert_eq!(found, Some(name), "{is:?}");
        }
    }
}
