//! One exchange, from the client's head to the last byte of the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{Request, Response, StatusCode, Uri, Version, request, response};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;

use super::client_io::Client;
use super::error::Error;
use super::headers::{self, Framing, Hop, ToUpstream};
use super::live::Live;
use super::reply::{self, Asked};
use super::route::{self, Route, Scope};
use super::send::{self, Lease};
use super::settings::Upstream;
use super::tee::{Body, RequestTee, ResponseTee};
use super::tunnel::Upgrade;
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

    /// The client's connection.
    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// The pen for what the client sends after its connection was upgraded.
    pub(super) fn upgraded(&self) -> RequestPen {
        self.pen.upgraded()
    }

    pub(super) fn is_uploading(&self) -> bool {
        self.client.is_uploading()
    }

    pub(super) fn end(&mut self, cause: Cause) {
        self.pen.end(cause);
        self.slot = None;
        self.client.end();
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
        let route = route::find(
            &live.settings,
            arrival.scope,
            &head.method,
            head.uri.path(),
            &head.headers,
        );
        let (request_pen, mut running) = self.start(zero, &live, &arrival, &head, route);
        let asked = Asked::new(&head.method, &head.headers);
        let Some(route) = route else {
            return reply(&Error::NoRoute, asked, &live, None, running);
        };
        let (upstream, _) = live.upstream(route.upstream);
        let Some(slot) = self.admission.enter() else {
            return reply(&Error::Busy, asked, &live, Some(upstream), running);
        };
        running.slot = Some(slot);
        let body = RequestTee::new(body, request_pen, Arc::clone(&arrival.client));
        let hop = if upgrade.is_some() { Hop::Upgrade } else { Hop::Exchange };
        let sent = match outgoing(head, body, upstream, route, hop, &running.pen) {
            Ok(request) => send(&live, route.upstream, request, hop, &mut running.pen).await,
            Err(error) => Err(error),
        };
        match (sent, upgrade) {
            (Ok((response, lease)), Some(upgrade)) if is_switch(&response) => {
                switch(response, lease, upgrade, &live, running)
            }
            (Ok((response, lease)), _) => relay(response, lease, &live, running),
            (Err(error), _) => reply(&error, asked, &live, Some(upstream), running),
        }
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

/// The upstream's answer on its way to the client.
fn relay(
    response: Response<Incoming>,
    lease: Lease,
    live: &Live,
    mut running: Running,
) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    lease.mark(&mut running.pen);
    running.pen.head(&headers::tape_response(&head));
    let framing = framing_to_client(&head, &body);
    if framing == Framing::Close {
        // The only way to make hyper leave an answer without length or chunks.
        head.version = Version::HTTP_10;
    }
    head.headers = headers::to_client(head.headers, framing, Hop::Exchange);
    let silence = live.settings.limits.upstream_silence;
    let tee = ResponseTee::new(body, running, lease, silence);
    Response::from_parts(head, Body::Tee(Box::new(tee)))
}

fn is_switch(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// The upstream speaks the protocol that the client wished for: from here on bytes go both ways.
fn switch(
    mut response: Response<Incoming>,
    lease: Lease,
    upgrade: Upgrade,
    live: &Live,
    mut running: Running,
) -> Response<Body> {
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
    running.pen.head(&headers::tape_response(&head));
    if !body.is_empty() {
        running.data(&body, true);
    }
    running.end(error.cause());
    Response::from_parts(head, Body::Own(body.into()))
}

/// Sends on a leased connection; the answer's head, or our limit on waiting for it.
async fn send(
    live: &Live,
    upstream: usize,
    request: Request<RequestTee>,
    hop: Hop,
    pen: &mut ResponsePen,
) -> Result<(Response<Incoming>, Lease), Error> {
    let limit = live.settings.limits.upstream_silence;
    let sending = send::send(live, upstream, request, hop, pen);
    if limit.is_zero() {
        return sending.await;
    }
    tokio::time::timeout(limit, sending).await.map_err(|_| Error::Silent)?
}

/// The request as the upstream is to see it.
fn outgoing(
    head: request::Parts,
    body: RequestTee,
    upstream: &Upstream,
    route: Route,
    hop: Hop,
    pen: &ResponsePen,
) -> Result<Request<RequestTee>, Error> {
    let mut head = head;
    let framing =
        if body.size_hint().exact().is_some() { Framing::Length } else { Framing::Chunked };
    let traceparent =
        upstream.propagate.then(|| super::trace_context::traceparent(pen.ids())).flatten();
    head.uri = target(&head.uri, route.mount, &upstream.base_path)?;
    head.version = Version::HTTP_11;
    head.headers = headers::to_upstream(
        head.headers,
        ToUpstream { host: upstream.host.clone(), framing, hop, traceparent },
    );
    Ok(Request::from_parts(head, body))
}

/// The request target: what the client sent, without the mount and behind the base path.
pub(super) fn target(uri: &Uri, mount: usize, base_path: &str) -> Result<Uri, Error> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if mount == 0 && base_path.is_empty() && uri.scheme().is_none() {
        return Ok(uri.clone());
    }
    let rest = target.get(mount..).unwrap_or_default();
    let slash = if rest.starts_with('/') { "" } else { "/" };
    format!("{base_path}{slash}{rest}").parse().map_err(|_| Error::NoRoute)
}

/// An answer with neither length nor chunks ended by closing, and does so again.
fn framing_to_client(head: &response::Parts, body: &Incoming) -> Framing {
    if body.size_hint().exact().is_some() {
        Framing::Length
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
    }

    #[test]
    fn a_mount_is_taken_off_and_a_base_path_put_in_front() {
        assert_eq!(target_of("/openai/v1/x?y", 7, ""), "/v1/x?y");
        assert_eq!(target_of("/openai", 7, ""), "/");
        assert_eq!(target_of("/openai?x=1", 7, "/base"), "/base/?x=1");
        assert_eq!(target_of("/v1/x", 0, "/base"), "/base/v1/x");
    }
}
