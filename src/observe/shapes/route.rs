//! Which path is which call: tables of low-cardinality names, matched by a path's last segments.
//! Knows no body.

/// One line of a dialect's table.
#[derive(Clone, Copy, Debug)]
pub struct Route<T> {
    /// The name, for `http.route`: `/v1/models/{id}`.
    pub name: &'static str,
    /// What a request to it is.
    pub is: T,
}

/// A line of a table.
pub const fn route<T: Copy>(name: &'static str, is: T) -> Route<T> {
    Route { name, is }
}

/// The first line of `table` that the end of `path` matches; `prefix` stands in the names but need
/// not stand in the path (Azure, Groq and others put something else there).
pub fn find<T: Copy>(table: &[Route<T>], prefix: &str, path: &str) -> Option<Route<T>> {
    let path = path.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(path);
    let matches = |route: &&Route<T>| {
        let name = route.name.strip_prefix(prefix).unwrap_or(route.name);
        ends_with(path, name)
    };
    table.iter().find(matches).copied()
}

/// Whether the last segments of `path` are those of `name`, of which `{…}` is any.
fn ends_with(path: &str, name: &str) -> bool {
    let mut segments = path.rsplit('/');
    let mut names = name.strip_prefix('/').unwrap_or(name).rsplit('/');
    names.all(|name| match segments.next() {
        Some(segment) => name == segment || (name.starts_with('{') && !segment.is_empty()),
        None => false,
    }) && segments.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_its_last_segments() {
        let table = [
            route("/v1/chat/completions", ()),
            route("/v1/completions", ()),
            route("/v1/models", ()),
            route("/v1/models/{id}", ()),
        ];
        for (path, expected) in [
            ("/v1/chat/completions", Some("/v1/chat/completions")),
            ("/chat/completions/", Some("/v1/chat/completions")),
            ("/openai/deployments/x/chat/completions", Some("/v1/chat/completions")),
            ("//openai/deployments/x/completions", Some("/v1/completions")),
            ("/v1/models", Some("/v1/models")),
            ("/v1/models/gpt-4o", Some("/v1/models/{id}")),
            ("/v1/notmodels", None),
            ("/", None),
            ("", None),
            ("models", None),
        ] {
            let found = find(&table, "/v1", path).map(|route| route.name);
            assert_eq!(found, expected, "{path}");
        }
    }
}
