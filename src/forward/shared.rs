//! HTTP/2 connections to upstreams, each carrying many exchanges side by side. Knows no exchange, and
//! of HTTP only how many streams a peer allows.
//!
//! An exchange takes a stream on the oldest connection that has one left, so that the younger can
//! grow idle and go. Where none has, it waits for a connection that is being opened, or opens another
//! if those will not be enough.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Instant;

use hyper::client::conn::http2::{Connection, SendRequest};
use hyper::rt::Executor;
use tokio::sync::Notify;

use super::attempts::Attempt;
use super::connect::{Connector, Steps};
use super::error::Error;
use super::settings::{Limits, Upstream};
use super::upstream_io::UpstreamIo;

/// The connections to one upstream.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    // A stream or a connection came or went.
    changed: Notify,
    limits: Limits,
}

#[derive(Debug)]
struct State {
    links: Vec<Link>,
    // Connections on their way.
    opening: usize,
    // Exchanges that wait for one of them.
    waiting: usize,
    // Streams that the next connection is likely to have: as many as the last one.
    expected: usize,
    next: u64,
    // Nobody new comes: what falls idle is closed.
    retired: bool,
}

/// One connection.
#[derive(Debug)]
struct Link {
    number: u64,
    sender: SendRequest<Attempt>,
    peer: Arc<Peer>,
    taken: usize,
    idle_since: Instant,
}

/// An exchange's place on a connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Stream {
    number: u64,
    shared: Arc<Shared>,
}

/// A stream, how to send on it, and the steps to its connection where that is new. The sender is not
/// to be kept while the answer is awaited: hyper's channel gives a request that came too late back
/// only when its last sender is gone.
pub(super) type Leased = (Stream, SendRequest<Attempt>, Option<Steps>);

/// What an exchange without a stream does next.
enum Next {
    Take(Leased),
    Open(Opening),
    Wait(Waiting),
}

impl Shared {
    pub(super) fn new(limits: &Limits) -> Self {
        let expected = limits.upstream_streams;
        let (links, retired) = (Vec::new(), false);
        let state = State { links, opening: 0, waiting: 0, expected, next: 0, retired };
        Self { state: Mutex::new(state), changed: Notify::new(), limits: limits.clone() }
    }

    /// A stream, and the steps to its connection where that is new; within the limit for connecting,
    /// since that is what is waited for.
    pub(super) async fn lease(
        self: &Arc<Self>,
        connector: &Connector,
        upstream: &Upstream,
    ) -> Result<Leased, Error> {
        if let Some(leased) = self.take(&mut self.state()) {
            return Ok(leased);
        }
        let leasing = self.wait_or_open(connector, upstream);
        tokio::time::timeout(self.limits.connect, leasing)
            .await
            .map_err(|_| Error::ConnectTimeout)?
    }

    async fn wait_or_open(
        self: &Arc<Self>,
        connector: &Connector,
        upstream: &Upstream,
    ) -> Result<Leased, Error> {
        loop {
            // From here on no change is missed.
            let changed = self.changed.notified();
            match self.next() {
                Next::Take(leased) => return Ok(leased),
                Next::Open(opening) => return opening.open(connector, upstream).await,
                Next::Wait(_waiting) => changed.await,
            }
        }
    }

    fn next(self: &Arc<Self>) -> Next {
        let mut state = self.state();
        if let Some(leased) = self.take(&mut state) {
            return Next::Take(leased);
        }
        let most = self.limits.upstream_streams;
        if let Some(streams) = state.links.iter().rev().find_map(|link| link.peer.streams()) {
            state.expected = streams.clamp(1, most);
        }
        let unknown = state.links.iter().filter(|link| link.peer.streams().is_none()).count();
        let coming = (state.opening + unknown).saturating_mul(state.expected);
        if coming > state.waiting {
            state.waiting += 1;
            Next::Wait(Waiting(Arc::clone(self)))
        } else {
            state.opening += 1;
            Next::Open(Opening(Arc::clone(self)))
        }
    }

    fn take(self: &Arc<Self>, state: &mut State) -> Option<Leased> {
        state.forget_closed();
        let most = self.limits.upstream_streams;
        let link = state.links.iter_mut().find(|link| link.taken < link.room(most))?;
        link.taken += 1;
        let stream = Stream { number: link.number, shared: Arc::clone(self) };
        Some((stream, link.sender.clone(), None))
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn sweep(&self) {
        let idle_for = self.limits.upstream_idle;
        let is_old = |link: &Link| link.taken == 0 && link.idle_since.elapsed() >= idle_for;
        self.state().links.retain(|link| !is_old(link));
    }

    /// Closes what is idle, and later each connection whose last exchange is over.
    pub(super) fn retire(&self) {
        let mut state = self.state();
        state.retired = true;
        state.links.retain(|link| link.taken > 0);
    }

    /// Whether its connections are as these limits say.
    pub(super) fn keeps_to(&self, limits: &Limits) -> bool {
        let of = |it: &Limits| {
            let sizes = (it.upstream_streams, it.stream_window, it.http2_head);
            (sizes, it.connect, it.upstream_idle, it.ping)
        };
        of(&self.limits) == of(limits)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_closed(&mut self) {
        self.links.retain(|link| !link.sender.is_closed());
    }
}

impl Link {
    /// How many exchanges may be on it at once: one until the peer has said how many.
    fn room(&self, most: usize) -> usize {
        self.peer.streams().map_or(1, |streams| streams.min(most))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(link) = state.links.iter_mut().find(|link| link.number == self.number) {
            link.taken -= 1;
            link.idle_since = Instant::now();
        }
        if state.retired {
            state.links.retain(|link| link.taken > 0);
        }
        if state.waiting > 0 {
            self.shared.changed.notify_waiters();
        }
    }
}

/// Counted among those that wait until dropped.
struct Waiting(Arc<Shared>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

/// Counted among the connections on their way until dropped.
struct Opening(Arc<Shared>);

impl Opening {
    /// Opens a connection; its first stream is ours.
    async fn open(self, connector: &Connector, upstream: &Upstream) -> Result<Leased, Error> {
        let shared = &self.0;
        let peer = Arc::new(Peer::new(shared));
        let (sender, steps) =
            connector.connect_shared(upstream, &shared.limits, Arc::clone(&peer)).await?;
        let mut state = shared.state();
        let number = state.next;
        state.next += 1;
        let link = Link { number, sender, peer, taken: 1, idle_since: Instant::now() };
        let sender = link.sender.clone();
        state.links.push(link);
        drop(state);
        Ok((Stream { number, shared: Arc::clone(shared) }, sender, Some(steps)))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.state().opening -= 1;
        self.0.changed.notify_waiters();
    }
}

/// What is known of the other end of a connection, and how it becomes known: hyper tells how many
/// streams the peer allows only to the task that drives the connection's requests, and nothing wakes
/// that task when the peer's settings come. The task that reads them does.
#[derive(Debug)]
pub(super) struct Peer {
    // `UNKNOWN` until its settings came.
    streams: AtomicUsize,
    driver: Mutex<Option<Waker>>,
    shared: Weak<Shared>,
}

/// What we let hyper assume before the peer's settings came: more than any peer can say, and not what
/// hyper takes for a peer that names no limit.
pub(super) const UNKNOWN: usize = usize::MAX - 1;

impl Peer {
    fn new(shared: &Arc<Shared>) -> Self {
        let (streams, driver) = (AtomicUsize::new(UNKNOWN), Mutex::default());
        Self { streams, driver, shared: Arc::downgrade(shared) }
    }

    /// How many streams it allows, once it has said so.
    fn streams(&self) -> Option<usize> {
        Some(self.streams.load(Relaxed)).filter(|&streams| streams != UNKNOWN)
    }

    fn driver(&self) -> MutexGuard<'_, Option<Waker>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something of the connection ran: maybe the peer's settings came.
    fn look(&self) {
        if self.streams().is_none()
            && let Some(driver) = self.driver().take()
        {
            driver.wake();
        }
    }

    /// The driver asks to be woken, before it looks itself: what comes in between wakes it.
    fn ask(&self, cx: &Context<'_>) {
        if self.streams().is_none() {
            *self.driver() = Some(cx.waker().clone());
        }
    }

    fn learn(&self, streams: usize) {
        if self.streams.swap(streams, Relaxed) != streams
            && let Some(shared) = self.shared.upgrade()
        {
            shared.changed.notify_waiters();
        }
    }
}

/// Runs what belongs to one connection.
#[derive(Clone, Debug)]
pub(super) struct Tasks(pub(super) Arc<Peer>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let peer = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut task = pin!(task);
            poll_fn(|cx| {
                let polled = task.as_mut().poll(cx);
                peer.look();
                polled
            })
            .await;
        });
    }
}

/// Drives a connection's requests until it is closed.
pub(super) async fn drive(mut connection: Connection<UpstreamIo, Attempt, Tasks>, peer: Arc<Peer>) {
    poll_fn(|cx| {
        peer.ask(cx);
        let polled = Pin::new(&mut connection).poll(cx);
        if polled.is_pending() {
            peer.learn(connection.current_max_send_streams());
        }
        polled.map(drop)
    })
    .await;
    drop(connection);
    // Its own exchanges hear of it by themselves; those that waited for it look elsewhere.
    if let Some(shared) = peer.shared.upgrade() {
        shared.state().forget_closed();
        shared.changed.notify_waiters();
    }
}
