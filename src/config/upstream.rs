//! One `[[upstream]]` becomes what forwarding needs to be told of it. Knows no other upstream.

use std::sync::Arc;

use super::environment::Environment;
use super::fault::Fault;
use super::reach::{self, Reach};
use super::{file, file::Dialect, file::StreamUsage, providers};
use crate::forward::settings::{Listen, Upstream};
use crate::tape::Upstream as Facts;

/// Names are a metric's label and a path's segment.
const LONGEST_NAME: usize = 64;

const NO_LISTENER: &str =
    "this is the TLS of the upstream's own listener: write `listen` too, or take it away";

/// The upstream at `index` of the list, or all that is wrong with it.
pub(super) fn resolve(
    index: usize,
    written: &file::Upstream,
    environment: &Environment,
) -> Result<Upstream, Vec<Fault>> {
    let place = |key: &str| format!("upstream.{index}.{key}");
    let mount = written.mount.clone().unwrap_or_else(|| format!("/{}", written.name));
    let mut faults = Vec::new();
    faults.extend(name_fault(&written.name).map(|message| Fault::at(place("name"), message)));
    faults.extend(mount_fault(&mount).map(|message| Fault::at(place("mount"), message)));
    for (number, path) in written.paths.iter().enumerate() {
        let place = format!("upstream.{index}.paths.{number}");
        faults.extend(path_fault(path).map(|message| Fault::at(place, message)));
    }
    let listen = listen(index, written).unwrap_or_else(|wrong| {
        faults.extend(wrong);
        None
    });
    match reach::resolve(index, written, environment) {
        Ok(reach) if faults.is_empty() => Ok(build(written, reach, mount, listen)),
        Ok(_) => Err(faults),
        Err(wrong) => {
            faults.extend(wrong);
            Err(faults)
        }
    }
}

/// The upstream's own listener, if it has one.
fn listen(index: usize, written: &file::Upstream) -> Result<Option<Listen>, Vec<Fault>> {
    let place = format!("upstream.{index}.tls");
    match (&written.listen, &written.tls) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(vec![Fault::at(place, NO_LISTENER)]),
        (Some(at), written) => {
            let tls = super::tls::resolve(&place, written.as_ref())?;
            Ok(Some(Listen { at: at.0.clone(), tls }))
        }
    }
}

fn build(
    written: &file::Upstream,
    reach: Reach,
    mount: String,
    listen: Option<Listen>,
) -> Upstream {
    let named = written.provider.as_deref().unwrap_or(&written.name);
    let provider = providers::of(written, &reach.address);
    // A host says who answers, but not that a marker's requests are meant for it.
    let marks = providers::find(named);
    let dialect = provider.map_or(Dialect::Openai, |provider| provider.dialect);
    let facts = Facts {
        name: written.name.clone(),
        provider: provider.map_or(named, |provider| provider.spelling).to_owned(),
        dialect: written.dialect.unwrap_or(dialect).as_str().to_owned(),
        address: reach.address,
        port: reach.port,
    };
    Upstream {
        facts: Arc::new(facts),
        way: reach.way,
        tls: reach.tls,
        http2: written.http == file::Http::Two,
        host: reach.host,
        base_path: reach.base_path,
        paths: written.paths.clone(),
        mount: Some(mount),
        marker: marks.and_then(providers::Provider::marker),
        asks_for_usage: match written.stream_usage {
            Some(usage) => usage == StreamUsage::Ask,
            None => provider.is_some_and(|provider| provider.asks),
        },
        propagate: written.propagate,
        listen,
        shape: provider.map_or_else(providers::common_shape, providers::Provider::shape),
    }
}

fn name_fault(name: &str) -> Option<String> {
    let fits = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    let good = !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(fits);
    (!good).then(|| {
        format!("a name has 1 to {LONGEST_NAME} letters, digits, `-`, `_` or `.`, since it is a metric's label")
    })
}

fn path_fault(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return Some(format!("a path prefix begins with `/`: write \"/{path}\""));
    }
    (!is_plain(path)).then(|| {
        "a path prefix holds no space, `?` or `#`, and no `.` or `..` segment: it is compared with \
         paths as they are sent"
            .to_owned()
    })
}

fn mount_fault(mount: &str) -> Option<String> {
    let good = mount.len() > 1 && mount.starts_with('/') && !mount.ends_with('/');
    (!good || !is_plain(mount)).then(|| {
        "a mount begins with `/` and does not end with it, like \"/openai\"; it holds no space, `?` \
         or `#`, and no `.` or `..` segment"
            .to_owned()
    })
}

fn is_plain(path: &str) -> bool {
    let dots = path.split('/').any(|segment| segment == "." || segment == "..");
    !dots && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Upstream, Vec<Fault>> {
        let file: file::File = toml::from_str(&format!("[[upstream]]\n{text}")).unwrap();
        resolve(0, &file.upstream[0], &Environment::of([]))
    }

    #[test]
    fn a_host_says_who_answers_but_draws_no_requests() {
        let named = |text| {
            let upstream = read(text).unwrap();
            let Facts { provider, dialect, .. } = upstream.facts.as_ref().clone();
            (provider, dialect, upstream.marker.is_some(), upstream.asks_for_usage)
        };
        let of = |provider: &str, dialect: &str, marked, asks| {
            (provider.to_owned(), dialect.to_owned(), marked, asks)
        };
        let spare = "name = 'spare'\nurl = 'https://api.anthropic.com'";
        assert_eq!(named(spare), of("anthropic", "anthropic", false, false));
        let azure = "name = 'prod'\nurl = 'https://my.openai.azure.com/openai'";
        assert_eq!(named(azure), of("azure.ai.openai", "openai", false, true));
        let own = "name = 'prod'\nprovider = 'acme'\nurl = 'https://api.cohere.com'";
        assert_eq!(named(own), of("acme", "openai", false, false));
        let cohere = "name = 'prod'\nurl = 'https://api.cohere.com'";
        assert_eq!(named(cohere), of("cohere", "cohere", false, false));
    }

    #[test]
    fn a_name_and_a_url_are_enough() {
        let upstream = read("name = 'groq'\nurl = 'https://api.groq.com/openai/'").unwrap();
        let facts = Facts {
            name: "groq".into(),
            provider: "groq".into(),
            dialect: "openai".into(),
            address: "api.groq.com".into(),
            port: Some(443),
        };
        assert_eq!(*upstream.facts, facts);
        assert!(upstream.tls.is_some() && !upstream.propagate);
        assert_eq!(
            (upstream.host.to_str().unwrap(), &*upstream.base_path),
            ("api.groq.com", "/openai")
        );
        assert_eq!(upstream.mount.as_deref(), Some("/groq"));
        assert_eq!(upstream.paths, [""; 0]);
        assert_eq!((upstream.listen, upstream.marker), (None, None));
    }

    #[test]
    fn the_provider_decides_dialect_marker_and_shape() {
        let upstream =
            read("name = 'a'\nurl = 'http://[::1]:8080'\nprovider = 'anthropic'").unwrap();
        let facts = &upstream.facts;
        assert_eq!((&*facts.provider, &*facts.dialect), ("anthropic", "anthropic"));
        assert_eq!(
            (&*facts.address, facts.port, upstream.host.to_str().unwrap()),
            ("::1", Some(8080), "[::1]:8080")
        );
        assert_eq!(upstream.marker.unwrap().header, "anthropic-version");
        assert!(upstream.shape.0.starts_with(r#"{"type":"error""#));
        let azure = read("name = 'a'\nurl = 'http://a'\nprovider = 'azure'").unwrap();
        assert_eq!(azure.facts.provider, "azure.ai.openai");
    }

    #[test]
    fn openai_and_azure_are_asked_for_usage_unless_told_and_others_if_told() {
        let asks = |keys: &str| {
            read(&format!("name = 'a'\nurl = 'http://a'\n{keys}")).unwrap().asks_for_usage
        };
        assert!(asks("provider = 'openai'") && asks("provider = 'azure'"));
        assert!(asks("provider = 'azure.ai.openai'"));
        assert!(!asks("provider = 'vllm'") && !asks("provider = 'acme'") && !asks(""));
        assert!(!asks("provider = 'openai'\nstream_usage = 'observe'"));
        assert!(asks("provider = 'vllm'\nstream_usage = 'ask'"));
    }

    #[test]
    fn a_provider_that_nobody_knows_speaks_openai_unless_told() {
        let text = "name = 'a'\nurl = 'http://a'\nprovider = 'acme'";
        let facts = read(text).unwrap().facts;
        assert_eq!((&*facts.provider, &*facts.dialect), ("acme", "openai"));
        let facts = read(&format!("{text}\ndialect = 'ollama'")).unwrap().facts;
        assert_eq!((&*facts.provider, &*facts.dialect), ("acme", "ollama"));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let told =
            read("name = 'a b'\nurl = 'ftp://a'\nmount = '/x/'\npaths = ['/ok/', 'v1/', '/a?b']");
        let faults = told.unwrap_err();
        let places: Vec<_> = faults.iter().map(|fault| fault.places.join(" ")).collect();
        assert_eq!(
            places,
            [
                "upstream.0.name",
                "upstream.0.mount",
                "upstream.0.paths.1",
                "upstream.0.paths.2",
                "upstream.0.url"
            ]
        );
        let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "a name has 1 to 64 letters, digits, `-`, `_` or `.`, since it is a metric's label",
                "a mount begins with `/` and does not end with it, like \"/openai\"; it holds no space, `?` or `#`, and no `.` or `..` segment",
                "a path prefix begins with `/`: write \"/v1/\"",
                "a path prefix holds no space, `?` or `#`, and no `.` or `..` segment: it is compared with paths as they are sent",
                "a URL begins with http:// or https:// and names a host, like https://api.example.com",
            ]
        );
    }

    #[test]
    fn tls_is_that_of_a_listener_and_its_files_are_read() {
        let text = "name = 'a'\nurl = 'http://a'\ntls = { cert = '/nonexistent', key = '/k' }";
        let faults = read(text).unwrap_err();
        assert_eq!(faults, [Fault::at("upstream.0.tls", NO_LISTENER)]);
        let faults = read(&format!("{text}\nlisten = 'unix:/a'")).unwrap_err();
        let message = "/nonexistent: No such file or directory (os error 2)";
        assert_eq!(faults, [Fault::at("upstream.0.tls.cert", message)]);
    }

    #[test]
    fn a_password_in_a_url_is_never_shown() {
        let faults = read("name = 'a'\nurl = 'https://user:hunter2@a'").unwrap_err();
        assert!(faults[0].secret);
        assert!(!faults[0].message.contains("hunter2"));
    }

    #[test]
    fn mounts_and_paths_are_compared_as_sent() {
        for mount in ["/", "a", "/a/", "", "/a b", "/../a", "/ä"] {
            assert!(mount_fault(mount).is_some(), "{mount}");
        }
        assert_eq!([mount_fault("/a"), mount_fault("/a/b.c")], [None, None]);
        assert_eq!(
            [path_fault("/"), path_fault("/v1/"), path_fault("/v1/x:y")],
            [None, None, None]
        );
    }
}
