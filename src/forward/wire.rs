//! How hyper, sockets and the runtime are set up: one place, shared with the benchmark's bare
//! pass-through, so that both stand on the same ground. Knows no exchange.

use std::io;

use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// Fields in one head. hyper's own limit of 100 is too low for some gateways.
const HEADERS: usize = 256;

/// Towards clients: names keep their case, and no `Date` of our own is added.
pub fn server() -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .preserve_header_case(true)
        .auto_date_header(false)
        .max_headers(HEADERS)
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
