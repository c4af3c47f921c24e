//! An upstream that speaks TLS, and the authority that signed for it. Knows HTTP only as far as a
//! request without a body goes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::PATIENCE;
use super::wire::Head;

/// Who signs certificates, and whom nobody trusts unless told to.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) cert: String,
    pub(crate) key: String,
    chain: Vec<CertificateDer<'static>>,
    private: PrivateKeyDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut params = CertificateParams::new([]).unwrap();
        // Two of one name would be taken for each other until a signature is checked.
        let name = format!("authority {}", COUNT.fetch_add(1, Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these names and addresses.
    pub(crate) fn identity(&self, names: &[&str]) -> Identity {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        Identity {
            cert: cert.pem(),
            key: key.serialize_pem(),
            chain: vec![cert.der().clone()],
            private: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }
}

/// Writes a file and gives its path.
pub(crate) fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// What such an upstream saw of a request.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) head: Head,
    /// The name that was asked for.
    pub(crate) server_name: Option<String>,
    /// Whether the client showed a certificate.
    pub(crate) client_certificate: bool,
    /// The protocol that was agreed upon.
    pub(crate) alpn: Option<Vec<u8>>,
}

/// An upstream that answers each request `200` over TLS.
pub(crate) struct Secured {
    pub(crate) address: SocketAddr,
    seen: Receiver<Seen>,
}

impl Secured {
    /// As `identity`; `clients` signs the certificate that every client must show.
    pub(crate) fn bind(identity: &Identity, clients: Option<&Authority>) -> Self {
        let config = config(identity, clients);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, seen) = sync_channel(64);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, sender) = (Arc::clone(&config), sender.clone());
                thread::spawn(move || serve(stream.unwrap(), config, &sender));
            }
        });
        Self { address, seen }
    }

    /// The next request.
    pub(crate) fn request(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("a request reaches the upstream")
    }

    /// Whether no request came.
    pub(crate) fn is_unasked(&self) -> bool {
        self.seen.try_recv().is_err()
    }
}

/// How the server of this identity speaks TLS.
pub(crate) fn config(identity: &Identity, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Some(authority) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let chain = identity.chain.clone();
    let mut config = builder.with_single_cert(chain, identity.private.clone_key()).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, seen: &SyncSender<Seen>) {
    let connection = ServerConnection::new(config).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let mut bytes = Vec::new();
    // A client may not like our certificate, or end the connection: then it is over.
    while let Ok(count @ 1..) = read(&mut stream, &mut bytes) {
        if !bytes.ends_with(b"\r\n\r\n") || count == 0 {
            continue;
        }
        let request = Seen {
            head: Head::parse(&bytes),
            server_name: stream.conn.server_name().map(ToOwned::to_owned),
            client_certificate: stream.conn.peer_certificates().is_some(),
            alpn: stream.conn.alpn_protocol().map(<[u8]>::to_vec),
        };
        bytes.clear();
        if seen.send(request).is_err() || stream.write_all(super::stage::OK.as_ref()).is_err() {
            return;
        }
    }
}

fn read(stream: &mut impl Read, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer)?;
    bytes.extend_from_slice(&buffer[..count]);
    Ok(count)
}
