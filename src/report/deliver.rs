//! Delivers one export: tries until its endpoint takes it or refuses it for good. Knows no signal,
//! and neither protocol from within.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Uri};
use tokio::time::{Instant, sleep};

use super::attempt::{Attempt, Error};
use super::connect::Means;
use super::settings::{Exporter, Protocol};
use super::{grpc, post};

/// The first pause before another try; each is half as long again, and a third shorter or longer.
const PAUSE: Duration = Duration::from_millis(300);
/// No pause is longer, unless the endpoint asks for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An endpoint, by the protocol it speaks.
pub(super) enum Endpoint {
    Http(post::Endpoint),
    Grpc(grpc::Endpoint),
}

impl Endpoint {
    pub(super) fn new(uri: &Uri, exporter: &Exporter, means: &Means) -> Self {
        let headers = exporter.headers.iter().map(|(name, value)| (name.clone(), value.0.clone()));
        let headers: HeaderMap = headers.collect();
        match exporter.protocol {
            Protocol::Http => Self::Http(post::Endpoint::new(uri, headers, exporter.gzip, means)),
            Protocol::Grpc => Self::Grpc(grpc::Endpoint::new(uri, headers, exporter.gzip, means)),
        }
    }

    /// What an export becomes on the wire.
    pub(super) fn encode(&self, body: Vec<u8>) -> Bytes {
        match self {
            Self::Http(endpoint) => endpoint.encode(body),
            Self::Grpc(endpoint) => endpoint.encode(body),
        }
    }

    async fn attempt(&mut self, body: Bytes, until: Instant) -> Result<Attempt, Error> {
        match self {
            Self::Http(endpoint) => endpoint.post(body).await,
            Self::Grpc(endpoint) => {
                let left = until.saturating_duration_since(Instant::now());
                endpoint.call(body, left).await
            }
        }
    }
}

/// What connections of `exporter` are made of.
pub(super) fn means(exporter: &Exporter) -> Result<Means, rustls::Error> {
    let protocol = match exporter.protocol {
        Protocol::Http => post::ALPN,
        Protocol::Grpc => grpc::ALPN,
    };
    Means::of(exporter, protocol)
}

/// How many records the endpoint refused of those it took, and its words; or why it took none. Ends
/// by itself only with one of these: whoever calls keeps the time, which the endpoint is told is up
/// at `until`. `last` is why the latest try failed.
pub(super) async fn deliver(
    endpoint: &mut Endpoint,
    body: Bytes,
    until: Instant,
    last: &mut String,
) -> Result<(u64, String), String> {
    let mut pause = PAUSE;
    loop {
        let asked = match endpoint.attempt(body.clone(), until).await {
            Ok(Attempt::Taken { refused, why }) => return Ok((refused, why)),
            Ok(Attempt::Refused { why }) => return Err(why),
            Ok(Attempt::Later { why, after }) => {
                *last = why;
                after
            }
            Err(error) => {
                *last = error.to_string();
                None
            }
        };
        let jittered = pause.mul_f64(2.0 / 3.0 + fastrand::f64() * 2.0 / 3.0);
        sleep(asked.unwrap_or(jittered)).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}
