//! An authority that issues certificates, and a client that speaks TLS. Knows no proxy.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    SupportedProtocolVersion,
};

use super::PATIENCE;

/// Issues certificates.
pub(crate) struct Authority {
    root: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) cert: String,
    pub(crate) key: String,
    key_der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With the name of what it issues, curl would take that for self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        Self { root, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `localhost`, of a server as well as of a client.
    pub(crate) fn issue(&self) -> Issued {
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            der: cert.der().clone(),
            cert: cert.pem(),
            key: key.serialize_pem(),
            key_der: key.serialize_der(),
        }
    }

    /// Its own certificate, at this path.
    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, self.root.pem()).unwrap();
    }

    /// A server on `localhost` that speaks `protocol`; where it `asks`, it serves only clients that
    /// show a certificate of this authority.
    pub(crate) fn server(&self, protocol: &[u8], asks: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.root.der().clone()).unwrap();
            let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(clients.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let Issued { der, key_der, .. } = self.issue();
        let key = PrivateKeyDer::try_from(key_der).unwrap();
        let mut config = builder.with_single_cert(vec![der], key).unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    }

    /// What a client of its certificates needs.
    pub(crate) fn client(&self) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        TlsClient { roots, alpn: Vec::new(), shows: None, versions: rustls::ALL_VERSIONS }
    }
}

impl Issued {
    /// `cert` and `key` as files of this folder, and their value of `tls`.
    pub(crate) fn write(&self, folder: &Path) -> String {
        std::fs::write(folder.join("tls.crt"), &self.cert).unwrap();
        std::fs::write(folder.join("tls.key"), &self.key).unwrap();
        files(folder)
    }
}

/// The value of `tls` for the files of this folder.
pub(crate) fn files(folder: &Path) -> String {
    let path = |name: &str| -> PathBuf { folder.join(name) };
    format!("{{ cert = {:?}, key = {:?} }}", path("tls.crt"), path("tls.key"))
}

/// How to speak TLS.
#[derive(Clone)]
pub(crate) struct TlsClient {
    roots: RootCertStore,
    alpn: Vec<Vec<u8>>,
    shows: Option<Issued>,
    versions: &'static [&'static SupportedProtocolVersion],
}

pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

impl TlsClient {
    /// Offers these protocols.
    pub(crate) fn offering(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Shows this certificate.
    pub(crate) fn showing(mut self, issued: Issued) -> Self {
        self.shows = Some(issued);
        self
    }

    /// Knows these versions alone.
    pub(crate) fn of(mut self, versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions;
        self
    }

    /// Connects and greets.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<Tls> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.shows {
            None => builder.with_no_client_auth(),
            Some(Issued { der, key_der, .. }) => {
                let key = PrivateKeyDer::try_from(key_der.clone()).unwrap();
                builder.with_client_auth_cert(vec![der.clone()], key).unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        connection.complete_io(&mut stream)?;
        Ok(StreamOwned::new(connection, stream))
    }

    /// The whole answer to one request, or how TLS failed.
    pub(crate) fn ask(&self, address: SocketAddr, request: &[u8]) -> io::Result<String> {
        let mut stream = self.connect(address)?;
        stream.write_all(request)?;
        read_answer(&mut stream)
    }

    /// The certificate that the server shows.
    pub(crate) fn shown(&self, address: SocketAddr) -> CertificateDer<'static> {
        let stream = self.connect(address).unwrap();
        stream.conn.peer_certificates().unwrap()[0].clone()
    }
}

/// Reads until the answer holds as much as its `Content-Length` says.
pub(crate) fn read_answer(stream: &mut impl Read) -> io::Result<String> {
    let mut answer = String::new();
    loop {
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length = lower.split("content-length: ").nth(1).expect("a length");
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                return Ok(answer);
            }
        }
        answer.push_str(&read_some(stream)?);
    }
}

/// What one read gives; an end is an error.
pub(crate) fn read_some(stream: &mut impl Read) -> io::Result<String> {
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(String::from_utf8_lossy(&buffer[..count]).into_owned()),
    }
}
