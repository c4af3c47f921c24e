//! The paths of OpenAI's API at which no model answers, by name. Knows no body.

use crate::observe::shapes::route::{self, Route, route};

/// The name alone.
const fn plain(name: &'static str) -> Route<()> {
    route(name, ())
}

/// Those whose end is another's come first.
const NAMES: &[Route<()>] = &[
    plain("/v1/containers/{id}/files"),
    plain("/v1/containers/{id}/files/{id}"),
    plain("/v1/containers/{id}/files/{id}/content"),
    plain("/v1/vector_stores/{id}/files"),
    plain("/v1/vector_stores/{id}/files/{id}"),
    plain("/v1/vector_stores/{id}/files/{id}/content"),
    plain("/v1/vector_stores/{id}/file_batches"),
    plain("/v1/vector_stores/{id}/file_batches/{id}"),
    plain("/v1/vector_stores/{id}/file_batches/{id}/cancel"),
    plain("/v1/vector_stores/{id}/file_batches/{id}/files"),
    plain("/v1/vector_stores/{id}/search"),
    plain("/v1/vector_stores/{id}"),
    plain("/v1/containers/{id}"),
    plain("/v1/chat/completions/{id}/messages"),
    plain("/v1/responses/{id}/input_items"),
    plain("/v1/conversations/{id}/items"),
    plain("/v1/conversations/{id}/items/{id}"),
    plain("/v1/conversations/{id}"),
    plain("/v1/threads/{id}/messages"),
    plain("/v1/threads/{id}/messages/{id}"),
    plain("/v1/threads/{id}/runs/{id}/steps"),
    plain("/v1/threads/{id}/runs/{id}/steps/{id}"),
    plain("/v1/threads/{id}"),
    plain("/v1/assistants/{id}"),
    plain("/v1/models/{id}"),
    plain("/v1/files/{id}"),
    plain("/v1/files/{id}/content"),
    plain("/v1/uploads/{id}/parts"),
    plain("/v1/uploads/{id}/complete"),
    plain("/v1/uploads/{id}/cancel"),
    plain("/v1/evals/{id}/runs"),
    plain("/v1/evals/{id}/runs/{id}/output_items"),
    plain("/v1/evals/{id}/runs/{id}/output_items/{id}"),
    plain("/v1/evals/{id}"),
    plain("/v1/fine_tuning/jobs/{id}"),
    plain("/v1/fine_tuning/jobs/{id}/cancel"),
    plain("/v1/fine_tuning/jobs/{id}/events"),
    plain("/v1/fine_tuning/jobs/{id}/checkpoints"),
    plain("/v1/fine_tuning/jobs/{id}/pause"),
    plain("/v1/fine_tuning/jobs/{id}/resume"),
    plain("/v1/fine_tuning/checkpoints/{id}/permissions"),
    plain("/v1/fine_tuning/checkpoints/{id}/permissions/{id}"),
    plain("/v1/fine_tuning/alpha/graders/run"),
    plain("/v1/fine_tuning/alpha/graders/validate"),
    plain("/v1/realtime/translations/client_secrets"),
    plain("/v1/realtime/calls/{id}/accept"),
    plain("/v1/realtime/calls/{id}/hangup"),
    plain("/v1/realtime/calls/{id}/refer"),
    plain("/v1/realtime/calls/{id}/reject"),
    plain("/v1/videos/characters/{id}"),
    plain("/v1/videos/{id}/content"),
    plain("/v1/audio/voice_consents"),
    plain("/v1/audio/voice_consents/{id}"),
    plain("/v1/audio/voices/{id}"),
    plain("/v1/content_provenance_checks"),
];

/// What is left of the API, by its first segment: one name for all that stands below it.
const ORGANIZATION: (&str, &str) = ("organization", "/v1/organization/{path}");
const FAMILIES: &[(&str, &str)] = &[
    ("agents", "/v1/agents/{path}"),
    ("chatkit", "/v1/chatkit/{path}"),
    ("live", "/v1/live/{path}"),
    ORGANIZATION,
    ("projects", "/v1/projects/{path}"),
    ("safety", "/v1/safety/{path}"),
    ("skills", "/v1/skills/{path}"),
    ("vaults", "/v1/vaults/{path}"),
    ("webhook_endpoints", "/v1/webhook_endpoints/{path}"),
    ("webhook_event_types", "/v1/webhook_event_types"),
];

/// The path's name, if it is one of these.
pub(super) fn name(path: &str) -> Option<&'static str> {
    let listed = || route::find(NAMES, "/v1", path).map(|route| route.name);
    family(path).or_else(listed)
}

/// Whether it administers the API, though it may end as one of its other paths does.
pub(super) fn is_administration(path: &str) -> bool {
    family(path) == Some(ORGANIZATION.1)
}

fn family(path: &str) -> Option<&'static str> {
    let (_, rest) = path.split_once("/v1/")?;
    let first = rest.split('/').next()?;
    FAMILIES.iter().find(|(family, _)| *family == first).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_itself() {
        for expected in NAMES.iter().map(|route| route.name) {
            assert_eq!(name(&expected.replace("{id}", "some-id")), Some(expected));
        }
        for (_, expected) in FAMILIES {
            assert_eq!(name(&expected.replace("{path}", "a/b/c")), Some(*expected));
        }
    }

    #[test]
    fn a_family_is_known_by_its_first_segment() {
        let expected = Some("/v1/organization/{path}");
        assert_eq!(name("/v1/organization/usage/completions"), expected);
        assert_eq!(name("/v1/organization"), expected);
        for path in ["/v1/novelties/agents", "/agents/x", "/v1/", "/"] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
