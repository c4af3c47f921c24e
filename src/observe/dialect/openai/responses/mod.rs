//! OpenAI's Responses: how they are asked for, made and fetched. Knows no other part of the API.
//!
//! Source: the types of the provider's SDK for Python 3.52, and recorded answers.

/// What the client asks for.
mod request;
/// What the model answers, streamed or whole.
mod answer;
/// What the items of an answer add up to.
mod items;
/// Responses on a WebSocket.
mod socket;

use super::super::{Fetch, Model};
use crate::observe::observation::Operation;

pub(super) use socket::Socket;

/// A response is made.
pub(super) const MAKE: Model = Model {
    operation: Operation::Chat,
    request: request::read_stored,
    answer: answer::begin,
    asks: false,
};
/// A model is asked in the same format, and nothing is kept: a compaction, a decision.
pub(super) const PASSING: Model = Model { request: request::read_passing, ..MAKE };
/// A response is polled for, or its stream resumed.
pub(super) const FETCH: Fetch = Fetch { method: "GET", answer: answer::begin };
/// A response is broken off.
pub(super) const CANCEL: Fetch = Fetch { method: "POST", ..FETCH };
