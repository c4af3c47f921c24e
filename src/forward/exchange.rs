//! One exchange, from the client's head to the last byte of the answer.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::PROXY_AUTHORIZATION;
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version, request, response};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;

use super::ask::{self, Answer};
use super::client::Client;
use super::error::Error;
use super::headers::{self, Framing, Hop, ToUpstream};
use super::live::Live;
use super::reply::{self, Asked};
use super::route::{self, Route, Scope};
use super::send::{self, Lease};
use super::settings::Upstream;
use super::tee::{Body, RequestTee, ResponseTee};
use super::tunnel::Upgrade;
use super::upload::{Broken, Upload};
use super::{Forward, Slot};
use crate::tape::{Cause, Milestone, RequestPen, ResponsePen, Start};

/// Where a request came in.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) scope: Scope,
    pub(super) peer: Option<SocketAddr>,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    pub(super) client: Arc<Client>,
}

/// An exchange that is not over: dropped, it ends for the reason that holds then.
#[derive(Debug)]
pub(super) struct Running {
    pen: ResponsePen,
    client: Arc<Client>,
    // Gives the exchange's place back when dropped.
    slot: Option<Slot>,
}

impl Running {
    pub(super) fn data(&mut self, chunk: &[u8], last: bool) {
        self.pen.data(chunk, last);
    }

    /// So many taped bytes do not reach the client; `left`: some that should not, do.
    pub(super) fn withhold(&mut self, bytes: u64, left: bool) {
        self.pen.withhold(bytes);
        if left {
            self.pen.milestone(Milestone::AskLeft, Instant::now());
        }
    }

    /// The client's connection.
    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// The pen for what the client sends after its connection was upgraded.
    pub(super) fn upgraded(&mut self) -> RequestPen {
        self.pen.upgraded()
    }

    /// The client's fault, where its request broke off: then the upstream's connection does too.
    fn fault(&self) -> Option<Error> {
        let broken = self.upload().broken()?;
        Some(match broken {
            _ if self.client.stalled() => Error::ClientStalled,
            Broken::Gone => Error::ClientGone,
            Broken::Malformed => Error::BadRequest,
        })
    }

    /// How the request's body comes in.
    pub(super) fn upload(&self) -> &Upload {
        self.client.upload()
    }

    /// The upstream broke off within its answer.
    pub(super) fn end_broken(&mut self) {
        let cause = self.fault().map_or(Cause::UpstreamReset("connection_broken"), |it| it.cause());
        self.end(cause);
    }

    pub(super) fn is_uploading(&self) -> bool {
        self.client.is_uploading()
    }

    /// Whether the client's connection carries others too.
    pub(super) fn is_stream(&self) -> bool {
        self.client.is_stream()
    }

    /// Whether it is the client's turn to make room for more.
    pub(super) fn turn_to_read(&self, theirs: bool) {
        self.client.turn_to_read(theirs);
    }

    /// Only the first end counts.
    pub(super) fn end(&mut self, cause: Cause) {
        if !self.pen.ended() {
            self.pen.end(cause);
            self.slot = None;
            self.client.end();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.pen.ended() {
            let cause = if self.client.stalled() {
                Cause::ClientStalled
            } else if self.client.is_cut() {
                Cause::Refused("shutdown")
            } else {
                Cause::ClientGone
            };
            self.end(cause);
        }
    }
}

impl Forward {
    /// One exchange, top to bottom.
    pub(super) async fn exchange(
        self: Arc<Self>,
        arrival: Arrival,
        mut request: Request<Incoming>,
    ) -> Response<Body> {
        let zero = Instant::now();
        let live = self.live();
        arrival.client.begin(!request.body().is_end_stream());
        let upgrade = Upgrade::wished(&mut request);
        let (head, body) = request.into_parts();
        let route =
            route::find(&live.settings, &arrival.scope, &head.method, &head.uri, &head.headers);
        let (request_pen, mut running) = self.start(zero, &live, &arrival, &head, route);
        let asked = Asked::new(&head.method, &head.headers);
        if head.method == Method::CONNECT {
            return reply(&Error::Tunnel, asked, &live, None, running);
        }
        let Some(route) = route else {
            return reply(&Error::NoRoute, asked, &live, None, running);
        };
        let (upstream, _) = live.upstream(route.upstream);
        let Some(slot) = self.admission.enter() else {
            return reply(&Error::Busy, asked, &live, Some(upstream), running);
        };
        running.slot = Some(slot);
        let body = RequestTee::new(body, request_pen, Arc::clone(&arrival.client));
        let from = Hop::of_client(&head);
        let hop = match upgrade {
            Some(_) => Hop::Upgrade,
            None if upstream.http2 => Hop::Stream,
            None => Hop::Exchange,
        };
        let sent = if hop != Hop::Upgrade && ask::may_ask(upstream, &head, &body) {
            Box::pin(self.ask(&live, route, head, body, hop, &mut running)).await
        } else {
            send(&live, route, head, body, hop, &mut running.pen).await
        };
        match (sent, upgrade) {
            (Ok(answered), Some(upgrade)) if is_switch(&answered.response) => {
                switch(answered, upgrade, &live, running)
            }
            (Ok(answered), _) if is_switch(&answered.response) => {
                reply(&Error::Unasked, asked, &live, Some(upstream), running)
            }
            (Ok(answered), _) => relay(answered, from, &live, running),
            (Err(error), _) => {
                let error = running.fault().unwrap_or(error);
                reply(&error, asked, &live, Some(upstream), running)
            }
        }
    }

    /// Sends the request with a question about the stream's usage, where that can be put into it;
    /// refused, once more as the client wrote it.
    async fn ask(
        &self,
        live: &Live,
        route: Route,
        mut head: request::Parts,
        body: RequestTee,
        hop: Hop,
        running: &mut Running,
    ) -> Result<Answered, Error> {
        let (upstream, _) = live.upstream(route.upstream);
        let limits = &live.settings.limits;
        let (body, question) =
            self.asking.hold(body, &head, upstream, limits, &mut running.pen).await;
        let Some(question) = question else {
            return send(live, route, head, body, hop, &mut running.pen).await;
        };
        let original = head.clone();
        question.edit(&mut head);
        let answered = send(live, route, head, body, hop, &mut running.pen).await?;
        if !ask::is_refusal(answered.response.status()) {
            let asked = self.asking.answer(&answered.response, limits, &mut running.pen);
            return Ok(Answered { asked, ..answered });
        }
        running.pen.milestone(Milestone::AskRefused, Instant::now());
        discard(answered, running).await;
        let answered =
            send(live, route, original, question.original(), hop, &mut running.pen).await?;
        if answered.response.status().is_success() {
            self.asking.pause(&question, upstream, limits);
        }
        Ok(answered)
    }

    /// Begins the tape.
    fn start(
        &self,
        zero: Instant,
        live: &Live,
        arrival: &Arrival,
        head: &request::Parts,
        route: Option<Route>,
    ) -> (RequestPen, Running) {
        let start = Start {
            ids: super::trace_context::ids(&head.headers),
            upstream: route.map(|it| Arc::clone(&live.upstream(it.upstream).0.facts)),
            started: SystemTime::now(),
            client: arrival.peer,
            scheme: arrival.scheme,
            mount: route.map_or(0, |it| it.mount),
            head: headers::tape_request(head),
        };
        let (request_pen, pen) = self.tapes.start(zero, start);
        let client = Arc::clone(&arrival.client);
        (request_pen, Running { pen, client, slot: None })
    }
}

/// An answer's head, and what its body needs.
struct Answered {
    response: Response<Incoming>,
    lease: Lease,
    /// Takes out of it what our question caused.
    asked: Option<Box<Answer>>,
}

/// The upstream's answer on its way to the client.
fn relay(answered: Answered, hop: Hop, live: &Live, mut running: Running) -> Response<Body> {
    let Answered { response, lease, asked } = answered;
    let (mut head, body) = response.into_parts();
    lease.mark(&mut running.pen);
    running.pen.head(&headers::tape_response(&head));
    let framing = framing_to_client(&head, &body, hop);
    if framing == Framing::Close {
        // The only way to make hyper leave an answer without length or chunks.
        head.version = Version::HTTP_10;
    } else if head.version == Version::HTTP_2 {
        head.version = Version::HTTP_11;
    }
    head.headers = headers::to_client(head.headers, framing, hop);
    let silence = live.settings.limits.upstream_silence;
    let tee = ResponseTee::new(body, running, lease, asked, silence);
    Response::from_parts(head, Body::Tee(Box::new(tee)))
}

fn is_switch(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// The upstream speaks the protocol that the client wished for: from here on bytes go both ways.
fn switch(
    answered: Answered,
    upgrade: Upgrade,
    live: &Live,
    mut running: Running,
) -> Response<Body> {
    let Answered { mut response, lease, .. } = answered;
    lease.mark(&mut running.pen);
    let upstream = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    running.pen.head(&headers::tape_response(&head));
    head.headers = headers::to_client(head.headers, Framing::Length, Hop::Upgrade);
    upgrade.join(upstream, running, live.settings.limits.tunnel_idle);
    Response::from_parts(head, Body::Own(Full::default()))
}

/// An answer of our own.
fn reply(
    error: &Error,
    asked: Asked,
    live: &Live,
    upstream: Option<&Upstream>,
    mut running: Running,
) -> Response<Body> {
    let shape = upstream.map_or(&live.settings.shape, |upstream| &upstream.shape);
    let (head, body) = reply::to(error, asked, &live.settings, shape).into_parts();
    if !matches!(error, Error::ClientGone) {
        running.pen.head(&headers::tape_response(&head));
    }
    if !body.is_empty() {
        running.data(&body, true);
    }
    running.end(error.cause());
    Response::from_parts(head, Body::Own(body.into()))
}

/// Sends on a leased connection; the answer's head, or our limit on waiting for it.
async fn send(
    live: &Live,
    route: Route,
    head: request::Parts,
    body: RequestTee,
    hop: Hop,
    pen: &mut ResponsePen,
) -> Result<Answered, Error> {
    let (upstream, _) = live.upstream(route.upstream);
    let client = body.client();
    let request = outgoing(head, body, upstream, route, hop, pen)?;
    let limit = live.settings.limits.upstream_silence;
    let sending = std::pin::pin!(send::send(live, route.upstream, request, hop, pen));
    let (response, lease) =
        if limit.is_zero() { sending.await? } else { within(limit, &client, sending).await? };
    // What an egress proxy wants of us is not for the client (RFC 9110 11.7.1).
    let wants = response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
    if wants && upstream.forwarder(hop).is_some() {
        return Err(Error::ProxyAuthentication);
    }
    Ok(Answered { response, lease, asked: None })
}

/// What `sending` gives, unless the upstream is silent for longer than `limit` while it is its turn.
async fn within<T>(
    limit: Duration,
    client: &Client,
    mut sending: Pin<&mut impl Future<Output = Result<T, Error>>>,
) -> Result<T, Error> {
    let begun = tokio::time::Instant::now();
    loop {
        let due = client.upload().silence_due(begun, limit);
        match tokio::time::timeout_at(due, sending.as_mut()).await {
            Ok(sent) => return sent,
            // Unless the client moved in the meantime.
            Err(_) if client.upload().silence_due(begun, limit) <= due => {
                return Err(Error::Silent);
            }
            Err(_) => (),
        }
    }
}

/// Reads an answer that nobody is to see; its connection is kept if that is soon done.
async fn discard(answered: Answered, running: &Running) {
    let Answered { response, lease, .. } = answered;
    if ask::discard(response.into_body()).await && !running.is_uploading() {
        lease.finish();
    }
}

/// The request as the upstream is to see it.
fn outgoing(
    mut head: request::Parts,
    body: RequestTee,
    upstream: &Upstream,
    route: Route,
    hop: Hop,
    pen: &ResponsePen,
) -> Result<Request<RequestTee>, Error> {
    let is_shared = hop == Hop::Stream;
    let framing = match body.size_hint().exact() {
        Some(_) => Framing::Length,
        None if is_shared => Framing::Frames,
        None => Framing::Chunked,
    };
    let traceparent =
        upstream.propagate.then(|| super::trace_context::traceparent(pen.ids())).flatten();
    let crumbs = head.version == Version::HTTP_2 && !is_shared;
    let host = (!is_shared).then(|| upstream.host.clone());
    head.uri = target(&head.uri, route.mount, &prefix(upstream, hop))?;
    head.version = Version::HTTP_11;
    if is_shared {
        head.uri = absolute(head.uri, upstream)?;
        head.version = Version::HTTP_2;
    }
    let to = ToUpstream { host, framing, hop, crumbs, traceparent };
    head.headers = headers::to_upstream(head.headers, to);
    if let Some(credentials) = upstream.proxy_authorization(hop) {
        // Ours go before the app's, which cannot know our proxy.
        head.headers.insert(PROXY_AUTHORIZATION, credentials.clone());
    }
    Ok(Request::from_parts(head, body))
}

/// What stands before the request's path: the base path, and for a proxy that takes the request
/// itself all that says where it is to go.
fn prefix(upstream: &Upstream, hop: Hop) -> Cow<'_, str> {
    let host = upstream.forwarder(hop).and_then(|_| upstream.host.to_str().ok());
    match host {
        Some(host) => format!("http://{host}{}", upstream.base_path).into(),
        None => upstream.base_path.as_str().into(),
    }
}

/// The request target: what the client sent, without the mount and behind the base path.
pub(super) fn target(uri: &Uri, mount: usize, base_path: &str) -> Result<Uri, Error> {
    if mount == 0 && base_path.is_empty() {
        return Ok(uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from));
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let rest = target.get(mount..).unwrap_or_default();
    let slash = if rest.starts_with('/') { "" } else { "/" };
    format!("{base_path}{slash}{rest}").parse().map_err(|_| Error::NoRoute)
}

/// A target with the upstream's scheme and authority before it, which HTTP/2 sends in place of `Host`.
fn absolute(target: Uri, upstream: &Upstream) -> Result<Uri, Error> {
    let mut parts = target.into_parts();
    parts.scheme = Some(if upstream.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    let authority = Authority::try_from(upstream.host.as_bytes());
    parts.authority = Some(authority.map_err(|_| Error::NoRoute)?);
    Uri::from_parts(parts).map_err(|_| Error::NoRoute)
}

/// An answer with neither length nor chunks ended by closing, and does so again where the client's
/// connection is the exchange's own.
fn framing_to_client(head: &response::Parts, body: &Incoming, hop: Hop) -> Framing {
    if body.size_hint().exact().is_some() {
        Framing::Length
    } else if hop == Hop::Stream {
        Framing::Frames
    } else if head.version == Version::HTTP_2
        || head.headers.contains_key(http::header::TRANSFER_ENCODING)
    {
        Framing::Chunked
    } else {
        Framing::Close
    }
}

impl Lease {
    /// Tapes when the request was written.
    fn mark(&self, pen: &mut ResponsePen) {
        if let Some((first, last)) = self.written() {
            pen.milestone(Milestone::Sent, first);
            pen.milestone(Milestone::SentAll, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target_of(uri: &str, mount: usize, base: &str) -> String {
        target(&uri.parse().unwrap(), mount, base).unwrap().to_string()
    }

    #[test]
    fn a_target_goes_out_as_it_came_in() {
        for uri in ["/v1/a%2Fb?x=%20&y", "/", "/v1//x/", "/a?b?c"] {
            assert_eq!(target_of(uri, 0, ""), uri);
        }
        assert_eq!(target_of("http://proxy/v1/x?y", 0, ""), "/v1/x?y");
        assert_eq!(target_of("*", 0, ""), "*");
    }

    #[test]
    fn a_mount_is_taken_off_and_a_base_path_put_in_front() {
        assert_eq!(target_of("/openai/v1/x?y", 7, ""), "/v1/x?y");
        assert_eq!(target_of("/openai", 7, ""), "/");
        assert_eq!(target_of("/openai?x=1", 7, "/base"), "/base/?x=1");
        assert_eq!(target_of("/v1/x", 0, "/base"), "/base/v1/x");
    }
}
