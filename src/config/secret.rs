//! Where a secret is read from. The secret itself is never part of `proxy.toml`, nor of a message.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::environment::Environment;

/// Where a secret is read from. Never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// The variable of this name.
    Env(String),
    /// The file at this path; a line end at its end is not part of it.
    File(PathBuf),
}

/// Said without the value, which may be a secret.
pub(super) const SECRET_AS_TEXT: &str =
    "a secret is never text in this file: write { env = \"NAME\" } or { file = \"PATH\" }";

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ env = \"NAME\" } or { file = \"PATH\" }")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<SecretSource, E> {
        Err(E::custom(SECRET_AS_TEXT))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        let refused = || A::Error::custom(SECRET_AS_TEXT);
        let source = match map.next_key::<String>()?.as_deref() {
            Some("env") => SecretSource::Env(map.next_value().map_err(|_: A::Error| refused())?),
            Some("file") => SecretSource::File(map.next_value().map_err(|_: A::Error| refused())?),
            _ => return Err(refused()),
        };
        match map.next_entry::<String, IgnoredAny>()? {
            None => Ok(source),
            Some(_) => Err(refused()),
        }
    }
}

impl SecretSource {
    /// The secret, or what is missing.
    pub(super) fn read(&self, environment: &Environment) -> Result<String, String> {
        match self {
            Self::Env(name) => {
                let value = environment.text(name).map(ToOwned::to_owned);
                value.ok_or_else(|| format!("the variable `{name}` is not set"))
            }
            Self::File(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct One {
        key: SecretSource,
    }

    fn read(value: &str) -> Result<SecretSource, String> {
        let one: Result<One, _> = toml::from_str(&format!("key = {value}"));
        one.map(|one| one.key).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_secret_is_named_and_never_written() {
        assert_eq!(read(r#"{ env = "TOKEN" }"#), Ok(SecretSource::Env("TOKEN".into())));
        assert_eq!(read(r#"{ file = "/run/token" }"#), Ok(SecretSource::File("/run/token".into())));
        for text in [
            r#""Bearer hunter2""#,
            r#"{ value = "hunter2" }"#,
            r#"{ env = "TOKEN", value = "hunter2" }"#,
            r#"{ env = ["hunter2"] }"#,
            "{}",
        ] {
            assert_eq!(read(text), Err(SECRET_AS_TEXT.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_secret_comes_from_a_variable_or_a_file() {
        let environment = Environment::of([("TOKEN", "abc"), ("EMPTY", "")]);
        let env = |name: &str| SecretSource::Env(name.into()).read(&environment);
        assert_eq!(env("TOKEN"), Ok("abc".into()));
        assert_eq!(env("EMPTY"), Err("the variable `EMPTY` is not set".into()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, " a b\r\n").unwrap();
        assert_eq!(SecretSource::File(path).read(&environment), Ok(" a b".into()));
        let missing = folder.path().join("missing");
        let expected = format!("{}: No such file or directory (os error 2)", missing.display());
        assert_eq!(SecretSource::File(missing).read(&environment), Err(expected));
    }
}
