//! An upgraded connection: bytes both ways until both sides have ended. Knows nothing of the protocol
//! that is spoken in it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

use super::exchange::Running;
use crate::tape::{Cause, RequestPen};

/// What is read at once in each direction: a WebSocket frame of a streamed token is far smaller.
const BUFFER: usize = 8 * 1024;

/// A client's wish to speak another protocol on this connection.
#[derive(Debug)]
pub(super) struct Upgrade {
    client: OnUpgrade,
}

impl Upgrade {
    /// The wish that `request` carries. `h2c` is not passed on: it is about the connection to us, and
    /// inside it no exchange could be told from another.
    pub(super) fn wished(request: &mut Request<Incoming>) -> Option<Self> {
        let headers = request.headers();
        let is_wish = request.version() == Version::HTTP_11
            && has_token(headers, CONNECTION.as_str(), "upgrade")
            && headers.contains_key(UPGRADE)
            && !has_token(headers, UPGRADE.as_str(), "h2c");
        is_wish.then(|| Self { client: hyper::upgrade::on(request) })
    }

    /// Joins both connections, once the client has been sent the upstream's 101.
    pub(super) fn join(self, upstream: OnUpgrade, mut running: Running, idle: Duration) {
        let tunnel = Tunnel { request: running.upgraded(), running, idle };
        tokio::spawn(tunnel.run(self.client, upstream));
    }
}

fn has_token(headers: &HeaderMap, name: &str, token: &str) -> bool {
    let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let mut tokens = values.flat_map(|value| value.split(|&byte| byte == b','));
    tokens.any(|it| it.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Both halves' pens. Dropped, the exchange ends for the reason that holds then.
struct Tunnel {
    request: RequestPen,
    running: Running,
    idle: Duration,
}

/// Which side a copied byte was lost on.
enum Broken {
    Reading,
    Writing,
}

impl Tunnel {
    async fn run(self, client: OnUpgrade, upstream: OnUpgrade) {
        let Self { mut request, mut running, idle } = self;
        // A client that leaves before its 101 drops what we wait for here.
        let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else { return };
        let activity = Activity::new();
        let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
        let (from_upstream, to_upstream) = tokio::io::split(TokioIo::new(upstream));
        let connection = running.client();
        let cause = {
            let up = copy(from_client, to_upstream, &activity, |chunk| {
                request.data(chunk);
                request.hand_over();
            });
            let down =
                copy(from_upstream, to_client, &activity, |chunk| running.data(chunk, false));
            let both = async {
                tokio::try_join!(async { up.await.map_err(|broken| broken.cause(true)) }, async {
                    down.await.map_err(|broken| broken.cause(false))
                },)
            };
            tokio::select! {
                biased;
                copied = both => copied.map_or_else(|cause| cause, |_| Cause::Complete),
                () = activity.silence(idle) => Cause::ClientStalled,
                () = connection.cut() => Cause::Refused("shutdown"),
            }
        };
        drop(request);
        running.end(cause);
    }
}

impl Broken {
    fn cause(&self, from_client: bool) -> Cause {
        match (self, from_client) {
            (Self::Reading, true) | (Self::Writing, false) => Cause::ClientGone,
            _ => Cause::UpstreamReset("connection_broken"),
        }
    }
}

/// Copies until `from` ends, then ends `to`; the other direction may go on.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    activity: &Activity,
    mut see: impl FnMut(&[u8]),
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await.map_err(|_| Broken::Reading)?;
        let Some(chunk) = buffer.get(..length).filter(|chunk| !chunk.is_empty()) else {
            // A peer that is gone already has nothing more to be told.
            drop(to.shutdown().await);
            return Ok(());
        };
        activity.note();
        see(chunk);
        write(&mut to, chunk).await.map_err(|_| Broken::Writing)?;
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), chunk: &[u8]) -> io::Result<()> {
    to.write_all(chunk).await?;
    to.flush().await
}

/// When bytes last moved, in either direction.
struct Activity {
    began: Instant,
    // Milliseconds since `began`.
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0) }
    }

    fn note(&self) {
        self.last.store(self.began.elapsed().as_millis() as u64, Relaxed);
    }

    /// Ready once nothing has moved for `limit`; never, where that is zero.
    async fn silence(&self, limit: Duration) {
        if limit.is_zero() {
            return std::future::pending().await;
        }
        loop {
            let due = self.began + Duration::from_millis(self.last.load(Relaxed)) + limit;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_in_any_list_and_case() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("keep-alive"));
        headers.append(CONNECTION, HeaderValue::from_static("x , UPGRADE"));
        assert!(has_token(&headers, "connection", "upgrade"));
        assert!(!has_token(&headers, "connection", "close"));
        assert!(!has_token(&headers, "upgrade", "websocket"));
    }

    #[tokio::test]
    async fn silence_counts_from_the_last_byte() {
        let (limit, noted) = (Duration::from_millis(50), Duration::from_millis(30));
        let activity = Activity::new();
        let note = async {
            tokio::time::sleep(noted).await;
            activity.note();
        };
        tokio::join!(activity.silence(limit), note);
        assert!(activity.began.elapsed() >= limit + noted - Duration::from_millis(1));
    }
}
