//! All sockets that the process listens on: given by systemd, else opened here, before anything runs.
//! Knows which listener is which, and nothing of what is said on them.

use std::fmt;
use std::io;

use crate::config;
use crate::forward::accept::Door;
use crate::forward::listen::Listener;
use crate::forward::route::Scope;
use crate::forward::settings::{Endpoint, TlsFiles};
use crate::systemd::Given;

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its address cannot be had.
    #[error("cannot listen on {at}: {error}\n  {}", hint(at, key))]
    Bind {
        /// The address asked for.
        at: Endpoint,
        /// The key that says it.
        key: String,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// What systemd gave cannot be used.
    #[error("cannot listen on a socket of systemd's: {0}")]
    Given(#[from] io::Error),
    /// What systemd gave fits no listener.
    #[error("systemd gave a socket that has no place here: {0}")]
    Unplaced(String),
}

fn hint(at: &Endpoint, key: &str) -> String {
    match at {
        Endpoint::Tcp(_) => {
            format!("is another process there? choose another address with {key}")
        }
        Endpoint::Unix(_) => format!(
            "is its folder there, may we write to it, is another process there? or choose another path with {key}"
        ),
    }
}

/// Where a listener is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Address and port, or path.
    pub at: Endpoint,
    /// TLS is spoken there.
    pub https: bool,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)?;
        f.write_str(if self.https { " (https)" } else { "" })
    }
}

/// Where a running proxy listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The shared listener.
    pub shared: Address,
    /// Listeners of one upstream, with its name.
    pub own: Vec<(Address, String)>,
    /// The admin listener.
    pub admin: Address,
}

impl Addresses {
    /// Every place that leads to us.
    pub fn all(&self) -> Vec<Endpoint> {
        let own = self.own.iter().map(|(address, _)| address);
        [&self.shared, &self.admin].into_iter().chain(own).map(|it| it.at.clone()).collect()
    }
}

/// Every listener.
#[derive(Debug)]
pub struct Listeners {
    /// For requests that are forwarded.
    pub doors: Vec<Door>,
    /// For our own.
    pub admin: Listener,
    /// Where they are.
    pub addresses: Addresses,
}

/// One listener that the settings name.
struct Wanted {
    // systemd's name for it.
    name: String,
    key: String,
    at: Endpoint,
}

impl Wanted {
    async fn open(
        self,
        place: Option<usize>,
        given: &mut Given,
        mode: u32,
    ) -> Result<Listener, Error> {
        let given = place.map(|place| given.take(place)).transpose()?.flatten();
        if let Some(listener) = given {
            return Ok(listener);
        }
        let Self { key, at, .. } = self;
        Listener::bind(&at, mode).await.map_err(|error| Error::Bind { at, key, error })
    }
}

/// Every listener of `settings`: the socket that systemd gave for it, else one of our own.
///
/// # Errors
/// When one cannot be had.
pub async fn open(settings: &config::Settings, mut given: Given) -> Result<Listeners, Error> {
    let mode = settings.socket_mode;
    let forward = &settings.forward;
    let own = forward.upstreams.iter();
    let own: Vec<_> = own.filter_map(|it| Some((&it.facts.name, it.listen.as_ref()?))).collect();
    let wanted = |name: &str, key: &str, at: &Endpoint| Wanted {
        name: name.to_owned(),
        key: key.to_owned(),
        at: at.clone(),
    };
    let shared = wanted("listen", "server.listen", &forward.listen.at);
    let admin = wanted("admin", "server.admin", &settings.admin);
    let others = own.iter().map(|(name, listen)| {
        wanted(&format!("upstream.{name}"), "the upstream's `listen`", &listen.at)
    });
    let others: Vec<_> = others.collect();
    let names = [&shared, &admin].into_iter().chain(&others).map(|it| it.name.as_str());
    let mut places = assign(given.names(), &names.collect::<Vec<_>>())?.into_iter();
    let mut place = || places.next().flatten();

    let shared = shared.open(place(), &mut given, mode).await?;
    let admin = admin.open(place(), &mut given, mode).await?;
    let mut addresses = Addresses {
        shared: address(&shared, forward.listen.tls.as_ref())?,
        own: Vec::new(),
        admin: address(&admin, None)?,
    };
    let files = forward.listen.tls.clone();
    let mut doors = vec![Door { listener: shared, files, scope: Scope::Shared }];
    for (wanted, (name, listen)) in others.into_iter().zip(own) {
        let listener = wanted.open(place(), &mut given, mode).await?;
        addresses.own.push((address(&listener, listen.tls.as_ref())?, name.clone()));
        doors.push(Door {
            listener,
            files: listen.tls.clone(),
            scope: Scope::Own(name.as_str().into()),
        });
    }
    Ok(Listeners { doors, admin, addresses })
}

fn address(listener: &Listener, tls: Option<&TlsFiles>) -> io::Result<Address> {
    Ok(Address { at: listener.endpoint()?, https: tls.is_some() })
}

/// For each of our listeners, in order, the place of its socket among those given. By name where
/// systemd's names are ours, else by order.
fn assign(given: &[String], ours: &[&str]) -> Result<Vec<Option<usize>>, Error> {
    let is_ours = |name: &String| ours.contains(&name.as_str());
    if !given.iter().any(is_ours) {
        if given.len() > ours.len() {
            let count = (given.len(), ours.len());
            let message = format!("there are {} sockets for {} listeners", count.0, count.1);
            return Err(Error::Unplaced(message));
        }
        return Ok((0..ours.len()).map(|place| (place < given.len()).then_some(place)).collect());
    }
    for (place, name) in given.iter().enumerate() {
        if !is_ours(name) {
            let known = ours.join("`, `");
            return Err(Error::Unplaced(format!("its name is `{name}`; known are `{known}`")));
        }
        if given.iter().take(place).any(|earlier| earlier == name) {
            return Err(Error::Unplaced(format!("two have the name `{name}`")));
        }
    }
    Ok(ours.iter().map(|name| given.iter().position(|it| it == name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(given: &[&str]) -> Result<Vec<Option<usize>>, String> {
        let given: Vec<_> = given.iter().map(ToString::to_string).collect();
        let ours = ["listen", "admin", "upstream.ollama"];
        assign(&given, &ours).map_err(|error| error.to_string())
    }

    #[test]
    fn sockets_are_ours_by_name_or_by_order() {
        assert_eq!(assigned(&[]), Ok(vec![None, None, None]));
        assert_eq!(assigned(&["clearspan.socket"]), Ok(vec![Some(0), None, None]));
        assert_eq!(assigned(&["x", "x", "x"]), Ok(vec![Some(0), Some(1), Some(2)]));
        assert_eq!(assigned(&["upstream.ollama", "admin"]), Ok(vec![None, Some(1), Some(0)]));
    }

    #[test]
    fn a_socket_without_a_place_is_refused() {
        let refused = |given: &[&str]| {
            let told = assigned(given).unwrap_err();
            told.trim_start_matches("systemd gave a socket that has no place here: ").to_owned()
        };
        assert_eq!(refused(&["x"; 4]), "there are 4 sockets for 3 listeners");
        assert_eq!(refused(&["admin", "admin"]), "two have the name `admin`");
        assert_eq!(
            refused(&["admin", "lisen"]),
            "its name is `lisen`; known are `listen`, `admin`, `upstream.ollama`"
        );
    }
}
