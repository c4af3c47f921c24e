//! What an Observer does where the connection became a WebSocket on which calls are made. Knows no message.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::super::decode::websocket::Extensions;
use super::super::dialect;
use super::super::head::ResponseHead;
use super::super::observation::{Note, Observation};
use super::super::session::{Common, Session};
use super::Observer;
use crate::tape::{Cause, Direction, End, Vitals};

impl Observer {
    /// Begins one, where the head says that from here on messages come, of a kind that is read.
    pub(super) fn begin_session(&mut self, head: &ResponseHead) {
        let model = self.request_facts.model.as_deref();
        let dialogue = dialect::dialogue(self.call.route, model).filter(|_| head.is_websocket);
        if let Some(dialogue) = dialogue {
            let agreed = Extensions::of(&head.extensions);
            self.session = Some(Box::new(Session::new(dialogue, agreed, &self.settings)));
        }
    }

    /// The calls of a session that ended since this was last asked.
    pub fn turns(&mut self) -> Vec<Observation> {
        let Some(session) = &mut self.session else { return Vec::new() };
        session.ended(&Common {
            ids: &self.ids,
            started: self.started,
            client: self.client,
            upstream: self.upstream.as_ref(),
            http: &self.http,
            conversation: self.conversation.as_deref(),
            joined: self.request_facts.joined,
            settings: &self.settings,
        })
    }

    /// The exchange is over, as `vitals` tell it, and with it what is open of a session's calls, which
    /// `turns` tells then. Nothing is to be seen after it.
    pub fn close(&mut self, vitals: &Vitals) {
        let end = self.end(vitals);
        self.see_tears(vitals);
        self.session.iter_mut().for_each(|session| session.close(end.cause, end.at));
    }

    /// How the exchange ended, as far as is known.
    pub(super) fn end(&self, vitals: &Vitals) -> End {
        vitals.end().unwrap_or(End { at: self.last, cause: Cause::ClientGone })
    }

    /// Reads what is said on a connection that became a WebSocket.
    pub(super) fn converse(&mut self, direction: Direction, bytes: &[u8], at: Duration) {
        let Self { session: Some(session), marks, notes, .. } = self else { return };
        if direction == Direction::Response && !bytes.is_empty() {
            marks.bytes(at);
        }
        session.see(direction, bytes, at, notes);
    }

    /// Bytes of one direction are missing.
    pub(super) fn tear_session(&mut self, direction: Direction) {
        self.session.iter_mut().for_each(|session| session.tear(direction));
    }

    /// What was not kept may leave no gap on the tape.
    pub(super) fn see_tears(&mut self, vitals: &Vitals) {
        if vitals.request_torn.load(Relaxed) {
            self.notes.add(Note::RequestTorn);
        }
        if vitals.response_torn.load(Relaxed) {
            if !self.notes.has(Note::ResponseTorn) {
                self.forget_usage();
            }
            self.notes.add(Note::ResponseTorn);
            self.tear_session(Direction::Response);
        }
    }
}
