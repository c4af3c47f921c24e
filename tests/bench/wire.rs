//! Stand-in for `clearspan::forward::wire` until the proxy has it: how each socket and HTTP/1
//! connection is set up. Knows no message.

use hyper::{client, server};
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// The settings of each connection that a client opened to us.
pub(crate) fn server() -> server::conn::http1::Builder {
    let mut builder = server::conn::http1::Builder::new();
    builder.preserve_header_case(true).auto_date_header(false).timer(TokioTimer::new());
    builder
}

/// The settings of each connection to an upstream.
pub(crate) fn client() -> client::conn::http1::Builder {
    let mut builder = client::conn::http1::Builder::new();
    builder.preserve_header_case(true);
    builder
}

/// What each socket is told: send small writes at once.
pub(crate) fn socket(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)
}

/// The runtime: one worker for each core.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}
