//! `ca`, `cert`, `key` and `server_name` of one upstream: read, checked, and ready for use. Knows no
//! other upstream.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use super::fault::Fault;
use super::file;
use crate::forward::settings::{Tls, Trust};

const NO_CERTIFICATE: &str =
    "there is no certificate in it: PEM begins with `-----BEGIN CERTIFICATE-----`";
const NO_KEY: &str = "there is no private key in it that is not encrypted: PEM begins with \
     `-----BEGIN PRIVATE KEY-----`";

/// What TLS with the upstream at `host` needs, or all that is wrong with it; `place` says where a key
/// is in the file.
pub(super) fn resolve(
    written: &file::Upstream,
    host: &str,
    place: impl Fn(&str) -> String,
) -> Result<Tls, Vec<Fault>> {
    let mut faults = Vec::new();
    let name = server_name(written, host, &place).map_err(|fault| faults.push(fault)).ok();
    let ca = written.ca.as_deref().map(authorities).transpose();
    let authorities = ca.map_err(|why| faults.push(Fault::at(place("ca"), why))).ok();
    let identity = identity(written, &place).map_err(|fault| faults.push(fault)).ok();
    match (name, authorities, identity) {
        (Some(server_name), Some(authorities), Some(identity)) => {
            Ok(Tls { server_name, trust: Trust { authorities, identity } })
        }
        _ => Err(faults),
    }
}

/// Faults of those keys that only TLS has a use for, where there is none.
pub(super) fn without_tls(written: &file::Upstream, place: impl Fn(&str) -> String) -> Vec<Fault> {
    let keys = [
        ("ca", written.ca.is_some()),
        ("cert", written.cert.is_some()),
        ("key", written.key.is_some()),
        ("server_name", written.server_name.is_some()),
    ];
    let said = keys.into_iter().filter(|(_, said)| *said);
    let fault =
        |(key, _)| Fault::at(place(key), format!("`{key}` is for TLS, and only https:// has it"));
    said.map(fault).collect()
}

fn server_name(
    written: &file::Upstream,
    host: &str,
    place: impl Fn(&str) -> String,
) -> Result<ServerName<'static>, Fault> {
    let (key, name) = match &written.server_name {
        Some(name) => ("server_name", name.as_str()),
        None => ("url", host),
    };
    ServerName::try_from(name.to_owned()).map_err(|_| {
        Fault::at(place(key), format!("`{name}` is no name that a certificate can bear"))
    })
}

/// Every certificate of the file, as those who may sign the upstream's.
fn authorities(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = store.add(certificate);
        added
            .map_err(|error| format!("{}: no authority's certificate: {error}", path.display()))?;
    }
    Ok(Arc::new(store))
}

/// `cert` and `key`, which go together.
fn identity(
    written: &file::Upstream,
    place: impl Fn(&str) -> String,
) -> Result<Option<Arc<CertifiedKey>>, Fault> {
    let (cert, key) = match (&written.cert, &written.key) {
        (None, None) => return Ok(None),
        (Some(_), None) => {
            return Err(Fault::at(place("cert"), "a certificate of ours needs its `key`"));
        }
        (None, Some(_)) => {
            return Err(Fault::at(place("key"), "a key needs its certificate: `cert`"));
        }
        (Some(cert), Some(key)) => (cert, key),
    };
    let chain = certificates(cert).map_err(|why| Fault::at(place("cert"), why))?;
    let private = private_key(key).map_err(|why| Fault::at(place("key"), why))?;
    let provider = rustls::crypto::ring::default_provider();
    let certified =
        CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let message =
                    format!("this key does not belong to the certificate in {}", cert.display());
                Fault::at(place("key"), message)
            }
            // A key is read before its certificate is.
            rustls::Error::InvalidCertificate(_) => {
                Fault::at(place("cert"), format!("{}: {error}", cert.display()))
            }
            error => Fault::at(place("key"), format!("{}: {error}", key.display())),
        })?;
    Ok(Some(Arc::new(certified)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let of_file = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| of_file(&error))?;
    let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = read.map_err(|error| of_file(&error))?;
    if certificates.is_empty() { Err(of_file(&NO_CERTIFICATE)) } else { Ok(certificates) }
}

/// Said without what the file holds.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| format!("{}: {NO_KEY}", path.display()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        /// Two certificates and their keys, and what is neither.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["a", "b"] {
                let CertifiedKey { cert, signing_key } =
                    generate_simple_self_signed(vec![name.into()]).unwrap();
                std::fs::write(folder.path().join(format!("{name}.pem")), cert.pem()).unwrap();
                let key = signing_key.serialize_pem();
                std::fs::write(folder.path().join(format!("{name}.key")), key).unwrap();
            }
            std::fs::write(folder.path().join("empty.pem"), "nothing\n").unwrap();
            let broken = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
            std::fs::write(folder.path().join("broken.pem"), broken).unwrap();
            Self(folder)
        }

        /// What comes of these keys, whose files are looked for here.
        fn read(&self, keys: &str) -> Result<Tls, Vec<(String, String)>> {
            let at = |name: &str| self.0.path().join(name).display().to_string();
            let text = keys.replace("@", &at(""));
            let text = format!("[[upstream]]\nname = 'a'\nurl = 'https://a.com'\n{text}");
            let file: file::File = toml::from_str(&text).unwrap();
            let tls = resolve(&file.upstream[0], "a.com", str::to_owned);
            tls.map_err(|faults| {
                let clean = |it: Fault| (it.places.join(" "), it.message.replace(&at(""), "@"));
                faults.into_iter().map(clean).collect()
            })
        }
    }

    #[test]
    fn without_a_word_the_system_is_trusted_and_the_host_is_the_name() {
        let tls = Files::new().read("").unwrap();
        assert_eq!(tls.server_name, ServerName::try_from("a.com").unwrap());
        assert_eq!(tls.trust, Trust::default());
    }

    #[test]
    fn files_become_what_tls_needs() {
        let files = Files::new();
        let tls = files
            .read("ca = '@a.pem'\ncert = '@b.pem'\nkey = '@b.key'\nserver_name = 'b'")
            .unwrap();
        assert_eq!(tls.server_name, ServerName::try_from("b").unwrap());
        assert_eq!(tls.trust.authorities.as_ref().unwrap().len(), 1);
        assert_eq!(tls.trust.identity.as_ref().unwrap().cert.len(), 1);
        let other = files.read("ca = '@b.pem'").unwrap().trust;
        assert_ne!(other, tls.trust);
        assert_eq!(files.read("ca = '@b.pem'").unwrap().trust, other);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_its_key() {
        let files = Files::new();
        for (keys, place, message) in [
            (
                "ca = '@none.pem'",
                "ca",
                "@none.pem: No such file or directory (os error 2)".to_owned(),
            ),
            ("ca = '@empty.pem'", "ca", format!("@empty.pem: {NO_CERTIFICATE}")),
            ("ca = '@a.key'", "ca", format!("@a.key: {NO_CERTIFICATE}")),
            (
                "ca = '@broken.pem'",
                "ca",
                "@broken.pem: no authority's certificate: invalid peer certificate: BadEncoding"
                    .to_owned(),
            ),
            ("cert = '@a.pem'", "cert", "a certificate of ours needs its `key`".to_owned()),
            ("key = '@a.key'", "key", "a key needs its certificate: `cert`".to_owned()),
            ("cert = '@a.pem'\nkey = '@a.pem'", "key", format!("@a.pem: {NO_KEY}")),
            (
                "cert = '@a.pem'\nkey = '@b.key'",
                "key",
                "this key does not belong to the certificate in @a.pem".to_owned(),
            ),
            (
                "server_name = 'a b'",
                "server_name",
                "`a b` is no name that a certificate can bear".to_owned(),
            ),
        ] {
            assert_eq!(files.read(keys).unwrap_err(), [(place.to_owned(), message)], "{keys}");
        }
        let faults =
            files.read("ca = '@none.pem'\ncert = '@none.pem'\nkey = '@a.key'\nserver_name = ''");
        let places: Vec<_> = faults.unwrap_err().into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, ["server_name", "ca", "cert"]);
        let broken = files.read("cert = '@broken.pem'\nkey = '@a.key'").unwrap_err();
        assert_eq!(broken[0].0, "cert", "{broken:?}");
    }

    #[test]
    fn no_key_is_printed() {
        let files = Files::new();
        let tls = files.read("cert = '@a.pem'\nkey = '@a.key'").unwrap();
        let key = std::fs::read_to_string(files.0.path().join("a.key")).unwrap();
        let line = key.lines().nth(1).unwrap();
        let printed = format!("{tls:?}");
        assert!(!printed.contains(line), "{printed}");
    }
}
