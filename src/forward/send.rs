//! A request on a leased connection, until its answer's head.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::attempts::Attempts;
use super::connect::{Connection, Steps};
use super::error::Error;
use super::headers::Hop;
use super::live::Live;
use super::pool::Pool;
use super::shared::Stream;
use super::tee::RequestTee;
use crate::tape::{Milestone, ResponsePen};

/// The connection that an exchange holds, or its part of one. Dropped before `finish`, it is closed.
#[derive(Debug)]
pub(super) enum Lease {
    /// A connection of its own (HTTP/1).
    Own {
        connection: Connection,
        // Where it goes once the exchange is over; one that was to be upgraded is closed.
        pool: Option<Arc<Pool>>,
    },
    /// A stream of one that others share (HTTP/2).
    Shared { stream: Stream, attempts: Attempts },
}

impl Lease {
    /// When the first and the last byte of the request so far were written. On a connection that
    /// others share that cannot be seen: there it is when the request was given to the connection,
    /// and when that took the last piece of its body. What it took it has room to send, or at most
    /// one piece waits for room that the upstream has yet to give.
    pub(super) fn written(&self) -> Option<(Instant, Instant)> {
        match self {
            Self::Own { connection, .. } => connection.stamps.written(),
            Self::Shared { attempts, .. } => attempts.written(),
        }
    }

    /// The exchange is over: its connection can serve the next one.
    pub(super) fn finish(self) {
        match self {
            Self::Own { connection, pool: Some(pool) } => pool.keep(connection),
            Self::Own { pool: None, .. } => (),
            Self::Shared { stream, attempts } => drop((stream, attempts)),
        }
    }
}

/// Sends `request`; where a kept connection turns out to be closed before a byte was written, once
/// more on another.
pub(super) async fn send(
    live: &Live,
    upstream: usize,
    request: Request<RequestTee>,
    hop: Hop,
    pen: &mut ResponsePen,
) -> Result<(Response<Incoming>, Lease), Error> {
    pen.milestone(Milestone::Lease, Instant::now());
    match hop {
        // In memory of its own: an exchange need not be as large where connections are its own.
        Hop::Stream => Box::pin(send_shared(live, upstream, request, pen)).await,
        Hop::Exchange | Hop::Last | Hop::Upgrade => {
            send_own(live, upstream, request, hop, pen).await
        }
    }
}

async fn send_own(
    live: &Live,
    upstream: usize,
    mut request: Request<RequestTee>,
    hop: Hop,
    pen: &mut ResponsePen,
) -> Result<(Response<Incoming>, Lease), Error> {
    let (settings, pool) = live.upstream(upstream);
    let (mut connection, mut steps) = match hop {
        Hop::Upgrade => pool.connect(&live.connector, settings, hop).await?,
        Hop::Exchange | Hop::Last | Hop::Stream => pool.lease(&live.connector, settings).await?,
    };
    loop {
        mark(pen, steps);
        match connection.sender.try_send_request(request).await {
            Ok(response) => {
                let pool = (hop == Hop::Exchange).then(|| Arc::clone(pool));
                return Ok((response, Lease::Own { connection, pool }));
            }
            Err(refused) => request = unsent(refused, steps)?,
        }
        (connection, steps) = pool.connect(&live.connector, settings, hop).await?;
    }
}

/// How often a request goes out again that an upstream refused unprocessed, or that a new connection
/// gave back.
const REPEATS: u32 = 3;

async fn send_shared(
    live: &Live,
    upstream: usize,
    request: Request<RequestTee>,
    pen: &mut ResponsePen,
) -> Result<(Response<Incoming>, Lease), Error> {
    let (settings, pool) = live.upstream(upstream);
    let (head, body) = request.into_parts();
    let attempts = Attempts::new(body, live.settings.limits.http2_repeat);
    let mut repeats = REPEATS;
    loop {
        let (stream, mut sender, steps) = pool.shared.lease(&live.connector, settings).await?;
        mark(pen, steps);
        let request = Request::from_parts(head.clone(), attempts.next());
        let sending = sender.try_send_request(request);
        drop(sender);
        let refused = match sending.await {
            Ok(response) => return Ok((response, Lease::Shared { stream, attempts })),
            Err(refused) => refused,
        };
        let untouched = refused.message().is_some();
        let error = refused.into_error();
        // A kept connection that gave it back untouched is closed: at last there is a new one.
        if untouched && steps.is_none() {
            continue;
        }
        let again = untouched || attempts.can_repeat() && is_unprocessed(&error);
        if repeats == 0 || !again {
            return Err(Error::Upstream(error));
        }
        repeats -= 1;
    }
}

/// Whether the upstream says that it has not begun with a request and will not: its stream came after
/// the last that it takes (RFC 9113 6.8), or was refused (8.7). Then it may be sent again whatever
/// it asks for.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        let refused = cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (cause.is_go_away() || cause.is_reset() && refused)
    })
}

/// The request that a kept connection gave back untouched.
fn unsent(
    mut refused: TrySendError<Request<RequestTee>>,
    steps: Option<Steps>,
) -> Result<Request<RequestTee>, Error> {
    match refused.take_message() {
        Some(request) if steps.is_none() => Ok(request),
        _ => Err(Error::Upstream(refused.into_error())),
    }
}

/// Tapes how the connection came about.
fn mark(pen: &mut ResponsePen, steps: Option<Steps>) {
    if let Some(steps) = steps {
        pen.milestone(Milestone::Tcp, steps.tcp);
        if let Some(tls) = steps.tls {
            pen.milestone(Milestone::Tls, tls);
        }
    }
    pen.milestone(Milestone::Connected, Instant::now());
}
