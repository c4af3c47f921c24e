//! OpenAI's format, which most others speak too: its paths, and how each is read. Knows no other
//! dialect.

/// What the client asks for.
mod request;
/// What the model answers, streamed or whole.
mod answer;
/// Responses, made and fetched.
mod responses;
/// Spoken sessions.
mod realtime;
/// Spoken sessions that are billed by the second.
mod live;
/// Runs of assistants.
mod runs;
/// What is left of a torn answer.
mod tail;
/// Batches.
mod batches;
/// Batches of Mistral's.
mod jobs;
/// Runs of evaluations.
mod evals;
/// Pictures.
mod images;
/// Text to sound.
mod speech;
/// Sound to text.
mod transcriptions;
/// Moving pictures.
mod videos;
/// Paths at which no model answers.
mod plain;

use super::{Dialogue, Fetch, Found, Model, Post};
use crate::observe::observation::Operation;
use crate::observe::shapes::route::{self, Route, route};

const CHAT: Model =
    Model { operation: Operation::Chat, request: request::chat, answer: answer::begin, asks: true };
const COMPLETION: Model =
    Model { operation: Operation::TextCompletion, request: request::completion, ..CHAT };
const EMBEDDINGS: Model = Model {
    operation: Operation::Embeddings,
    request: request::embeddings,
    answer: answer::begin,
    asks: false,
};
/// Documents put in order: Voyage's, Jina's, vLLM's and others' addition.
const RERANK: Model =
    Model { operation: Operation::Rerank, request: request::rerank, ..EMBEDDINGS };
/// Whether a text may be said: it has a model and an id as any answer, and with Mistral usage.
const MODERATION: Model = Model { operation: Operation::Moderation, ..EMBEDDINGS };
/// A stored completion.
const STORED: Fetch = Fetch { method: "GET", answer: answer::begin };

/// A completion that xAI made meanwhile.
const DEFERRED: Fetch = Fetch { method: "GET", answer: answer::begin_deferred };

const fn model(name: &'static str, model: Model) -> Route<Post> {
    route(name, Post::Model(model))
}

const fn media(name: &'static str, model: Model) -> Route<Post> {
    route(name, Post::Media(model))
}

const fn plain(name: &'static str) -> Route<Post> {
    route(name, Post::Plain)
}

const fn fetch(name: &'static str, fetch: Fetch) -> Route<Post> {
    route(name, Post::Fetch(fetch))
}

/// Paths at which a connection becomes a WebSocket.
const RESPONSES: &str = "/v1/responses";
const REALTIME: &str = "/v1/realtime";
const TRANSLATIONS: &str = "/v1/realtime/translations";
const LIVE: &str = "/v1/live/sessions";

/// The paths of OpenAI's API at which a model answers, or an answer is fetched, and those without a
/// placeholder; the others are in `plain`.
const ROUTES: &[Route<Post>] = &[
    model("/v1/chat/completions", CHAT),
    model("/v1/embeddings", EMBEDDINGS),
    model(RESPONSES, responses::MAKE),
    model("/v1/completions", COMPLETION),
    model("/v1/rerank", RERANK),
    model("/v1/reranking", RERANK),
    plain("/v1/models"),
    model("/v1/responses/compact", responses::PASSING),
    // A free count, no usage.
    plain("/v1/responses/input_tokens"),
    model("/v1/moderations", MODERATION),
    model("/v1/decisions", responses::PASSING),
    media("/v1/images/generations", images::MAKE),
    media("/v1/images/edits", images::MAKE),
    media("/v1/images/variations", images::MAKE),
    media("/v1/audio/speech", speech::MAKE),
    media("/v1/audio/transcriptions", transcriptions::MAKE),
    media("/v1/audio/translations", transcriptions::MAKE),
    plain("/v1/audio/voices"),
    plain("/v1/files"),
    plain("/v1/uploads"),
    plain("/v1/batches"),
    plain(REALTIME),
    plain(TRANSLATIONS),
    plain("/v1/realtime/calls"),
    plain("/v1/realtime/sessions"),
    plain("/v1/realtime/client_secrets"),
    plain("/v1/realtime/transcription_sessions"),
    plain(LIVE),
    plain("/v1/assistants"),
    plain("/v1/threads"),
    model("/v1/threads/runs", runs::MAKE),
    plain("/v1/conversations"),
    plain("/v1/vector_stores"),
    plain("/v1/containers"),
    plain("/v1/evals"),
    media("/v1/videos", videos::MAKE),
    media("/v1/videos/generations", videos::MAKE),
    media("/v1/videos/edits", videos::MAKE),
    media("/v1/videos/extensions", videos::EXTEND),
    plain("/v1/videos/characters"),
    media("/v1/videos/{id}/remix", videos::MAKE),
    fetch("/v1/videos/{id}", videos::FETCH),
    plain("/v1/fine_tuning/jobs"),
    fetch("/v1/chat/completions/{id}", STORED),
    fetch("/v1/chat/deferred-completion/{id}", DEFERRED),
    fetch("/v1/responses/{id}", responses::FETCH),
    fetch("/v1/responses/{id}/cancel", responses::CANCEL),
    fetch("/v1/batches/{id}", batches::FETCH),
    fetch("/v1/batches/{id}/cancel", batches::CANCEL),
    fetch("/v1/batch/jobs/{id}", jobs::FETCH),
    fetch("/v1/evals/{id}/runs/{id}", evals::FETCH),
    fetch("/v1/evals/{id}/runs/{id}/cancel", evals::CANCEL),
    model("/v1/threads/{id}/runs", runs::MAKE),
    fetch("/v1/threads/{id}/runs/{id}", runs::FETCH),
    fetch("/v1/threads/{id}/runs/{id}/cancel", runs::CANCEL),
    model("/v1/threads/{id}/runs/{id}/submit_tool_outputs", runs::MAKE),
];

/// What a call of `method` to `path` is.
pub fn find(method: &str, path: &str) -> Found {
    let found = route::find(ROUTES, "/v1", path).filter(|_| !plain::is_administration(path));
    if let Some(route) = found {
        return route.is.found(method, route.name);
    }
    let route = plain::name(path);
    Found::Other { route, usage: route.is_none() && method == "POST" }
}

/// What is said on a connection that a call to the path of this name began, which may have named a model.
pub fn dialogue(route: &str, model: Option<&str>) -> Option<Box<dyn Dialogue>> {
    match route {
        RESPONSES => Some(Box::new(responses::Socket::default())),
        REALTIME => Some(Box::new(realtime::Realtime::of(model))),
        TRANSLATIONS => Some(Box::new(realtime::Translations::of(model))),
        LIVE => Some(Box::new(live::Live::default())),
        _ => None,
    }
}

/// Whether a call to the path of this name names its model in the query.
pub fn is_named_in_query(route: &str) -> bool {
    matches!(route, REALTIME | TRANSLATIONS)
}

/// The deployment that a path of Azure's names, which is the model there.
pub fn deployment(path: &str) -> Option<&str> {
    let mut segments = path.split('/').skip_while(|segment| *segment != "deployments");
    segments.nth(1).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, path: &str) -> Option<(&'static str, Operation)> {
        match find(method, path) {
            Found::Call(call) => call.route.zip(call.operation),
            Found::Other { .. } => None,
        }
    }

    fn usage(method: &str, path: &str) -> Option<bool> {
        match find(method, path) {
            Found::Call(_) => None,
            Found::Other { usage, .. } => Some(usage),
        }
    }

    #[test]
    fn a_post_to_a_model_is_a_call_and_a_get_is_not() {
        let azure = "/openai/deployments/d/chat/completions";
        assert_eq!(call("POST", azure), Some(("/v1/chat/completions", Operation::Chat)));
        let legacy = Some(("/v1/completions", Operation::TextCompletion));
        assert_eq!(call("POST", "/v1/completions"), legacy);
        let responses = Some(("/v1/responses", Operation::Chat));
        assert_eq!(call("POST", "/openai/v1/responses"), responses);
        assert_eq!(call("GET", "/v1/chat/completions"), None);
        assert_eq!(call("POST", "/v1/chat/completions/chatcmpl-1"), None);
        assert_eq!(call("GET", "/v1/threads/t/runs"), None);
    }

    #[test]
    fn azures_paths_are_openais_whatever_stands_before_them() {
        for (path, route) in [
            ("/openai/deployments/d/chat/completions", "/v1/chat/completions"),
            ("//openai/deployments/d/completions", "/v1/completions"),
            ("/openai//deployments/d/embeddings/", "/v1/embeddings"),
            ("/openai/v1/chat/completions", "/v1/chat/completions"),
            ("/openai/v1/responses", "/v1/responses"),
            ("/openai/responses", "/v1/responses"),
            ("/models/chat/completions", "/v1/chat/completions"),
            ("/models/embeddings", "/v1/embeddings"),
            ("/openai/deployments/d/audio/transcriptions", "/v1/audio/transcriptions"),
            ("/openai/deployments/d/images/generations", "/v1/images/generations"),
        ] {
            assert_eq!(call("POST", path).map(|(route, _)| route), Some(route), "{path}");
        }
        for (path, name) in
            [("/openai/realtime", "/v1/realtime"), ("/openai/v1/realtime", "/v1/realtime")]
        {
            assert!(
                matches!(find("POST", path), Found::Other { route: Some(it), .. } if it == name)
            );
        }
        assert_eq!(deployment("//openai/deployments/my-gpt/chat/completions"), Some("my-gpt"));
        assert_eq!(deployment("/openai/deployments/"), None);
        assert_eq!(deployment("/openai/v1/chat/completions"), None);
    }

    #[test]
    fn what_another_call_made_is_fetched() {
        for (method, path, route) in [
            ("GET", "/v1/responses/resp_1", "/v1/responses/{id}"),
            ("POST", "/v1/responses/resp_1/cancel", "/v1/responses/{id}/cancel"),
            ("GET", "/v1/chat/completions/chatcmpl-1", "/v1/chat/completions/{id}"),
            ("GET", "/v1/batches/batch_1", "/v1/batches/{id}"),
            ("GET", "/v1/batch/jobs/1", "/v1/batch/jobs/{id}"),
            ("GET", "/v1/threads/t/runs/r", "/v1/threads/{id}/runs/{id}"),
            ("GET", "/v1/evals/e/runs/r", "/v1/evals/{id}/runs/{id}"),
            ("POST", "/v1/evals/e/runs/r/cancel", "/v1/evals/{id}/runs/{id}/cancel"),
        ] {
            assert_eq!(call(method, path), Some((route, Operation::FetchResponse)));
            assert_eq!(call("DELETE", path), None);
        }
        for path in ["/v1/responses/resp_1/input_items", "/v1/files/f/content", "/v1/batches"] {
            assert_eq!((call("GET", path), usage("GET", path)), (None, Some(false)), "{path}");
        }
    }

    #[test]
    fn usage_is_looked_for_where_something_is_made() {
        assert_eq!(usage("POST", "/v1/novelties"), Some(true));
        assert_eq!(usage("GET", "/v1/chat/completions"), Some(false));
        assert_eq!(usage("POST", "/v1/organization/roles"), Some(false));
        assert_eq!(usage("POST", "/v1/responses/input_tokens"), Some(false));
    }

    #[test]
    fn every_route_finds_itself() {
        for route in ROUTES {
            let path = route.name.replace("{id}", "some-id");
            let found = match find("GET", &path) {
                Found::Other { route, .. } => route,
                Found::Call(call) => call.route,
            };
            assert_eq!(found, Some(route.name));
        }
    }
}
