//! How hyper, sockets and the runtime are set up: one place, shared with the benchmark's bare
//! pass-through, so that both stand on the same ground. Knows no exchange.

use std::io;

use hyper::client::conn::http1 as client;
use hyper::client::conn::http2 as http2_client;
use hyper::server::conn::http1 as server;
use hyper::server::conn::http2 as http2_server;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use super::settings::Limits;
use super::shared::UNKNOWN;

/// Fields in one HTTP/1 head. hyper's own limit of 100 is too low for some gateways.
const HEADERS: usize = 256;

/// Towards clients: names keep their case, and no `Date` of our own is added.
pub fn server() -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .preserve_header_case(true)
        .auto_date_header(false)
        .max_headers(HEADERS)
        // An end of what the client sends is its leaving, while an exchange runs too. To let it be would keep
        // hyper from reading on: one that is gone, even by a reset, would be noticed when its answer
        // is written, and the upstream would work for nobody until then.
        .half_close(false)
        // Idle and slow heads are `client_io`'s, which can tell one from the other.
        .header_read_timeout(None)
        .timer(TokioTimer::new());
    builder
}

/// Towards upstreams: names keep their case, and what a lax server sends is let through.
pub fn client() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .preserve_header_case(true)
        .max_headers(HEADERS)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    builder
}

/// Towards clients that speak HTTP/2. Floods of resets are hyper's to stop.
pub fn http2_server<E: Clone>(executor: E, limits: &Limits) -> http2_server::Builder<E> {
    let mut builder = http2_server::Builder::new(executor);
    builder
        .auto_date_header(false)
        .max_concurrent_streams(clamped(limits.client_streams))
        .initial_stream_window_size(clamped(limits.stream_window))
        .initial_connection_window_size(connection_window(limits, limits.client_streams))
        .max_header_list_size(clamped(limits.http2_head))
        .keep_alive_interval(Some(limits.ping).filter(|ping| !ping.is_zero()))
        .keep_alive_timeout(limits.ping)
        .timer(TokioTimer::new());
    builder
}

/// Towards upstreams that speak HTTP/2.
pub fn http2_client<E: Clone>(executor: E, limits: &Limits) -> http2_client::Builder<E> {
    let mut builder = http2_client::Builder::new(executor);
    builder
        .initial_max_send_streams(UNKNOWN)
        .initial_stream_window_size(clamped(limits.stream_window))
        .initial_connection_window_size(connection_window(limits, limits.upstream_streams))
        .max_header_list_size(clamped(limits.http2_head))
        .keep_alive_interval(Some(limits.ping).filter(|ping| !ping.is_zero()))
        .keep_alive_timeout(limits.ping)
        // Else hyper counts the streams before a new one is there to be counted, now and then, and an
        // upstream that is silent from then on is never asked. Few connections are idle for so long.
        .keep_alive_while_idle(true)
        .timer(TokioTimer::new());
    builder
}

/// Four times what all streams' windows hold together: a stream that nobody reads never slows
/// another, and h2, which ends a connection when unread frames of under 256 bytes use up half of its
/// window (each counts for the bytes that are missing to 256), bears it when many streams of small
/// events wait at once. Memory is bounded by the streams' own windows all the same.
fn connection_window(limits: &Limits, streams: usize) -> u32 {
    clamped(limits.stream_window.saturating_mul(streams).saturating_mul(4))
}

/// The largest window (RFC 9113 6.9.1), and more than any other number here.
fn clamped(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs())
}

/// Small writes go out at once: a streamed token must not wait for the next one.
///
/// # Errors
/// When the socket is gone already.
pub fn socket(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}

/// One worker thread for each core.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_name("clearspan").enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connections_window_is_never_the_streams_bottleneck_and_always_valid() {
        let limits = Limits::default();
        let all = limits.stream_window * limits.upstream_streams;
        assert!(connection_window(&limits, limits.upstream_streams) as usize > all);
        let huge = Limits { stream_window: usize::MAX, ..limits };
        assert_eq!(connection_window(&huge, 2), (1 << 31) - 1);
    }
}
