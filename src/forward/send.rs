//! A request on a leased connection, until its answer's head.

use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;

use super::connect::{Connection, Steps};
use super::error::Error;
use super::headers::Hop;
use super::live::Live;
use super::pool::Pool;
use super::tee::RequestTee;
use crate::tape::{Milestone, ResponsePen};

/// The connection that an exchange holds. Dropped before `finish`, it is closed.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Connection,
    // Where it goes once the exchange is over; one that was to be upgraded is closed.
    pool: Option<Arc<Pool>>,
}

impl Lease {
    /// When the first and the last byte of the request so far were written.
    pub(super) fn written(&self) -> Option<(Instant, Instant)> {
        self.connection.stamps.written()
    }

    /// The exchange is over: the connection can serve the next one.
    pub(super) fn finish(self) {
        if let Some(pool) = self.pool {
            pool.keep(self.connection);
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
    let (settings, pool) = live.upstream(upstream);
    pen.milestone(Milestone::Lease, Instant::now());
    let (mut connection, mut steps) = match hop {
        Hop::Exchange => pool.lease(&live.connector, settings).await?,
        Hop::Upgrade => pool.connect(&live.connector, settings, hop).await?,
    };
    let mut request = request;
    loop {
        mark(pen, steps);
        match connection.sender.try_send_request(request).await {
            Ok(response) => {
                let pool = (hop == Hop::Exchange).then(|| Arc::clone(pool));
                return Ok((response, Lease { connection, pool }));
            }
            Err(mut refused) => match refused.take_message() {
                Some(unsent) if steps.is_none() => request = unsent,
                _ => return Err(Error::Upstream(refused.into_error())),
            },
        }
        (connection, steps) = pool.connect(&live.connector, settings, hop).await?;
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
