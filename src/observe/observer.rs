//! Taped entries in, one `Observation` out. Knows no format: decoders and dialects do the reading;
//! this is who hands what to whom. It never fails, whatever comes in whatever order.

/// The response, from its head on.
mod response;
/// Where the connection became a WebSocket.
mod sessions;
/// What all of it comes to.
mod judging;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use self::response::Response;
use super::Settings;
use super::decode::body::{Body, Piece};
use super::decode::json::Document;
use super::decode::media::Shape;
use super::dialect::{self, Call, Context, Reads};
use super::head::{Bytes, RequestHead, ResponseHead};
use super::kept::Kept;
use super::marks::Marks;
use super::notes::Notes;
use super::observation::{HttpFacts, Note, Observation, RequestFacts, ResponseFacts, StreamUsage};
use super::reader::{Events, Reader};
use super::session::Session;
use super::shapes::lenient::Unread;
use super::shapes::mend;
use crate::tape::{Direction, Entry, Ids, Milestone, Start, Upstream, Vitals};

/// Reads one exchange as it comes.
#[derive(Debug)]
pub struct Observer {
    settings: Arc<Settings>,
    ids: Ids,
    started: std::time::SystemTime,
    client: Option<std::net::SocketAddr>,
    upstream: Option<Arc<Upstream>>,
    http: HttpFacts,
    call: Call,
    // Until its end.
    request: Option<Body>,
    request_facts: RequestFacts,
    // As the head names it.
    conversation: Option<String>,
    stream_usage: Option<StreamUsage>,
    response: Option<Response>,
    // In the response's stead, once the connection became a WebSocket on which calls are made.
    session: Option<Box<Session>>,
    facts: ResponseFacts,
    kept: Kept,
    marks: Marks,
    notes: Notes,
    last: Duration,
}

impl Observer {
    /// Begins with what is known when the request's head was read.
    pub fn new(start: Start, settings: Arc<Settings>) -> Self {
        let mut head = RequestHead::read(&start.head);
        let path = head.path.get(start.mount..).filter(|path| !path.is_empty()).unwrap_or("/");
        let call = dialect::find(start.upstream.as_deref(), &head.method, path);
        let model = dialect::model(start.upstream.as_deref(), path, call.route, head.model.take());
        let is_session = |_: &String| dialect::dialogue(call.route, None).is_some();
        let joined_call = head.joined_call.take().filter(is_session);
        let request = call.request.map(|_| head.body(call.reads.limits(&settings)));
        let http = HttpFacts {
            method: head.method,
            path: head.path,
            route: call.route,
            scheme: start.scheme,
            version: head.version,
            user_agent: head.user_agent,
            resend_count: head.resend_count,
            idempotency_key: head.idempotency_key.filter(|_| settings.client_ids),
            ..HttpFacts::default()
        };
        Self {
            marks: Marks::new(settings.stall),
            kept: Kept::new(call.operation, &settings),
            settings,
            ids: start.ids,
            started: start.started,
            client: start.client,
            upstream: start.upstream,
            http,
            call,
            request,
            request_facts: RequestFacts {
                model,
                joined: joined_call.is_some(),
                ..RequestFacts::default()
            },
            conversation: head.conversation.or(joined_call),
            stream_usage: None,
            response: None,
            session: None,
            facts: ResponseFacts::default(),
            notes: Notes::default(),
            last: Duration::ZERO,
        }
    }

    /// One entry of the tape, `at` since zero.
    pub fn see(&mut self, at: Duration, entry: Entry<'_>) {
        self.last = self.last.max(at);
        match entry {
            Entry::At(Milestone::RequestEnd) => self.end_request(true),
            Entry::At(milestone) => {
                self.stream_usage = stream_usage(milestone).or(self.stream_usage);
                self.marks.milestone(milestone, at);
            }
            Entry::Head(head) => self.begin_response(head, at),
            Entry::Body(direction, bytes) if self.session.is_some() => {
                self.converse(direction, bytes, at);
            }
            Entry::Body(Direction::Request, bytes) => {
                if let Some(request) = &mut self.request {
                    request.push(bytes, &mut |_| ());
                    // Of the rest nothing can be read: what there is need not wait for it.
                    if request.fault().is_some() {
                        self.end_request(false);
                    }
                }
            }
            Entry::Body(Direction::Response, bytes) => self.read_response(bytes, at),
            Entry::Gap(Direction::Request, _) => self.tear_request(),
            Entry::Gap(Direction::Response, _) => self.tear_response(),
        }
    }

    /// Bytes of all its buffers, about.
    pub fn held(&self) -> usize {
        let request = self.request.as_ref().map_or(0, Body::held);
        let response = self.response.as_ref().map_or(0, |response| response.body.held());
        request
            + response
            + self.kept.held()
            + self.session.as_ref().map_or(0, |session| session.held())
    }

    /// There is no room for what it holds: lets go of all that, as if the tape were torn here.
    pub fn let_go(&mut self) {
        self.notes.add(Note::MemoryShort);
        let (client, server) = self.session.as_mut().map_or((0, 0), |session| session.let_go());
        if client > 0 || self.request.as_ref().is_some_and(|request| request.held() > 0) {
            self.tear_request();
            // A form's fields, too, which outlast a tear.
            self.end_request(false);
        }
        if server > 0 || self.response.as_ref().is_some_and(|response| response.body.held() > 0) {
            self.tear_response();
        }
        self.kept.texts = None;
    }

    /// The exchange is over, as `vitals` tell it.
    pub fn finish(mut self, vitals: &Vitals) -> Observation {
        let end = self.end(vitals);
        self.see_tears(vitals);
        self.end_request(false);
        self.end_response();
        let last_chunk = Duration::from_micros(vitals.last_chunk_micros.load(Relaxed));
        self.marks.end(end.at, Some(last_chunk).filter(|last| !last.is_zero()));
        self.http.request_bytes = vitals.request_bytes.load(Relaxed);
        self.http.response_bytes = vitals.response_bytes.load(Relaxed);
        self.conclude(end.cause)
    }

    /// The request's body ended, `well` or not: reads what there is of it.
    fn end_request(&mut self, well: bool) {
        let (Some(mut body), Some(read)) = (self.request.take(), self.call.request) else {
            return;
        };
        let (facts, mut outcome, mut too_long) = (&mut self.request_facts, None, false);
        let (in_path, torn) = (facts.model.take(), self.notes.has(Note::RequestTorn));
        let kept = &mut self.kept;
        body.finish(&mut |piece| match piece {
            Piece::Document(Document::Whole(bytes)) => {
                let (result, bytes) = mend::reading(bytes, |bytes| read(bytes, facts));
                outcome = Some(result);
                kept.ask(&bytes, result.is_ok() && !torn);
            }
            Piece::Document(Document::TooLong) => too_long = true,
            Piece::Document(Document::Tail(_)) | Piece::Frame(_) => (),
        });
        facts.model = facts.model.take().or(in_path);
        if self.call.operation.is_none() || body.is_empty() || torn {
            return;
        }
        self.notes.fault(body.fault());
        match outcome {
            _ if too_long => self.notes.add(Note::EncodingTooLarge),
            _ if body.fault().is_some() => (),
            // Cut off with its client, it need not be whole.
            Some(Ok(())) => (),
            Some(Err(Unread::Short)) if !well => (),
            Some(Err(_)) | None => self.notes.add(Note::RequestUnreadable),
        }
    }

    /// The response's head; the first that is not of an interim response counts.
    fn begin_response(&mut self, head: &[u8], at: Duration) {
        let mut head = ResponseHead::read(head, self.started + at);
        let interim = matches!(head.status, 100 | 102..200);
        if self.response.is_some() || interim {
            return;
        }
        self.http.status = Some(head.status).filter(|&status| status > 0);
        self.begin_session(&head);
        if !head.is_ours {
            self.marks.times.head = Some(at);
            self.facts.pending = head.status == 202;
            self.hear(&mut head);
        }
        self.response = Some(self.response(&head, at));
    }

    /// What an upstream's head tells beside the status.
    fn hear(&mut self, head: &mut ResponseHead) {
        std::mem::take(&mut head.gateway).tell(&mut self.facts);
        self.facts.claimed = head.claimed;
        self.http.request_id = head.request_id.take();
        self.http.retry_after = head.retry_after;
        self.http.should_retry = head.should_retry;
        self.http.rate_limits = std::mem::take(&mut head.rate_limits);
    }

    /// The response that begins with this head.
    fn response(&self, head: &ResponseHead, at: Duration) -> Response {
        let reads = self.call.reads;
        let bodiless = self.http.method == "HEAD" || matches!(head.status, 101 | 204 | 205 | 304);
        let is_looked_for = reads != Reads::Errors || head.status >= 400;
        let read = is_looked_for && !bodiless && !head.is_ours;
        let body =
            if read { head.body(reads, reads.limits(&self.settings)) } else { Body::unread() };
        let context = Context {
            status: head.status,
            operation: self.call.operation,
            choices: self.choices(),
        };
        Response {
            body,
            content: head.content(reads),
            answer: read.then(|| (self.call.answer)(context)),
            // What is only accepted may have no body yet.
            is_due: read && (200..300).contains(&head.status) && head.status != 202,
            is_ours: head.is_ours,
            document: None,
            too_long: false,
            forgot_usage: false,
            last_bytes: at,
        }
    }

    /// How many answers were asked for, where the request was read whole.
    fn choices(&self) -> Option<u64> {
        let choices = self.request_facts.choice_count.map_or(Some(1), |it| u64::try_from(it).ok());
        choices.filter(|_| self.request.is_none() && self.notes.is_empty())
    }

    fn read_response(&mut self, bytes: &[u8], at: Duration) {
        let Self { response: Some(response), facts, marks, .. } = self else { return };
        if bytes.is_empty() {
            return;
        }
        if !response.is_ours {
            marks.bytes(at);
        }
        response.last_bytes = at;
        if response.content == Some(Bytes::Stream) {
            facts.chunks += u64::from(marks.piece(at));
        }
        if let Some((body, mut reader)) = self.reader(false) {
            body.push(bytes, &mut |piece| reader.read(piece, at));
        }
    }

    /// The response's body where it is read, and what reads it; at its end or before.
    fn reader(&mut self, is_end: bool) -> Option<(&mut Body, Reader<'_>)> {
        let Self { response, facts, kept, marks, notes, .. } = self;
        let Response { body, answer, document, too_long, .. } = response.as_mut()?;
        let answer = &mut **answer.as_mut()?;
        let events = Events { answer, facts, kept, marks, notes };
        Some((body, Reader { events, document, too_long, is_end }))
    }

    /// What follows a gap is read of a form alone: it tells where its next field begins.
    fn tear_request(&mut self) {
        self.notes.add(Note::RequestTorn);
        self.tear_session(Direction::Request);
        match &mut self.request {
            Some(body) if body.shape() == Some(Shape::Form) => body.resync(),
            _ => self.end_request(false),
        }
    }

    fn tear_response(&mut self) {
        self.notes.add(Note::ResponseTorn);
        self.tear_session(Direction::Response);
        self.marks.tear();
        self.forget_usage();
        if let Some(response) = &mut self.response {
            response.body.resync();
        }
    }

    /// Bytes are missing from here: the usage that was told so far may be the stream's first word on it.
    fn forget_usage(&mut self) {
        if let Some(response) = &mut self.response {
            response.forgot_usage |= self.facts.usage.take().is_some();
        }
    }

    /// The response's body ended: reads what is left of it.
    fn end_response(&mut self) {
        let at = self.response.as_ref().map_or(Duration::ZERO, |response| response.last_bytes);
        let Some((body, mut reader)) = self.reader(true) else { return };
        body.finish(&mut |piece| reader.read(piece, at));
        let Self { response: Some(response), facts, notes, call, .. } = self else { return };
        facts.streamed = match response.content {
            Some(content) => content == Bytes::Stream,
            None => response.body.shape().is_some_and(Shape::is_stream),
        };
        if response.body.skipped() > 0 {
            notes.add(Note::EventTooLong);
        }
        if call.operation.is_some() {
            notes.fault(response.body.fault());
            if response.too_long {
                notes.add(Note::EncodingTooLarge);
            }
            if response.document == Some(Err(Unread::Bad)) {
                notes.add(Note::ResponseUnreadable);
            }
        }
    }
}

/// What a moment tells of our question about the stream's usage.
fn stream_usage(milestone: Milestone) -> Option<StreamUsage> {
    match milestone {
        Milestone::Asked => Some(StreamUsage::Asked),
        Milestone::AskLeft => Some(StreamUsage::AskedVisibly),
        Milestone::AskRefused => Some(StreamUsage::Refused),
        Milestone::AskPaused => Some(StreamUsage::Paused),
        Milestone::AskGivenUp => Some(StreamUsage::OverLimit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::SystemTime;

    use super::super::observation::{Ending, Known, Operation};
    use super::*;
    use crate::tape::{Cause, End};
    use Direction::{Request, Response as Answered};

    const REQUEST: &str =
        r#"{"model":"m","messages":[{}],"stream":true,"stream_options":{"include_usage":true}}"#;

    fn observer(dialect: &str, head: &str, mount: usize) -> Observer {
        let upstream = Upstream {
            name: dialect.to_owned(),
            provider: dialect.to_owned(),
            dialect: dialect.to_owned(),
            address: "localhost".to_owned(),
            port: Some(1),
        };
        let ids = Ids {
            trace: [1; 16],
            parent: None,
            server_span: [2; 8],
            client_span: [3; 8],
            flags: 1,
        };
        let start = Start {
            ids,
            upstream: Some(Arc::new(upstream)),
            started: SystemTime::UNIX_EPOCH,
            client: None,
            scheme: "http",
            mount,
            head: head.as_bytes().to_vec(),
        };
        Observer::new(start, Arc::new(Settings::default()))
    }

    fn chat() -> Observer {
        let mut observer = observer("openai", "POST /v1/chat/completions 1.1\n", 0);
        observer.see(at(1), Entry::Body(Request, REQUEST.as_bytes()));
        observer.see(at(1), Entry::At(Milestone::RequestEnd));
        observer
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn ended(millis: u64, cause: Cause) -> Vitals {
        Vitals::ended(End { at: at(millis), cause })
    }

    fn delta(content: &str) -> String {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n"
        )
    }

    const END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n\
        data: [DONE]\n\n";
    const SSE: &[u8] = b"200 1.1\ncontent-type: text/event-stream\n";

    #[test]
    fn the_last_word_about_our_question_counts() {
        let told = |body: &str, milestones: &[Milestone]| {
            let mut observer = observer("openai", "POST /v1/chat/completions 1.1\n", 0);
            observer.see(at(1), Entry::Body(Request, body.as_bytes()));
            milestones.iter().for_each(|it| observer.see(at(1), Entry::At(*it)));
            observer.see(at(2), Entry::Head(SSE));
            observer.see(at(3), Entry::Body(Answered, b"data: [DONE]\n\n"));
            let seen = observer.finish(&ended(4, Cause::Complete));
            let missing = match seen.usage {
                Known::Unknown(reason) => reason,
                Known::Value(_) => "none",
            };
            (seen.stream_usage.map(StreamUsage::as_str), missing)
        };
        let stream = r#"{"stream":true}"#;
        assert_eq!(told(stream, &[]), (None, "not_asked"));
        assert_eq!(told(stream, &[Milestone::Asked]), (Some("asked"), "not_reported"));
        let left = [Milestone::Asked, Milestone::AskLeft];
        assert_eq!(told(stream, &left), (Some("asked_visibly"), "not_reported"));
        let refused = [Milestone::Asked, Milestone::AskRefused];
        assert_eq!(told(stream, &refused), (Some("refused"), "not_asked"));
        assert_eq!(told(stream, &[Milestone::AskPaused]), (Some("paused"), "not_asked"));
        assert_eq!(told(stream, &[Milestone::AskGivenUp]).0, Some("over_limit"));
        assert_eq!(told(r#"{"stream":false}"#, &[Milestone::AskGivenUp]).0, None);
    }

    #[test]
    fn marks_and_gaps_are_taken_when_events_are_whole() {
        let mut observer = chat();
        for (millis, milestone) in [
            (2, Milestone::Lease),
            (3, Milestone::Tcp),
            (4, Milestone::Tls),
            (5, Milestone::Connected),
            (6, Milestone::Sent),
            (7, Milestone::SentAll),
        ] {
            observer.see(at(millis), Entry::At(milestone));
        }
        observer.see(at(10), Entry::Head(SSE));
        let role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
        observer.see(at(11), Entry::Body(Answered, role.as_bytes()));
        let (one, two) = (delta("a"), delta("b"));
        let (begin, rest) = one.split_at(20);
        observer.see(at(12), Entry::Body(Answered, begin.as_bytes()));
        observer.see(at(20), Entry::Body(Answered, rest.as_bytes()));
        observer.see(at(50), Entry::Body(Answered, (two.clone() + &two).as_bytes()));
        observer.see(at(11_000), Entry::Body(Answered, two.as_bytes()));
        observer.see(at(11_001), Entry::Body(Answered, END.as_bytes()));
        let seen = observer.finish(&ended(11_002, Cause::Complete));
        let times = seen.times;
        assert_eq!((times.lease, times.tcp, times.tls), (Some(at(2)), Some(at(3)), Some(at(4))));
        assert_eq!((times.connected, times.sent), (Some(at(5)), Some(at(6))));
        assert_eq!((times.sent_all, times.head), (Some(at(7)), Some(at(10))));
        assert_eq!((times.first_byte, times.first_chunk), (Some(at(11)), Some(at(20))));
        assert_eq!((times.first_text, times.last_chunk), (Some(at(20)), Some(at(11_000))));
        assert_eq!((times.first_reasoning, times.first_tool_call), (None, None));
        assert_eq!(times.end, at(11_002));
        assert_eq!((seen.gaps.count(), seen.gaps.longest()), (3, Some(at(10_950))));
        assert_eq!(seen.stalls, 1);
        assert_eq!((seen.response.chunks, seen.response.events), (4, 8));
        assert_eq!(seen.ending, Ending::Complete);
        assert_eq!(seen.usage.value().and_then(|usage| usage.output), Some(2));
    }

    #[test]
    fn a_torn_stream_still_tells_its_usage() {
        let mut observer = chat();
        observer.see(at(10), Entry::Head(SSE));
        observer.see(at(11), Entry::Body(Answered, delta("a").as_bytes()));
        observer.see(at(60_000), Entry::Gap(Answered, 99));
        let tail = format!("half of it\"}}]}}\n\n{}{END}", delta("z"));
        observer.see(at(60_000), Entry::Body(Answered, tail.as_bytes()));
        let vitals = ended(60_000, Cause::Complete);
        vitals.response_torn.store(true, Relaxed);
        vitals.last_chunk_micros.store(50_000_000, Relaxed);
        let seen = observer.finish(&vitals);
        assert_eq!(seen.notes, [Note::ResponseTorn]);
        assert_eq!(seen.ending, Ending::Complete);
        assert_eq!(seen.usage.value().and_then(|usage| usage.input), Some(3));
        assert_eq!((seen.stalls, seen.gaps.count()), (0, 0), "the gap is not the model's");
        assert_eq!(seen.times.last_chunk, Some(at(50_000)));
    }

    #[test]
    fn only_a_session_is_joined() {
        for (path, joined) in [("/v1/realtime", true), ("/v1/chat/completions", false)] {
            let seen = observer("openai", &format!("GET {path}?call_id=rtc_1 1.1\n"), 0);
            let seen = seen.finish(&ended(5, Cause::Complete));
            let told = (seen.request.joined, seen.request.conversation.is_some());
            assert_eq!(told, (joined, joined), "{path}");
        }
    }

    #[test]
    fn usage_told_before_a_gap_is_not_the_last_word() {
        let seen = |after: &str| {
            let mut observer = chat();
            observer.see(at(10), Entry::Head(SSE));
            let first = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
            observer.see(at(11), Entry::Body(Answered, first.as_bytes()));
            observer.see(at(12), Entry::Gap(Answered, 99));
            observer.see(at(13), Entry::Body(Answered, after.as_bytes()));
            let vitals = ended(20, Cause::Complete);
            vitals.response_torn.store(true, Relaxed);
            let seen = observer.finish(&vitals);
            assert_eq!(
                (seen.ending, &seen.notes[..]),
                (Ending::Complete, &[Note::ResponseTorn][..])
            );
            seen.usage
        };
        assert_eq!(seen("\n\ndata: [DONE]\n\n"), Known::Unknown("torn"));
        let told = seen(&format!("\n\n{END}"));
        assert_eq!(told.value().and_then(|usage| usage.output), Some(2));
    }

    #[test]
    fn a_torn_stream_is_not_called_truncated() {
        let mut observer = chat();
        observer.see(at(10), Entry::Head(SSE));
        observer.see(at(11), Entry::Body(Answered, delta("a").as_bytes()));
        let vitals = ended(20, Cause::Complete);
        vitals.response_torn.store(true, Relaxed);
        let seen = observer.finish(&vitals);
        assert_eq!((seen.ending, seen.usage), (Ending::Complete, Known::Unknown("torn")));
    }

    #[test]
    fn a_bare_value_is_a_whole_answer_however_long_and_tells_no_usage() {
        for body in [b"null".to_vec(), vec![b'1'; 20], vec![b'1'; 400], vec![b'1'; 17 << 20]] {
            let mut observer = chat();
            observer.see(at(1), Entry::Head(b"200 1.1\ncontent-type: application/json\n"));
            body.chunks(64 << 10).for_each(|it| observer.see(at(2), Entry::Body(Answered, it)));
            let seen = observer.finish(&ended(4, Cause::Complete));
            let told = (seen.ending, seen.usage, seen.notes.len());
            assert_eq!(told, (Ending::Complete, Known::Unknown("not_reported"), 0));
        }
    }

    #[test]
    fn a_torn_document_tells_its_usage_from_its_tail() {
        let mut observer = observer("openai", "POST /v1/embeddings 1.1\n", 0);
        observer.see(at(1), Entry::Head(b"200 1.1\ncontent-type: application/json\n"));
        observer.see(at(2), Entry::Body(Answered, b"{\"object\":\"list\",\"data\":[0.1,0."));
        observer.see(at(3), Entry::Gap(Answered, 9));
        let tail = b",0.2],\"index\":7}],\"model\":\"e\",\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}\n";
        observer.see(at(3), Entry::Body(Answered, tail));
        let seen = observer.finish(&ended(4, Cause::Complete));
        assert_eq!(seen.usage.value().and_then(|usage| usage.input), Some(8));
        assert_eq!(seen.ending, Ending::Complete);
    }

    #[test]
    fn what_is_let_go_for_want_of_memory_is_told_as_torn_and_holds_nothing() {
        let head = b"200 1.1\ncontent-type: application/json\n";
        let mut asking = observer("openai", "POST /v1/chat/completions 1.1\n", 0);
        asking.see(at(1), Entry::Body(Request, br#"{"model":"m","messages":["and so on"#));
        asking.let_go();
        assert_eq!(asking.held(), 0);
        asking.see(at(2), Entry::Body(Request, b" and on"));
        let seen = asking.finish(&ended(3, Cause::ClientGone));
        assert_eq!(seen.notes, [Note::MemoryShort, Note::RequestTorn]);
        assert_eq!(seen.request.model.as_deref(), Some("m"));
        let mut answered = chat();
        answered.see(at(2), Entry::Head(head));
        answered.see(at(3), Entry::Body(Answered, br#"{"choices":[],"long":"and so on"#));
        answered.let_go();
        assert_eq!(answered.held(), 0);
        answered.see(at(4), Entry::Body(Answered, br#"","usage":{"prompt_tokens":3}}"#));
        let seen = answered.finish(&ended(5, Cause::Complete));
        assert_eq!(seen.notes, [Note::MemoryShort, Note::ResponseTorn]);
        assert_eq!(seen.usage.value().and_then(|usage| usage.input), Some(3), "of its end");
        let mut open = chat();
        open.see(at(2), Entry::Head(SSE));
        open.see(at(3), Entry::Body(Answered, (delta("a") + &delta("b")[..9]).as_bytes()));
        open.let_go();
        assert_eq!(open.held(), 0);
        open.see(at(4), Entry::Body(Answered, (delta("b")[9..].to_owned() + END).as_bytes()));
        let seen = open.finish(&ended(5, Cause::Complete));
        assert_eq!((seen.ending, seen.estimate), (Ending::Complete, None));
        assert_eq!(seen.usage.value().and_then(|usage| usage.output), Some(2));
    }

    #[test]
    fn calls_on_a_socket_and_fields_of_a_form_are_let_go_too() {
        let mut talk = observer("openai", "GET /v1/responses 1.1\n", 0);
        talk.see(at(1), Entry::At(Milestone::RequestEnd));
        talk.see(at(2), Entry::Head(b"101 1.1\nupgrade: websocket\n"));
        let asked = format!(r#"{{"type":"response.create","input":"{}"}}"#, "x".repeat(6000));
        let mut frame = vec![0x81, 126];
        frame.extend((asked.len() as u16).to_be_bytes());
        frame.extend(asked.as_bytes());
        talk.see(at(3), Entry::Body(Request, &frame));
        assert!(talk.held() > 6000, "{}", talk.held());
        talk.let_go();
        assert!(talk.held() < 3000, "{}", talk.held());
        talk.see(at(4), Entry::Body(Request, &frame));
        assert!(talk.held() > 6000, "the next call is read");
        talk.close(&ended(5, Cause::Complete));
        let told = talk.turns();
        assert_eq!((told.len(), told[0].estimate), (2, None));
        let head = "POST /v1/images/edits 1.1\ncontent-type: multipart/form-data; boundary=b\n";
        let mut form = observer("openai", head, 0);
        let part = "--b\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n--b\r\n";
        form.see(at(1), Entry::Body(Request, part.as_bytes()));
        assert!(form.held() > 0);
        form.let_go();
        assert_eq!((form.held(), form.request_facts.model.as_deref()), (0, Some("m")));
    }

    #[test]
    fn a_torn_compressed_body_has_no_usage() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(END.as_bytes()).unwrap();
        let body = encoder.finish().unwrap();
        let mut observer = chat();
        let head = b"200 1.1\ncontent-type: text/event-stream\ncontent-encoding: gzip\n";
        observer.see(at(10), Entry::Head(head));
        observer.see(at(11), Entry::Body(Answered, &body[..20]));
        observer.see(at(11), Entry::Gap(Answered, 1));
        observer.see(at(11), Entry::Body(Answered, &body[21..]));
        let seen = observer.finish(&ended(12, Cause::Complete));
        assert_eq!((seen.ending, seen.usage), (Ending::Complete, Known::Unknown("torn")));
        assert_eq!(seen.notes, [Note::ResponseTorn]);
    }

    #[test]
    fn a_huge_last_event_tells_its_usage_from_its_end() {
        let begun =
            "data: {\"type\":\"response.created\",\"response\":{\"status\":\"in_progress\"}}\n\n";
        let end = "\"}]}],\"service_tier\":\"default\",\"usage\":{\"input_tokens\":3,\"output_tokens\":4},\"metadata\":{}}}\n\n";
        let long = format!(
            "data: {{\"type\":\"response.completed\",\"response\":{{\"status\":\"completed\",\"output\":[{{\"content\":[{{\"text\":\"{}{end}",
            "x".repeat(4000)
        );
        let seen = |torn: bool| {
            let mut observer = observer("openai", "POST /v1/responses 1.1\n", 0);
            observer.settings = Arc::new(Settings { event_bytes: 1000, ..Settings::default() });
            observer.see(at(1), Entry::Head(SSE));
            observer.see(at(2), Entry::Body(Answered, begun.as_bytes()));
            if torn {
                observer.see(at(3), Entry::Gap(Answered, 3000));
                observer.see(at(3), Entry::Body(Answered, &long.as_bytes()[3000..]));
            } else {
                observer.see(at(3), Entry::Body(Answered, long.as_bytes()));
            }
            assert_eq!(observer.held(), 0);
            observer.finish(&ended(4, Cause::Complete))
        };
        for (torn, note) in [(true, Note::ResponseTorn), (false, Note::EventTooLong)] {
            let seen = seen(torn);
            assert_eq!(seen.usage.value().and_then(|usage| usage.output), Some(4), "{torn}");
            assert_eq!((seen.ending, seen.notes), (Ending::Complete, vec![note]));
            assert_eq!(seen.response.service_tier.as_deref(), Some("default"));
        }
    }

    #[test]
    fn a_torn_request_keeps_what_stood_before_the_tear() {
        let mut observer = observer("openai", "POST /v1/chat/completions 1.1\n", 0);
        let body = r#"{"model":"m","stream":true,"max_tokens":10,"messages":[{"content":"lo"#;
        observer.see(at(1), Entry::Body(Request, body.as_bytes()));
        observer.see(at(2), Entry::Gap(Request, 50));
        observer.see(at(2), Entry::Body(Request, b"\"}],\"model\":\"other\"}"));
        observer.see(at(2), Entry::At(Milestone::RequestEnd));
        let seen = observer.finish(&ended(3, Cause::ClientGone));
        let expected =
            RequestFacts { model: Some("m".to_owned()), stream: true, ..RequestFacts::default() };
        assert_eq!(seen.request, expected);
        assert_eq!(seen.notes, [Note::RequestTorn]);
    }

    #[test]
    fn our_own_answer_is_nobodys_head() {
        let mut observer = chat();
        observer.see(
            at(5),
            Entry::Head(
                b"502 1.1\ncontent-type: application/json\nclearspan-error: dns\nx-request-id: a\n",
            ),
        );
        observer.see(at(5), Entry::Body(Answered, b"{\"error\":{\"code\":\"dns\"}}"));
        let seen = observer.finish(&ended(6, Cause::UpstreamReset("dns")));
        assert_eq!((seen.ending, seen.error_type.as_deref()), (Ending::UpstreamReset, Some("dns")));
        assert_eq!((seen.http.status, seen.http.request_id), (Some(502), None));
        assert_eq!((seen.times.head, seen.times.first_byte), (None, None));
        assert_eq!((seen.response.error, seen.usage), (None, Known::Unknown("error")));
    }

    #[test]
    fn the_mount_is_taken_off_before_the_path_is_looked_up() {
        let seen =
            observer("ollama", "POST /ollama/api/chat?x=1 2\n", 7).finish(&Vitals::default());
        assert_eq!(
            (seen.http.path.as_str(), seen.http.route),
            ("/ollama/api/chat", Some("/api/chat"))
        );
        assert_eq!((seen.operation, seen.http.version), (Some(Operation::Chat), "2"));
        assert_eq!(seen.ending, Ending::ClientCanceled, "without an end the client is gone");
        for target in ["/ollama", "/ollama/"] {
            let head = format!("HEAD {target} 1.1\n");
            let seen = observer("ollama", &head, 7).finish(&Vitals::default());
            assert_eq!((seen.http.path.as_str(), seen.http.route), (target, Some("/")));
        }
    }

    #[test]
    fn an_interim_head_is_not_the_answers() {
        let mut observer = chat();
        observer.see(at(2), Entry::Head(b"103 1.1\nlink: x\n"));
        observer.see(at(3), Entry::Head(SSE));
        observer.see(at(4), Entry::Head(b"500 1.1\n"));
        observer.see(at(4), Entry::Body(Answered, (delta("a") + END).as_bytes()));
        let seen = observer.finish(&ended(5, Cause::Complete));
        assert_eq!((seen.http.status, seen.times.head), (Some(200), Some(at(3))));
        assert_eq!(seen.ending, Ending::Complete);
    }

    #[test]
    fn an_idle_open_stream_costs_little() {
        let mut observer = chat();
        observer.see(at(2), Entry::Head(SSE));
        for _ in 0..100 {
            observer.see(at(3), Entry::Body(Answered, delta("word").as_bytes()));
        }
        assert!((400..=1024).contains(&observer.held()), "no more than its text");
        assert!(size_of::<Observer>() <= 2560, "{}", size_of::<Observer>());
    }

    #[test]
    fn a_picture_of_any_size_is_never_gathered() {
        let base64 = [b'A'; 16 << 10];
        for (head, end) in [
            (&b"200 1.1\ncontent-type: application/json\n"[..], &b"\"}],\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}"[..]),
            (SSE, b"\",\"type\":\"image_edit.completed\",\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}\n\n"),
        ] {
            let mut observer = observer("openai", "POST /v1/images/edits 1.1\n", 0);
            observer.see(at(1), Entry::Head(head));
            let begin: &[u8] =
                if head == SSE { b"data: {\"b64_json\":\"" } else { b"{\"data\":[{\"b64_json\":\"" };
            observer.see(at(2), Entry::Body(Answered, begin));
            for _ in 0..2000 {
                observer.see(at(3), Entry::Body(Answered, &base64));
                assert!(observer.held() < 8 << 10, "{}", observer.held());
            }
            observer.see(at(4), Entry::Body(Answered, end));
            let seen = observer.finish(&ended(5, Cause::Complete));
            assert_eq!(seen.usage.value().and_then(|usage| usage.output), Some(2));
            assert_eq!(seen.usage.value().and_then(|usage| usage.units.images), Some(1));
            assert_eq!((seen.ending, seen.notes), (Ending::Complete, vec![]));
        }
    }

    #[test]
    fn a_form_is_read_on_both_sides_of_a_gap() {
        let head =
            "POST /v1/audio/transcriptions 1.1\ncontent-type: multipart/form-data; boundary=b\n";
        let mut observer = observer("openai", head, 0);
        let field = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n")
        };
        let file = field("temperature", "0.5") + &field("file; filename=x", "");
        observer.see(at(1), Entry::Body(Request, file.trim_end().as_bytes()));
        for _ in 0..2000 {
            observer.see(at(1), Entry::Body(Request, &[b'\r'; 16 << 10]));
            assert!(observer.held() < 2 << 10, "{}", observer.held());
        }
        observer.see(at(2), Entry::Gap(Request, 50));
        let end = field("lost", "tiny") + &field("model", "whisper-1") + "--b--\r\n";
        let cut = end.find("tiny").unwrap();
        observer.see(at(2), Entry::Body(Request, &end.as_bytes()[cut..]));
        observer.see(at(2), Entry::At(Milestone::RequestEnd));
        let seen = observer.finish(&ended(3, Cause::ClientGone));
        assert_eq!(
            (seen.request.model.as_deref(), seen.request.temperature),
            (Some("whisper-1"), Some(0.5))
        );
        assert_eq!(seen.notes, [Note::RequestTorn]);
    }

    #[test]
    fn limits_are_held_and_noted() {
        let mut observer = chat();
        observer.settings = Arc::new(Settings { event_bytes: 100, ..Settings::default() });
        observer.see(at(2), Entry::Head(SSE));
        let body = delta(&"x".repeat(100)) + &delta("a");
        observer.see(at(3), Entry::Body(Answered, body.as_bytes()));
        assert!(observer.held() <= 200 + REQUEST.len());
        let seen = observer.finish(&ended(5, Cause::Complete));
        assert_eq!(seen.notes, [Note::EventTooLong]);
        assert_eq!(seen.response.events, 1);
        assert_eq!(seen.usage, Known::Unknown("unreadable"));
        assert_eq!(
            seen.ending,
            Ending::Complete,
            "the terminator may have been in what was skipped"
        );

        let mut observer = chat();
        observer.settings = Arc::new(Settings { decoded_bytes: 100, ..Settings::default() });
        observer.see(at(2), Entry::Head(b"200 1.1\ncontent-type: application/json\n"));
        for _ in 0..50 {
            observer.see(at(3), Entry::Body(Answered, b"{\"choices\":"));
            assert!(observer.held() <= 200 + REQUEST.len());
        }
        let seen = observer.finish(&ended(5, Cause::Complete));
        assert_eq!(
            (seen.notes, seen.usage),
            (vec![Note::EncodingTooLarge], Known::Unknown("unreadable"))
        );
    }

    #[test]
    fn every_dialect_hears_how_long_an_error_asks_to_wait() {
        // Google's own error stands before other publishers' models too.
        let body = br#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"m","details":[
            {"@type":"type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"48s"}]}}"#;
        for (dialect, path) in [
            ("openai", "/v1/chat/completions"),
            ("openai", "/v1/responses"),
            ("openai", "/v1/threads/t/runs"),
            ("openai", "/completion"),
            ("openai", "/v1/novelties"),
            ("anthropic", "/v1/messages"),
            ("gemini", "/v1beta/models/g:generateContent"),
            ("gemini", "/v1/projects/p/locations/l/publishers/anthropic/models/c:rawPredict"),
            ("cohere", "/v2/chat"),
            ("ollama", "/api/chat"),
        ] {
            let mut observer = observer(dialect, &format!("POST {path} 1.1\n"), 0);
            observer.see(at(1), Entry::Head(b"429 1.1\ncontent-type: application/json\n"));
            observer.see(at(2), Entry::Body(Answered, body));
            let seen = observer.finish(&ended(3, Cause::Complete));
            assert_eq!(seen.http.retry_after, Some(Duration::from_secs(48)), "{dialect} {path}");
            assert_eq!(seen.error_type.as_deref(), Some("resource_exhausted"), "{path}");
        }
        let mut batch = observer("openai", "GET /v1/batches/b 1.1\n", 0);
        batch.see(at(1), Entry::Head(b"429 1.1\n"));
        batch.see(at(2), Entry::Body(Answered, body));
        let seen = batch.finish(&ended(3, Cause::Complete));
        assert_eq!(seen.http.retry_after, Some(Duration::from_secs(48)));
    }

    #[test]
    fn an_answer_without_usage_is_estimated_where_a_model_answered() {
        let body =
            r#"{"model":"gpt-4o","stream":true,"messages":[{"content":"Say hello to the world"}]}"#;
        let told = |status: &str, stream: &str, cause: Cause, settings: Settings| {
            let mut observer = observer("openai", "POST /v1/chat/completions 1.1\n", 0);
            observer.kept = Kept::new(observer.call.operation, &settings);
            observer.settings = Arc::new(settings);
            observer.see(at(1), Entry::Body(Request, body.as_bytes()));
            observer.see(at(1), Entry::At(Milestone::RequestEnd));
            let head = format!("{status} 1.1\ncontent-type: text/event-stream\n");
            observer.see(at(2), Entry::Head(head.as_bytes()));
            observer.see(at(3), Entry::Body(Answered, stream.as_bytes()));
            let seen = observer.finish(&ended(4, cause));
            seen.estimate.map(|it| (it.usage.input, it.usage.output, it.stands_in))
        };
        let cut = ["Hello", ",", " world", "!"].map(delta).concat();
        let done = cut.clone() + "data: [DONE]\n\n";
        let usual = || Settings::default();
        let expected = Some((Some(11), Some(4), false));
        assert_eq!(told("200", &done, Cause::Complete, usual()), expected, "nobody asked");
        assert_eq!(told("200", &cut, Cause::ClientGone, usual()), expected, "the client left");
        assert_eq!(told("200", &cut, Cause::UpstreamReset("reset"), usual()), expected, "cut");
        let stands_in = Settings { estimates_stand_in: true, ..usual() };
        let found = told("200", &done, Cause::Complete, stands_in);
        assert_eq!(found, Some((Some(11), Some(4), true)));
        let reported = cut.clone() + END;
        assert_eq!(told("200", &reported, Cause::Complete, usual()), None, "it is reported");
        let error = r#"{"error":{"code":"x"}}"#;
        assert_eq!(told("400", error, Cause::Complete, usual()), None, "no model answered");
        let off = Settings { estimate_bytes: 0, ..usual() };
        assert_eq!(told("200", &done, Cause::Complete, off), None, "nobody wants it");
        let short = Settings { event_bytes: 60, ..usual() };
        let unread = told("200", &(cut + &delta(&"x".repeat(60))), Cause::ClientGone, short);
        assert_eq!(unread, Some((Some(11), None, false)), "not all of it was read");
    }

    #[test]
    fn many_chunks_and_one_token_are_suspicious() {
        let mut observer = chat();
        observer.see(at(2), Entry::Head(SSE));
        let end = END.replace("\"completion_tokens\":2", "\"completion_tokens\":1");
        let body = delta("a").repeat(6) + &end;
        observer.see(at(3), Entry::Body(Answered, body.as_bytes()));
        let seen = observer.finish(&ended(5, Cause::Complete));
        assert_eq!(seen.notes, [Note::UsageSuspicious]);
        let mut observer = chat();
        observer.see(at(2), Entry::Head(SSE));
        let end =
            END.replace("\"completion_tokens\":2", "\"completion_tokens\":2,\"total_tokens\":9");
        observer.see(at(3), Entry::Body(Answered, end.as_bytes()));
        let seen = observer.finish(&ended(5, Cause::Complete));
        assert_eq!(seen.notes, [Note::UsageSuspicious], "the total is another");
    }

    type InputAndOutput = (Option<u64>, Option<u64>);

    /// What a whole answer tells: its usage, its ending, its notes.
    fn whole(body: &[u8]) -> (Option<InputAndOutput>, Ending, Vec<Note>) {
        let mut observer = chat();
        observer.see(at(2), Entry::Head(b"200 1.1\ncontent-type: application/json\n"));
        observer.see(at(3), Entry::Body(Answered, body));
        let seen = observer.finish(&ended(5, Cause::Complete));
        assert_eq!(seen.error_side, None, "{body:?}");
        (seen.usage.value().map(|it| (it.input, it.output)), seen.ending, seen.notes)
    }

    #[test]
    fn what_most_clients_read_costs_an_answer_nothing() {
        let answer = |content: &[u8], input: &[u8]| {
            let begin = br#"{"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"content":"#;
            let usage = br#"}}],"usage":{"completion_tokens":2,"prompt_tokens":"#;
            [begin, content, usage, input, b"}}"].concat()
        };
        let usual = answer(b"\"Hi\"", b"3");
        for body in [
            answer(br#""Hi \ud83d""#, b"3"),
            answer(b"\"\xf0\x9f\"", b"3"),
            answer(b"\"a\x00\nb\"", b"3"),
            answer(b"\"Hi\",\"logprob\":NaN,\"top\":[-Infinity,1e999]", b"3"),
            [b"\xef\xbb\xbf".as_slice(), &usual].concat(),
            [&usual, b"\0\0\0".as_slice()].concat(),
            [&usual, b"\n</html>".as_slice()].concat(),
        ] {
            let expected = (Some((Some(3), Some(2))), Ending::Complete, vec![]);
            assert_eq!(whole(&body), expected, "{}", String::from_utf8_lossy(&body));
        }
        let (usage, ..) = whole(&answer(b"\"Hi\"", b"1e400"));
        assert_eq!(usage, Some((None, Some(2))), "a number out of range is unknown");
    }

    #[test]
    fn a_well_framed_answer_that_cannot_be_read_is_nobodys_fault_and_not_estimated() {
        for body in [b"{'single': 'quotes'}".as_slice(), b"{\"a\":1}{\"b\":2}", b"{]"] {
            let expected = (None, Ending::Complete, vec![Note::ResponseUnreadable]);
            assert_eq!(whole(body), expected);
        }
        let seen = |body: &[u8], head: &[u8]| {
            let mut observer = observer("openai", "POST /v1/chat/completions 1.1\n", 0);
            observer.see(
                at(1),
                Entry::Body(Request, br#"{"model":"gpt-4o","messages":[{"content":"Hi"}]}"#),
            );
            observer.see(at(1), Entry::At(Milestone::RequestEnd));
            observer.see(at(2), Entry::Head(head));
            observer.see(at(3), Entry::Body(Answered, body));
            let seen = observer.finish(&ended(5, Cause::Complete));
            assert_eq!(seen.estimate, None);
            (seen.ending.as_str(), seen.error_type, seen.usage)
        };
        let complete = ("complete", None, Known::Unknown("unreadable"));
        assert_eq!(seen(b"{]", b"200 1.1\ncontent-type: application/json\n"), complete);
        assert_eq!(
            seen(b"\x0a\x03abc", b"200 1.1\ncontent-type: application/x-protobuf\n"),
            complete
        );
        let unread = delta("Hi") + "data: {\"finish_reason\":'stop'}\n\n";
        assert_eq!(seen(unread.as_bytes(), SSE), complete, "its end may be what could not be read");
        let page = ("error_in_stream", Some("no_answer".to_owned()), Known::Unknown("no_answer"));
        for head in [
            SSE,
            b"200 1.1\ncontent-type: text/html\n",
            b"200 1.1\ncontent-type: application/json\n",
        ] {
            assert_eq!(seen(b"\n<!DOCTYPE html><html>Log in</html>", head), page);
        }
        let empty = ("truncated", Some("truncated".to_owned()), Known::Unknown("cut"));
        assert_eq!(seen(b"", b"200 1.1\ncontent-type: application/json\n"), empty);
    }

    #[test]
    fn an_error_within_a_stream_is_estimated_as_what_came_before_it() {
        let told = |stream: &str| {
            let mut observer = observer("anthropic", "POST /v1/messages 1.1\n", 0);
            let body =
                br#"{"model":"claude-x","stream":true,"messages":[{"content":"Say hello"}]}"#;
            observer.see(at(1), Entry::Body(Request, body));
            observer.see(at(1), Entry::At(Milestone::RequestEnd));
            observer.see(at(2), Entry::Head(SSE));
            observer.see(at(3), Entry::Body(Answered, stream.as_bytes()));
            let seen = observer.finish(&ended(5, Cause::Complete));
            assert_eq!(seen.ending, Ending::ErrorInStream);
            (seen.usage, seen.estimate.map(|it| (it.usage.input, it.usage.output)))
        };
        let start = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":900,\"output_tokens\":1}}}\n\n";
        let text =
            "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Hello, world!\"}}\n\n";
        let error = "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
        let cut = |input, output| (Known::Unknown("cut"), Some((Some(input), Some(output))));
        assert_eq!(told(&[start, text, error].concat()), cut(900, 4));
        assert_eq!(told(&[start, error].concat()), cut(900, 1));
        assert_eq!(told(error), (Known::Unknown("error"), None), "nothing was answered");
    }

    #[test]
    fn no_order_of_entries_is_a_fault() {
        let gzip = b"200 1.1\ncontent-type: text/event-stream\ncontent-encoding: gzip\n";
        let stream = delta("a") + END;
        let entries = [
            Entry::At(Milestone::RequestEnd),
            Entry::At(Milestone::Sent),
            Entry::Head(SSE),
            Entry::Head(gzip),
            Entry::Head(b""),
            Entry::Head(b"101 1.1\n"),
            Entry::Body(Request, REQUEST.as_bytes()),
            Entry::Body(Request, b"\xff"),
            Entry::Body(Answered, stream.as_bytes()),
            Entry::Body(Answered, b"{\"error\":"),
            Entry::Body(Answered, b""),
            Entry::Gap(Request, 3),
            Entry::Gap(Answered, 3),
        ];
        let causes = [Cause::Complete, Cause::ClientGone, Cause::UpstreamReset("reset")];
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..3000 {
            let dialect = *random.choice(&["openai", "ollama", "gemini", "unknown"]).unwrap();
            let mut observer =
                observer(dialect, "POST /v1/chat/completions 1.1\n", random.usize(..40));
            for _ in 0..random.usize(..12) {
                let entry = *random.choice(&entries).unwrap();
                observer.see(at(random.u64(..100)), entry);
            }
            let seen = observer.finish(&ended(100, *random.choice(&causes).unwrap()));
            assert!(seen.notes.len() <= 10);
        }
    }

    #[test]
    fn calls_on_a_socket_carry_the_conversation_where_ids_may_be_kept_and_end_with_it() {
        let calls = |client_ids| {
            let head = "GET /v1/realtime 1.1\nx-claude-code-session-id: c-1\nupgrade: websocket\n";
            let mut observer = observer("openai", head, 0);
            observer.settings = Arc::new(Settings { client_ids, ..Settings::default() });
            observer.see(at(1), Entry::At(Milestone::RequestEnd));
            let head = b"101 1.1\nupgrade: websocket\nconnection: Upgrade\n";
            observer.see(at(2), Entry::Head(head));
            for event in [
                r#"{"type":"response.created","response":{"id":"a"}}"#,
                r#"{"type":"response.done","response":{"id":"a","status":"completed","usage":{"input_tokens":5,"output_tokens":6}}}"#,
                r#"{"type":"response.created","response":{"id":"b"}}"#,
            ] {
                // A text frame of a server, unmasked (RFC 6455 5.2).
                let mut frame = vec![0x81, 126];
                frame.extend((event.len() as u16).to_be_bytes());
                frame.extend(event.as_bytes());
                observer.see(at(3), Entry::Body(Answered, &frame));
            }
            observer.close(&ended(9, Cause::ClientGone));
            let told = |call: Observation| {
                let usage = call.usage.value().and_then(|usage| usage.input);
                let end = call.times.end;
                (call.response.id, call.ending, usage, end, call.request.conversation)
            };
            observer.turns().into_iter().map(told).collect::<Vec<_>>()
        };
        let expected = |conversation: Option<&str>| {
            let conversation = conversation.map(str::to_owned);
            let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
            let whole = (a, Ending::Complete, Some(5), at(0), conversation.clone());
            [whole, (b, Ending::ClientCanceled, None, at(6), conversation)]
        };
        assert_eq!(calls(true)[..], expected(Some("c-1")));
        assert_eq!(calls(false)[..], expected(None));
    }
}
