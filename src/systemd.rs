//! What systemd gives us and is told: sockets that it opened for us, and where the process is. Knows
//! no meaning of a socket; without systemd it does nothing.

use std::io;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::forward::listen::Listener;

/// Sockets that systemd opened for us, each with its name (`FileDescriptorName=`).
pub struct Given {
    names: Vec<String>,
    sockets: ListenFd,
}

impl Given {
    /// Those of this process. Takes the variables that tell of them away: call it once, before
    /// there are threads.
    ///
    /// # Errors
    /// When the variables contradict each other.
    pub fn of_process() -> io::Result<Self> {
        let names: Vec<_> = sd_notify::listen_fds_with_names()?.map(|(_, name)| name).collect();
        let sockets = if names.is_empty() { ListenFd::empty() } else { ListenFd::from_env() };
        Ok(Self { names, sockets })
    }

    /// Their names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The socket at this place among the names, once.
    ///
    /// # Errors
    /// When it takes no connections.
    pub fn take(&mut self, place: usize) -> io::Result<Option<Listener>> {
        if let Ok(socket) = self.sockets.take_tcp_listener(place) {
            return socket.map(Listener::given_tcp).transpose();
        }
        self.sockets.take_unix_listener(place)?.map(Listener::given_unix).transpose()
    }
}

/// Requests are served.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Settings are read anew; `ready` says when that is done.
pub fn reloading() {
    // systemd wants to know since when.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd cannot be told of the reload"),
    }
}

/// No new requests are taken.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells systemd that we live, as often as it asked for (`WatchdogSec=`), for as long as it is polled.
pub async fn keep_alive() {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|it| !it.is_zero()) else {
        return;
    };
    // Twice in its time, as its manual advises.
    let mut due = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
    loop {
        due.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told: {states:?}");
    }
}
