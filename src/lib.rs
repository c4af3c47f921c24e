//! Clearspan: a transparent reverse proxy between any app and its LLM endpoints.
//!
//! ```text
//! client ─► accept ─► route ─► send ─► upstream          forward   HOT: knows bytes
//!              │ tee request     │ tee response
//!              ▼                 ▼
//!            tape   (bounded by bytes, never waits)      tape      the seam
//!              ▼
//!        decode: content-encoding off ─► SSE | NDJSON | JSON | forms | WebSocket
//!              ▼                                         observe   PURE: no I/O, no clock
//!        dialect: openai | anthropic | gemini | ollama | cohere | llamacpp | unknown
//!              ▼
//!        Observation  (one plain struct for each call)  ─► price
//!              ▼
//!        spans, metrics, logs, lines ─► OTLP, /metrics   report    knows OpenTelemetry
//! ```
//!
//! Read the modules in the order below: it is the way of the data.
//!
//! Invariants, checked by `tests/it/layout.rs` where a test can:
//! - `forward` knows no provider, no price, no OpenTelemetry, and does not wait for the cold path.
//! - `forward` knows JSON in one folder only, `forward::ask`, which asks for a stream's usage.
//! - `observe` does no I/O and asks no clock: time comes with the entries, so a tape replays to the same
//!   `Observation`. Observing never fails; it leaves notes.
//! - `report` is the only module that knows OpenTelemetry, `report::names` the only one that makes names.
//! - Everything that grows has a limit, and what a limit costs is counted.

/// What a person types: one file per subcommand.
pub mod cli;
/// `proxy.toml`, the environment and flags become each stage's settings.
pub mod config;
/// HOT: bytes through, unchanged.
pub mod forward;
/// The way through an egress proxy, for requests and for telemetry.
pub mod egress;
/// The seam: what the hot path tells the cold path.
pub mod tape;
/// COLD and PURE: taped bytes become one `Observation`.
pub mod observe;
/// COLD: observations leave as spans, metrics, logs and lines.
pub mod report;
/// Our own listener: `/metrics`, `/healthz`, `/readyz`.
pub mod admin;
/// Drives the cold path.
pub mod worker;
/// Takes a changed configuration while all of that runs.
pub mod reload;
/// What systemd gives us and is told.
pub mod systemd;
/// All sockets that we listen on.
pub mod listeners;
/// Properties that hold for any bytes, by name.
#[cfg(any(test, fuzzing))]
pub mod fuzz;

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::Receiver;

use forward::Forward;
use forward::accept::Server;
use forward::settings::Endpoint;
use listeners::Listeners;
use observe::once::Once;
use reload::{Asked, Reload};
use tape::{Handover, Tapes};
use worker::Worker;

/// Why the proxy could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listener cannot be had.
    #[error(transparent)]
    Listen(#[from] listeners::Error),
    /// A listener cannot speak TLS: its files were good a moment ago, and are no more.
    #[error("cannot speak TLS: {0}")]
    ServerTls(#[from] forward::server_tls::Error),
    /// The system gives no threads.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// TLS to upstreams cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Reporting cannot start.
    #[error(transparent)]
    Report(#[from] report::Error),
}

/// Runs the proxy until `until` is ready, then drains and flushes. `ready` is told where it listens;
/// `asked` is where a reload is asked for.
///
/// # Errors
/// When a listener, a thread or TLS cannot be had; nothing was served then.
pub fn run(
    mut loaded: config::Loaded,
    asked: Asked,
    ready: impl FnOnce(&listeners::Addresses),
    until: impl Future<Output = ()>,
) -> Result<(), RunError> {
    if let Ok(files) = rlimit::increase_nofile_limit(u64::MAX) {
        let limits = &mut loaded.settings.forward.limits;
        let affordable = affordable(limits.connections, files);
        if affordable < limits.connections {
            tracing::info!(
                files,
                "open files are limited: {affordable} client connections at once"
            );
        }
        limits.connections = affordable;
    }
    let given = systemd::Given::of_process().map_err(listeners::Error::Given)?;
    forward::wire::runtime()?.block_on(serve(loaded, given, asked, ready, until))
}

/// Client connections that a limit on open files leaves room for: each needs a second descriptor for
/// its upstream, and one that is accepted without it could only be turned away.
fn affordable(connections: usize, files: u64) -> usize {
    // Our own listeners, the admin's clients, exporters, the runtime.
    const OTHERS: u64 = 64;
    let room = files.saturating_sub(OTHERS) / 2;
    connections.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1)
}

async fn serve(
    loaded: config::Loaded,
    given: systemd::Given,
    asked: Asked,
    ready: impl FnOnce(&listeners::Addresses),
    until: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let settings = loaded.settings.clone();
    let Listeners { doors, admin, addresses } = listeners::open(&settings, given).await?;
    let (tapes, receivers) = Tapes::new(settings.tape.clone());
    let forward = Forward::new(settings.forward.clone(), tapes.clone(), addresses.all())?;
    let cold = cold(&settings, &tapes);
    let reload = Reload::new(loaded, Arc::clone(&forward), Arc::clone(&cold));
    let sources = sources(&addresses, &forward, &tapes, &cold, &reload);
    let output = report::Output { to: Box::new(io::stdout()), colour: io::stdout().is_terminal() };
    let (reporter, telemetry) = report::start(settings.report.clone(), sources, output)?;
    let workers = work(&cold, receivers, &reporter)?;

    let telemetry = Arc::new(telemetry);
    let server = Arc::new(Server::new(Arc::clone(&forward)));
    server.listen(doors)?;
    let sweeping = tokio::spawn(forward.sweep());
    reload.watch(asked)?;
    let living = tokio::spawn(systemd::keep_alive());
    let routes = routes(Arc::clone(&telemetry), Arc::clone(&server));
    let accept = async move || admin.accept().await.map(|(stream, _)| stream);
    let admin = tokio::spawn(admin::serve(accept, routes, std::future::pending()));

    let mut until = std::pin::pin!(until);
    // Asked once before anything is announced: from then on no signal is too early.
    let is_over = std::future::poll_fn(|cx| Poll::Ready(until.as_mut().poll(cx).is_ready())).await;
    ready(&addresses);
    systemd::ready();
    if !is_over {
        until.await;
    }
    systemd::stopping();
    server.drain().await;
    sweeping.abort();
    flush(cold, workers, telemetry, settings.report.limits.flush).await;
    admin.abort();
    living.abort();
    Ok(())
}

/// What all workers share.
fn cold(settings: &config::Settings, tapes: &Tapes) -> Arc<worker::Shared> {
    Arc::new(worker::Shared {
        settings: ArcSwap::from_pointee(reload::cold(settings)),
        account: Arc::clone(tapes.readers()),
        stop: AtomicBool::new(false),
        lost: AtomicU64::new(0),
        once: Once::default(),
    })
}

/// Starts a worker on each channel.
fn work(
    cold: &Arc<worker::Shared>,
    receivers: Vec<Receiver<Handover>>,
    reporter: &report::Reporter,
) -> io::Result<Vec<JoinHandle<()>>> {
    let workers = receivers.into_iter().map(|receiver| {
        let reporter = reporter.clone();
        let sink = move |observation| reporter.report(&observation);
        let worker = Worker::new(Arc::clone(cold), receiver, sink);
        thread::Builder::new().name("observe".into()).spawn(move || worker.run())
    });
    workers.collect()
}

/// Counts that reporting reads from the rest of the program.
fn sources(
    addresses: &listeners::Addresses,
    forward: &Forward,
    tapes: &Tapes,
    cold: &Arc<worker::Shared>,
    reload: &Reload,
) -> report::Sources {
    let (admission, unread) = (forward.admission(), forward.unread());
    let (torn, dropped) = (tapes.clone(), tapes.clone());
    let cold = Arc::clone(cold);
    let [taken, refused, read] = [reload.counts(), reload.counts(), reload.counts()];
    report::Sources {
        listen: Some(match &addresses.shared.at {
            Endpoint::Tcp(address) => (address.ip().to_string(), Some(address.port())),
            Endpoint::Unix(path) => (path.display().to_string(), None),
        }),
        active: Box::new(move || admission.running()),
        unread: Box::new(move || unread.load(Relaxed)),
        torn: Box::new(move || torn.counts().torn.load(Relaxed)),
        dropped: Box::new(move || dropped.counts().dropped.load(Relaxed)),
        lost: Box::new(move || cold.lost.load(Relaxed)),
        reloads_taken: Box::new(move || taken.taken.load(Relaxed)),
        reloads_refused: Box::new(move || refused.refused.load(Relaxed)),
        configured_at: Box::new(move || read.read_at.load(Relaxed)),
    }
}

fn routes(telemetry: Arc<report::Handle>, server: Arc<Server>) -> admin::Routes {
    let metrics = move |headers: &http::HeaderMap| {
        let accept = headers.get(http::header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let (content_type, body) = telemetry.metrics_text(accept);
        admin::Answer { status: http::StatusCode::OK, content_type, body }
    };
    let reasons = move || if server.is_serving() { vec![] } else { vec!["draining".into()] };
    admin::Routes::default().with_slow("/metrics", metrics).with_health().with_readiness(reasons)
}

/// Lets the workers empty their channels and waits for them, then sends what is left of telemetry.
async fn flush(
    cold: Arc<worker::Shared>,
    workers: Vec<JoinHandle<()>>,
    telemetry: Arc<report::Handle>,
    limit: Duration,
) {
    // Threads are joined and sockets flushed: not on the runtime's own threads.
    let flushing = tokio::task::spawn_blocking(move || {
        cold.stop.store(true, Relaxed);
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a worker ended with a panic: some observations are lost");
            }
        }
        telemetry.flush(limit);
    });
    if flushing.await.is_err() {
        tracing::error!("a panic at the end: the last telemetry may be lost");
    }
}

#[cfg(test)]
mod tests {
    use super::affordable;

    #[test]
    fn there_are_as_many_clients_as_descriptors_for_two_sockets_each() {
        assert_eq!(affordable(20_000, 1 << 20), 20_000);
        assert_eq!(affordable(20_000, 1024), 480);
        assert_eq!(affordable(100, 1024), 100);
        assert_eq!(affordable(100, 20), 1);
    }
}
