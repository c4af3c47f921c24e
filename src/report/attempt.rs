//! What became of one attempt to deliver an export, whichever protocol it went by. Knows no socket.

use std::error::Error as _;
use std::io::{self, Write as _};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Collected, Limited};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

/// The most of an answer's body that is read.
const ANSWER_BYTES: usize = 64 << 10;
/// The most of an endpoint's own words that is told.
const WORDS: usize = 300;

/// Sent with each export.
pub(super) const USER_AGENT: &str = concat!("clearspan/", env!("CARGO_PKG_VERSION"));

/// What the endpoint made of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It took the records, but for so many, and says why.
    Taken { refused: u64, why: String },
    /// Not now: it may take them later, after the pause it asks for.
    Later { why: String, after: Option<Duration> },
    /// Never.
    Refused { why: String },
}

/// Why there was no answer. It is worth trying again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// The connection broke, or what came was no HTTP.
    #[error("no answer: {}", in_full(.0))]
    Http(#[from] hyper::Error),
    /// The answer's body could not be read, or was longer than we read.
    #[error("unreadable answer: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// hyper's own words name the protocol, their source the fault.
fn in_full(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// A whole answer, of which no more than we read.
pub(super) async fn read(body: Incoming) -> Result<Collected<Bytes>, Error> {
    Limited::new(body, ANSWER_BYTES).collect().await.map_err(Error::Body)
}

/// `Taken`, with what `partial_success` says: its field numbers are the same for each signal.
pub(super) fn taken(message: &[u8]) -> Attempt {
    let answer = ExportTraceServiceResponse::decode(message).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    let refused = u64::try_from(partial.rejected_spans).unwrap_or_default();
    Attempt::Taken { refused, why: words(&partial.error_message) }
}

/// What an endpoint says, fit for a line of ours.
pub(super) fn words(said: &str) -> String {
    said.chars().map(|it| if it.is_control() { ' ' } else { it }).take(WORDS).collect()
}

/// As `gzip` has it.
pub(super) fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing into memory cannot fail.
    drop(encoder.write_all(body));
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn a_partial_success_says_how_many_and_why() {
        let error_message = format!("too\nold {}", "x".repeat(400));
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message };
        let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        let Attempt::Taken { refused: 3, why } = taken(&body) else { panic!("three") };
        assert!(why.starts_with("too old x") && why.len() == WORDS, "{why}");
        let all = Attempt::Taken { refused: 0, why: String::new() };
        assert_eq!(taken(b""), all);
        assert_eq!(taken(b"no protobuf"), all);
    }
}
