//! OpenAI's format, which most others speak too: its paths, and how each is read. Knows no other
//! dialect.

/// What the client asks for.
mod request;
/// What the model answers, streamed or whole.
mod answer;

use super::{Found, Model, Post};
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

const fn model(name: &'static str, model: Model) -> Route<Post> {
    route(name, Post::Model(model))
}

const fn plain(name: &'static str) -> Route<Post> {
    route(name, Post::Plain)
}

const fn usage(name: &'static str) -> Route<Post> {
    route(name, Post::Usage)
}

/// The paths of OpenAI's API; those with a placeholder come after those without.
const ROUTES: [Route<Post>; 62] = [
    model("/v1/chat/completions", CHAT),
    model("/v1/embeddings", EMBEDDINGS),
    usage("/v1/responses"),
    model("/v1/completions", COMPLETION),
    plain("/v1/models"),
    usage("/v1/responses/compact"),
    plain("/v1/responses/input_tokens"),
    plain("/v1/moderations"),
    usage("/v1/decisions"),
    usage("/v1/images/generations"),
    usage("/v1/images/edits"),
    usage("/v1/images/variations"),
    usage("/v1/audio/speech"),
    usage("/v1/audio/transcriptions"),
    usage("/v1/audio/translations"),
    plain("/v1/audio/voices"),
    plain("/v1/files"),
    plain("/v1/uploads"),
    plain("/v1/batches"),
    plain("/v1/realtime"),
    plain("/v1/realtime/calls"),
    plain("/v1/realtime/sessions"),
    plain("/v1/realtime/client_secrets"),
    plain("/v1/realtime/transcription_sessions"),
    plain("/v1/assistants"),
    plain("/v1/threads"),
    plain("/v1/threads/runs"),
    plain("/v1/conversations"),
    plain("/v1/vector_stores"),
    plain("/v1/containers"),
    plain("/v1/evals"),
    plain("/v1/videos"),
    plain("/v1/fine_tuning/jobs"),
    plain("/v1/chat/completions/{id}"),
    plain("/v1/chat/completions/{id}/messages"),
    plain("/v1/responses/{id}"),
    plain("/v1/responses/{id}/cancel"),
    plain("/v1/responses/{id}/input_items"),
    plain("/v1/models/{id}"),
    plain("/v1/files/{id}"),
    plain("/v1/files/{id}/content"),
    plain("/v1/uploads/{id}/parts"),
    plain("/v1/uploads/{id}/complete"),
    plain("/v1/uploads/{id}/cancel"),
    plain("/v1/batches/{id}"),
    plain("/v1/batches/{id}/cancel"),
    plain("/v1/assistants/{id}"),
    plain("/v1/threads/{id}"),
    plain("/v1/threads/{id}/messages"),
    plain("/v1/threads/{id}/messages/{id}"),
    plain("/v1/threads/{id}/runs"),
    plain("/v1/threads/{id}/runs/{id}"),
    plain("/v1/threads/{id}/runs/{id}/cancel"),
    plain("/v1/threads/{id}/runs/{id}/steps"),
    plain("/v1/threads/{id}/runs/{id}/submit_tool_outputs"),
    plain("/v1/conversations/{id}"),
    plain("/v1/conversations/{id}/items"),
    plain("/v1/vector_stores/{id}"),
    plain("/v1/vector_stores/{id}/search"),
    plain("/v1/containers/{id}"),
    plain("/v1/fine_tuning/jobs/{id}"),
    plain("/v1/videos/{id}"),
];

/// What a call of `method` to `path` is.
pub fn find(method: &str, path: &str) -> Found {
    match route::find(&ROUTES, "/v1", path) {
        Some(route) => route.is.found(method, route.name),
        None => Found::Other { route: None, usage: method == "POST" },
    }
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
        assert_eq!(call("GET", "/v1/chat/completions"), None);
        assert_eq!(call("POST", "/v1/chat/completions/chatcmpl-1"), None);
    }

    #[test]
    fn usage_is_looked_for_where_something_is_made() {
        assert_eq!(usage("POST", "/v1/responses"), Some(true));
        assert_eq!(usage("POST", "/v1/novelties"), Some(true));
        assert_eq!(usage("GET", "/v1/responses/resp_1"), Some(false));
        assert_eq!(usage("GET", "/v1/chat/completions"), Some(false));
        assert_eq!(usage("POST", "/v1/responses/resp_1/cancel"), Some(false));
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
