//! What the process finds around itself: variables, and what it runs on. Taken once, so that all
//! else is pure and tests need no process environment.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Variables, and what the process runs on.
#[derive(Clone)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// Where `proxy.toml` is looked for.
    pub(super) directory: PathBuf,
    /// Standard output is a terminal.
    pub(super) terminal: bool,
    /// This machine's name, where the system says it.
    pub(super) host: Option<String>,
    /// Cores that this process may use.
    pub(super) cores: usize,
}

impl Environment {
    /// This process's. A variable that is not Unicode is as good as unset.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self {
            variables: variables.collect(),
            directory: PathBuf::from("."),
            terminal: std::io::stdout().is_terminal(),
            host: host(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// A made-up one: no terminal, one core, and no `proxy.toml` in its folder.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            variables: variables.into_iter().map(owned).collect(),
            directory: PathBuf::from("/nonexistent"),
            terminal: false,
            host: Some("this-machine".to_owned()),
            cores: 1,
        }
    }

    /// The same on such a machine.
    #[cfg(test)]
    pub(crate) fn on(self, terminal: bool, cores: usize) -> Self {
        Self { terminal, cores, ..self }
    }

    /// The value of a variable, without whitespace around it; an empty one is unset.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The variables that begin with `prefix` and are set, by name.
    pub(super) fn beginning_with<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let names = self.variables.keys().filter(move |name| name.starts_with(prefix));
        names.filter_map(|name| Some((name.as_str(), self.text(name)?)))
    }
}

/// As Linux tells it; elsewhere it is not known.
fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_unset() {
        let environment = Environment::of([("A", ""), ("B", "  "), ("C", " x ")]);
        assert_eq!(
            ["A", "B", "C", "D"].map(|name| environment.text(name)),
            [None, None, Some("x"), None]
        );
    }

    #[test]
    fn variables_are_found_by_how_they_begin() {
        let environment = Environment::of([("P_B", "2"), ("P_A", "1"), ("P_C", ""), ("Q", "3")]);
        let found: Vec<_> = environment.beginning_with("P_").collect();
        assert_eq!(found, [("P_A", "1"), ("P_B", "2")]);
    }
}
