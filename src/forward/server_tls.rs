//! TLS towards clients: certificates from files that may change at any time, and handshakes. Knows
//! no HTTP but the one answer to a client that forgot the TLS.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::listen::{Listener, Stream};
use super::settings::TlsFiles;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// The most that is read of a file.
const LONGEST_FILE: u64 = 1 << 20;
/// The first byte of every TLS connection: a record of the handshake.
const HANDSHAKE: u8 = 0x16;
/// The most of a request that is thrown away, so that its sender reads our answer.
const LONGEST_REQUEST: u64 = 64 * 1024;
const SPEAK_TLS: &str = "this port speaks HTTPS only: write https:// in place of http://\n";

/// What ALPN offers, the first that the client has too: what `protocol::serve` can serve.
fn protocols() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// Which file is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `cert`.
    Cert,
    /// `key`.
    Key,
    /// `client_ca`.
    ClientCa,
}

/// What is wrong with a file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct Unusable {
    /// Which file it is.
    pub part: Part,
    path: String,
    why: String,
}

/// The files as they were read.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl TlsFiles {
    /// Whether a listener could use them.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), Unusable> {
        self.config(&self.read()?).map(drop)
    }

    fn read(&self) -> Result<Contents, Unusable> {
        let client_ca = self.client_ca.as_deref().map(|path| self.read_one(Part::ClientCa, path));
        Ok(Contents {
            cert: self.read_one(Part::Cert, &self.cert)?,
            key: self.read_one(Part::Key, &self.key)?,
            client_ca: client_ca.transpose()?,
        })
    }

    fn read_one(&self, part: Part, path: &Path) -> Result<Vec<u8>, Unusable> {
        let mut bytes = Vec::new();
        let read = File::open(path)
            .and_then(|file| file.take(LONGEST_FILE).read_to_end(&mut bytes))
            .map_err(|error| self.unusable(part, error));
        read.map(|_| bytes)
    }

    fn unusable(&self, part: Part, why: impl ToString) -> Unusable {
        let path = match part {
            Part::Cert => Some(&self.cert),
            Part::Key => Some(&self.key),
            Part::ClientCa => self.client_ca.as_ref(),
        };
        let path = path.map(|path| path.display().to_string()).unwrap_or_default();
        Unusable { part, path, why: why.to_string() }
    }

    fn config(&self, contents: &Contents) -> Result<ServerConfig, Unusable> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = self.certificates(Part::Cert, &contents.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|_| {
            self.unusable(
                Part::Key,
                "holds no private key: it has a part that begins with `-----BEGIN PRIVATE KEY-----`, without a password",
            )
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.unusable(Part::Cert, error))?;
        let builder = match &contents.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let roots = Arc::new(self.roots(pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                let verifier = verifier.map_err(|error| self.unusable(Part::ClientCa, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => self.unusable(
                Part::Key,
                "is not the key of this certificate: take both from one issue",
            ),
            error => self.unusable(Part::Cert, error),
        })?;
        config.alpn_protocols = protocols();
        Ok(config)
    }

    fn certificates(
        &self,
        part: Part,
        pem: &[u8],
    ) -> Result<Vec<CertificateDer<'static>>, Unusable> {
        let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        all.ok().filter(|all| !all.is_empty()).ok_or_else(|| {
            self.unusable(
                part,
                "holds no certificate: it has parts that begin with `-----BEGIN CERTIFICATE-----`",
            )
        })
    }

    fn roots(&self, pem: &[u8]) -> Result<RootCertStore, Unusable> {
        let mut roots = RootCertStore::empty();
        for root in self.certificates(Part::ClientCa, pem)? {
            roots.add(root).map_err(|error| self.unusable(Part::ClientCa, error))?;
        }
        Ok(roots)
    }
}

/// TLS of one listener, with the last good state of its files.
pub(super) struct ServerTls {
    // For what is said.
    listener: String,
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
    // What the last look saw, good or not, so that each state is judged once.
    seen: Mutex<Result<Contents, Unusable>>,
}

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The system gives no signals.
    #[error("no signal can be waited for: {0}")]
    Signal(#[from] io::Error),
}

/// A client that cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("plain HTTP on a TLS listener")]
    Plain,
    #[error(transparent)]
    Handshake(#[from] io::Error),
}

impl ServerTls {
    /// TLS from `files`, for `listener`.
    pub(super) fn new(listener: &Listener, files: TlsFiles) -> Result<Self, Unusable> {
        let contents = files.read()?;
        let config = ArcSwap::from_pointee(files.config(&contents)?);
        let listener = listener.endpoint().ok();
        let listener = listener.map(|at| at.to_string()).unwrap_or_default();
        Ok(Self { listener, files, config, seen: Mutex::new(Ok(contents)) })
    }

    /// The handshake with a client, for as long as it takes.
    pub(super) async fn accept(&self, mut stream: Stream) -> Result<TlsStream<Stream>, Refused> {
        let first = stream.read_u8().await?;
        if first.is_ascii_alphabetic() {
            answer_plain(stream).await?;
            return Err(Refused::Plain);
        }
        if first != HANDSHAKE {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        }
        let acceptor = TlsAcceptor::from(self.config.load_full());
        let accepting = acceptor.accept_with(stream, |connection| {
            // Reading from memory cannot fail, nor is a new connection's buffer full.
            drop(connection.read_tls(&mut [first].as_slice()));
        });
        Ok(accepting.await?)
    }

    /// Takes the files as they are now, if they have changed and are good; blocks.
    fn look(&self) {
        let now = self.files.read();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        let config = now.as_ref().map_err(Clone::clone).and_then(|it| self.files.config(it));
        *seen = now;
        let listener = &self.listener;
        match config {
            Ok(config) => {
                self.config.store(Arc::new(config));
                tracing::info!(%listener, "new connections get the new certificate");
            }
            Err(why) => tracing::warn!(%listener, %why, "the old certificate stays in use"),
        }
    }
}

/// Looks at the files again and again, and at once on SIGHUP, which from this call on no longer
/// ends the process.
///
/// # Errors
/// When the system gives no signals.
pub(super) fn keep_fresh(all: Vec<Arc<ServerTls>>) -> io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        let mut due = interval(LOOK);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = due.tick() => (),
                _ = hangup.recv() => (),
            }
            let all = all.clone();
            let looking = tokio::task::spawn_blocking(move || {
                all.iter().for_each(|tls| tls.look());
            });
            if looking.await.is_err() {
                tracing::error!("a panic while looking at certificates");
            }
        }
    })
}

/// Says in plain HTTP that TLS is spoken here.
async fn answer_plain(mut stream: Stream) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\nclearspan-error: plain_http\r\n\r\n{SPEAK_TLS}",
        SPEAK_TLS.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection, and the answer with it.
    tokio::io::copy(&mut stream.take(LONGEST_REQUEST), &mut tokio::io::sink()).await?;
    Ok(())
}
