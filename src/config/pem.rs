//! Files of certificates and keys for connections that we make. Knows no key of the file and no variable.

use std::path::Path;

use crate::report::settings::Tls;

/// The most of a file that is read: no bundle of roots is larger.
const LARGEST: u64 = 4 << 20;

/// What stands in a file of roots, one of our own certificate and one of its key. What is wrong
/// comes with the place of its file among the three.
pub(super) fn tls(files: [Option<&Path>; 3]) -> Result<Tls, (usize, String)> {
    let [ca, certificate, key] = files;
    let mut tls = Tls::default();
    if let Some(path) = ca {
        let roots = read(path).map_err(|why| (0, why))?;
        tls = tls.with_roots(&roots).map_err(|why| (0, told(path, &why)))?;
    }
    match (certificate, key) {
        (Some(certificate), Some(path)) => {
            let chain = read(certificate).map_err(|why| (1, why))?;
            let key = read(path).map_err(|why| (2, why))?;
            tls.with_identity(&chain, &key).map_err(|why| (1, told(certificate, &why)))
        }
        (None, None) => Ok(tls),
        (Some(_), None) => Err((2, "a client certificate needs its key".to_owned())),
        (None, Some(_)) => Err((1, "a client key needs its certificate".to_owned())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let large = std::fs::metadata(path).is_ok_and(|it| it.len() > LARGEST);
    if large {
        return Err(told(path, &"it is far too large for what it should hold"));
    }
    std::fs::read(path).map_err(|error| told(path, &error))
}

fn told(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("{}: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    #[test]
    fn files_become_trust_or_a_fault_of_one_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["a".to_owned()]).unwrap();
        let (certificate, key) = (path("cert.pem"), path("key.pem"));
        std::fs::write(&certificate, cert.pem()).unwrap();
        std::fs::write(&key, signing_key.serialize_pem()).unwrap();
        let (good, secret) = (Some(certificate.as_path()), Some(key.as_path()));
        let made = tls([good, good, secret]).unwrap();
        assert_eq!(format!("{made:?}"), "Tls(1 roots, a certificate of our own)");
        assert_eq!(tls([None; 3]), Ok(Tls::default()));
        let missing = path("missing");
        let refused = |files| {
            let (at, why): (usize, String) = tls(files).unwrap_err();
            format!("{at} {}", why.replace(&folder.path().display().to_string(), ""))
        };
        assert_eq!(
            refused([Some(&missing), None, None]),
            "0 /missing: No such file or directory (os error 2)"
        );
        assert_eq!(
            refused([secret, None, None]),
            "0 /key.pem: there is no certificate (PEM) in it"
        );
        assert_eq!(refused([None, good, None]), "2 a client certificate needs its key");
        assert_eq!(refused([None, None, secret]), "1 a client key needs its certificate");
        assert!(refused([None, good, good]).starts_with("1 /cert.pem: there is no private key"));
    }
}
