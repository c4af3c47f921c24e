//! The files that a configuration is made of: the one that is read first and those that it names.
//! Knows what is in them only as a number that changes with it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::file::{self, Export, File};
use super::pricing;
use super::proxy::ProxySource;
use super::secret::SecretSource;

/// Files by path, each with what was in it. Two are equal when no file has changed between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files(Vec<(PathBuf, Option<u64>)>);

impl Files {
    /// Looks at `path` and at what it names. Reading by path follows links, so that a ConfigMap's
    /// swapped link is a change like any other.
    pub(super) fn look(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let named = toml::from_str::<File>(&text).map(|file| named(&file, &path));
        let named = named.unwrap_or_default().into_iter();
        let named = named.filter(|it| it.holds != Holds::Key).map(|named| named.path);
        let all = std::iter::once(path.clone()).chain(named);
        Self(
            all.map(|path| (fingerprint(&path), path)).map(|(print, path)| (path, print)).collect(),
        )
    }
}

/// Nothing where it cannot be read.
fn fingerprint(path: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    std::fs::read(path).ok()?.hash(&mut hasher);
    Some(hasher.finish())
}

/// A file that another names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The key that names it.
    pub(super) place: String,
    /// Where it is.
    pub(super) path: PathBuf,
    /// What it holds.
    pub(super) holds: Holds,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Prices of the operator's own.
    Prices,
    /// A header's value.
    Secret,
    /// Certificates, which anyone may read.
    Certificates,
    /// The private key that belongs to an upstream's `cert`, and changes with it.
    UpstreamKey,
    /// Another private key. A listener's is looked at and read anew by the listener itself.
    Key,
}

impl Named {
    /// The file at `path`, if one is named.
    fn of(place: String, path: Option<&PathBuf>, holds: Holds) -> Option<Self> {
        Some(Self { place, path: path?.clone(), holds })
    }
}

/// Every file that `file`, which stands at `at`, names.
pub(super) fn named(file: &File, at: &Path) -> Vec<Named> {
    let prices = file.pricing.files.iter().enumerate().map(|(number, written)| Named {
        place: format!("pricing.files.{number}"),
        path: pricing::beside(at, written),
        holds: Holds::Prices,
    });
    let server = file.server.tls.as_ref().map(|tls| &tls.key);
    let server = Named::of("server.tls.key".to_owned(), server, Holds::Key);
    let exports = file.telemetry.export.iter().enumerate().flat_map(of_export);
    let upstreams = file.upstream.iter().enumerate().flat_map(of_upstream);
    prices.chain(exports).chain(server).chain(upstreams).collect()
}

fn of_export((number, export): (usize, &Export)) -> Vec<Named> {
    let place = |key: &str| format!("telemetry.export.{number}.{key}");
    let headers = export.headers.iter().map(|(name, source)| {
        Named::of(place(&format!("headers.{name}")), secret(source), Holds::Secret)
    });
    let others = [
        Named::of(place("key"), export.key.as_ref(), Holds::Key),
        Named::of(place("proxy"), secret_url(export.proxy.as_ref()), Holds::Secret),
    ];
    headers.chain(others).flatten().collect()
}

fn of_upstream((number, upstream): (usize, &file::Upstream)) -> Vec<Named> {
    let place = |key: &str| format!("upstream.{number}.{key}");
    let listener = upstream.tls.as_ref().map(|tls| &tls.key);
    let files = [
        Named::of(place("tls.key"), listener, Holds::Key),
        Named::of(place("ca"), upstream.ca.as_ref(), Holds::Certificates),
        Named::of(place("cert"), upstream.cert.as_ref(), Holds::Certificates),
        Named::of(place("key"), upstream.key.as_ref(), Holds::UpstreamKey),
        Named::of(place("proxy"), secret_url(upstream.proxy.as_ref()), Holds::Secret),
    ];
    files.into_iter().flatten().collect()
}

/// The file that holds a secret, if it is one.
fn secret(source: &SecretSource) -> Option<&PathBuf> {
    match source {
        SecretSource::File(path) => Some(path),
        SecretSource::Env(_) => None,
    }
}

/// The file that holds the URL of an egress proxy.
fn secret_url(proxy: Option<&ProxySource>) -> Option<&PathBuf> {
    match proxy {
        Some(ProxySource::Secret(source)) => secret(source),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TEXT: &str =
        "pricing.files = ['own.toml']\n[[telemetry.export]]\nendpoint = 'http://a'\n";

    #[test]
    fn a_change_of_any_named_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (main, prices) = (folder.path().join("proxy.toml"), folder.path().join("own.toml"));
        let secret = folder.path().join("secret");
        let text = format!("{TEXT}headers = {{ a = {{ file = '{}' }} }}\n", secret.display());
        let absent = Files::look(main.clone());
        fs::write(&main, &text).unwrap();
        let first = Files::look(main.clone());
        assert_ne!(first, absent);
        fs::write(&secret, "x").unwrap();
        let second = Files::look(main.clone());
        assert_ne!(second, first);
        fs::write(&prices, "").unwrap();
        let third = Files::look(main.clone());
        assert_ne!(third, second);
        fs::write(&main, text).unwrap();
        assert_eq!(Files::look(main), third, "written again, but the same");
    }

    #[test]
    fn a_folder_that_a_link_leads_to_may_be_exchanged() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("v1", ""), ("v2", "[server]\nroot = ''\n")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("proxy.toml"), text).unwrap();
        }
        std::os::unix::fs::symlink("v1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/proxy.toml", at("proxy.toml")).unwrap();
        let before = Files::look(at("proxy.toml"));
        std::os::unix::fs::symlink("v2", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert_ne!(Files::look(at("proxy.toml")), before);
    }

    #[test]
    fn each_named_file_has_its_key() {
        let tls = "[server]\ntls = { cert = '/c', key = '/k' }\n";
        let text =
            format!("{TEXT}headers = {{ a = {{ file = '/s' }}, b = {{ env = 'B' }} }}\n{tls}");
        let file: File = toml::from_str(&text).unwrap();
        let named = named(&file, Path::new("/etc/x/proxy.toml")).into_iter();
        let told: Vec<_> =
            named.map(|it| format!("{} {} {:?}", it.place, it.path.display(), it.holds)).collect();
        assert_eq!(
            told,
            [
                "pricing.files.0 /etc/x/own.toml Prices",
                "telemetry.export.0.headers.a /s Secret",
                "server.tls.key /k Key",
            ]
        );
    }
}
