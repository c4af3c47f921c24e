//! The shape of the source tree, checked like any other behavior: who may know whom, that every
//! file says what it is, and how long files and functions are. Knows no behavior.

use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// Which of our modules a module may name, besides itself: a prefix of a path.
const MAY_USE: &[(&str, &[&str])] = &[
    ("admin", &[]),
    ("cli", &["config", "forward", "tape", "observe", "report", "worker", "admin", "run"]),
    (
        "config",
        &[
            "forward::settings",
            "forward::server_tls::Part",
            "tape::Settings",
            "tape::Upstream",
            "observe",
            "report::settings",
        ],
    ),
    ("egress", &[]),
    ("forward", &["egress", "tape"]),
    ("observe", &["tape"]),
    ("report", &["egress", "observe::observation", "observe::gaps", "tape::Ids", "tape::Upstream"]),
    ("tape", &[]),
    ("reload", &["config", "forward", "observe", "systemd", "worker"]),
    ("worker", &["tape", "observe", "report"]),
    ("systemd", &["forward::listen"]),
    ("listeners", &["config", "forward", "systemd"]),
    (
        "lib",
        &[
            "admin",
            "cli",
            "config",
            "egress",
            "forward",
            "tape",
            "observe",
            "reload",
            "report",
            "worker",
            "systemd",
            "listeners",
        ],
    ),
    ("main", &["run", "listeners::Addresses", "cli", "config", "reload"]),
];

/// What a module must not know: parts of a path, wherever they stand in it.
const MUST_NOT_KNOW: &[(&str, &[&str])] = &[
    ("admin", &["opentelemetry", "serde_json", "toml"]),
    ("config", &["hyper", "tokio", "opentelemetry"]),
    ("forward", &["opentelemetry", "opentelemetry_sdk", "serde", "serde_json", "toml"]),
    ("egress", &["opentelemetry", "serde", "serde_json", "toml"]),
    ("tape", &["hyper", "http", "opentelemetry", "serde", "serde_json"]),
    (
        "observe",
        &[
            "tokio",
            "hyper",
            "hyper_util",
            "opentelemetry",
            "opentelemetry_sdk",
            "opentelemetry_proto",
            "tracing",
            "Instant",
            "SystemTime::now",
            "std::env",
            "std::fs",
            "std::process",
            "std::thread",
            "TcpStream",
        ],
    ),
    ("report", &["toml", "clap", "std::fs"]),
    ("worker", &["hyper", "opentelemetry", "opentelemetry_sdk", "std::fs"]),
];

/// The one file in which the names of attributes and metrics stand, and how they begin.
const NAMES: &str = "report/names.rs";
const EMITTED: [&str; 2] = ["gen_ai.", "clearspan."];

/// What stands before properties that only tests and fuzzing compile.
const FUZZING: &str = "#[cfg(any(test, fuzzing))]";

/// The most lines of code in a file and in a function, and what nine functions in ten fit in.
const FILE: usize = 400;
const FUNCTION: usize = 70;
const NINE_IN_TEN: usize = 25;

/// One source file: where it stands under `src`, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// The path as modules: `observe/dialect/openai.rs` is `observe`, `dialect`, `openai`.
    fn module(&self) -> Vec<String> {
        let path = self.path.trim_end_matches(".rs");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').map(str::to_owned).collect()
    }

    /// The text without its unit tests.
    fn code(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default()
    }
}

/// The program's sources without files that are only compiled for unit tests.
fn program() -> Vec<Source> {
    let mut all = sources("src");
    let only_tests: Vec<_> = all.iter().flat_map(test_modules).collect();
    all.retain(|source| !only_tests.iter().any(|only| source.module().starts_with(only)));
    all
}

/// Modules of a file that are declared `#[cfg(test)] mod name;`, and those of fuzzing.
fn test_modules(source: &Source) -> Vec<Vec<String>> {
    let is_kept = |line: &str| line == "#[cfg(test)]" || line == FUZZING;
    let mut kept = false;
    let declared = source.text.lines().filter(|line| std::mem::replace(&mut kept, is_kept(line)));
    let names = declared.filter_map(|line| line.split_once("mod ")?.1.strip_suffix(';'));
    let within = if source.path == "lib.rs" { Vec::new() } else { source.module() };
    names.map(|name| [within.clone(), vec![name.to_owned()]].concat()).collect()
}

/// Every source file under `folder` of the repository.
fn sources(folder: &str) -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
        Source::new(name, &fs::read_to_string(path).unwrap())
    };
    files.iter().map(read).collect()
}

/// What a file names outside its tests: paths, resolved to the crate's root where they are ours
/// (`["crate", "tape", "Ids"]`), and texts.
struct Names {
    module: Vec<String>,
    // What `use` brought in, by its last part.
    imported: Vec<Vec<String>>,
    paths: Vec<Vec<String>>,
    texts: Vec<String>,
    undocumented: Vec<String>,
}

impl Names {
    fn of(source: &Source) -> Self {
        let module = match source.module().as_slice() {
            [root] if root == "lib" || root == "main" => Vec::new(),
            module => module.to_vec(),
        };
        let mut names = Self {
            module,
            imported: Vec::new(),
            paths: Vec::new(),
            texts: Vec::new(),
            undocumented: Vec::new(),
        };
        let file = syn::parse_file(&source.text)
            .unwrap_or_else(|error| panic!("{}: {error}", source.path));
        names.visit_file(&file);
        names.follow_imports();
        names
    }

    fn add(&mut self, path: Vec<String>) {
        let resolved = self.resolve(path);
        self.paths.push(resolved);
    }

    /// `use crate::tape;` makes `tape::Ids` a path of ours.
    fn follow_imports(&mut self) {
        for path in &mut self.paths {
            let imported = self.imported.iter().find(|it| it.last() == path.first());
            if let Some(imported) = imported.filter(|_| path.len() > 1) {
                path.splice(..1, imported.iter().cloned());
            }
        }
    }

    /// `crate::`, `self::`, `super::` and the library's name become `crate`.
    fn resolve(&self, path: Vec<String>) -> Vec<String> {
        let mut base = self.module.clone();
        let mut rest = path.as_slice();
        match rest.first().map(String::as_str) {
            Some("crate" | "clearspan") => {
                base.clear();
                rest = &rest[1..];
            }
            Some("self") => rest = &rest[1..],
            Some("super") => {
                while rest.first().is_some_and(|it| it == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            _ => return path,
        }
        std::iter::once("crate".to_owned()).chain(base).chain(rest.iter().cloned()).collect()
    }

    fn add_use(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| {
            let mut path = before.to_vec();
            path.push(name.to_string());
            path
        };
        match tree {
            syn::UseTree::Path(it) => self.add_use(&with(&it.ident), &it.tree),
            syn::UseTree::Name(it) if it.ident == "self" => self.add(before.to_vec()),
            syn::UseTree::Name(it) => {
                let path = self.resolve(with(&it.ident));
                self.imported.push(path.clone());
                self.paths.push(path);
            }
            syn::UseTree::Rename(it) => self.add(with(&it.ident)),
            syn::UseTree::Glob(_) => self.add([before, &["*".to_owned()]].concat()),
            syn::UseTree::Group(it) => it.items.iter().for_each(|it| self.add_use(before, it)),
        }
    }

    /// Paths and texts in what a macro is given, which `syn` leaves unparsed.
    fn add_tokens(&mut self, tokens: &str) {
        let is_part = |it: char| it.is_alphanumeric() || it == '_' || it == ':';
        for (number, part) in tokens.replace(" :: ", "::").split('"').enumerate() {
            if number % 2 == 1 {
                self.texts.push(part.to_owned());
                continue;
            }
            for word in
                part.split(|it| !is_part(it)).filter(|it| it.starts_with(char::is_alphabetic))
            {
                self.add(word.split("::").map(str::to_owned).collect());
            }
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_cfg = attribute.path().is_ident("cfg");
        let tokens = || attribute.meta.require_list().map(|it| it.tokens.to_string());
        attribute.path().is_ident("test")
            || is_cfg && tokens().is_ok_and(|it| it == "test" || it == "any (test , fuzzing)")
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.add_use(&[], &item.tree);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_test(&item.attrs) {
            return;
        }
        let documented = item.attrs.iter().any(|it| it.path().is_ident("doc"));
        if item.content.is_none() && !documented {
            self.undocumented.push(item.ident.to_string());
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.add_tokens(&item.tokens.to_string());
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.texts.push(text.value());
    }

    // Words about the code are not the code.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

/// Whether `path` is `prefix` or lies under it.
fn is_under(path: &[String], prefix: &str) -> bool {
    let prefix: Vec<_> = prefix.split("::").collect();
    path.len() >= prefix.len() && path.iter().zip(&prefix).all(|(part, it)| part == it)
}

/// Whether some of what lies under `path` may be used, so that `path` itself may be imported.
fn leads_to(path: &[String], may_use: &[&str]) -> bool {
    may_use.iter().any(|prefix| {
        let parts: Vec<_> = prefix.split("::").map(str::to_owned).collect();
        is_under(&parts, &path.join("::"))
    })
}

/// Whether the parts of `known` stand one after the other in `path`.
fn holds(path: &[String], known: &str) -> bool {
    (0..path.len()).any(|at| is_under(&path[at..], known))
}

/// Imports that point the wrong way, modules without a word, names outside their home.
fn faults_of_use(source: &Source) -> Vec<String> {
    let names = Names::of(source);
    let module = source.module();
    let top = module[0].as_str();
    let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == top) else {
        return vec![format!("{}: add `{top}` to MAY_USE", source.path)];
    };
    let banned = MUST_NOT_KNOW.iter().find(|(name, _)| *name == top).map_or(&[][..], |it| it.1);
    let mut faults = Vec::new();
    for path in &names.paths {
        let shown = path.join("::");
        match path.split_first() {
            Some((root, ours)) if root == "crate" && !ours.is_empty() => {
                let own = ours[0] == top
                    || may_use.iter().any(|prefix| is_under(ours, prefix))
                    || leads_to(ours, may_use);
                if !own || crosses_dialects(&module, ours) {
                    faults.push(format!("{}: `{top}` may not use `{shown}`", source.path));
                }
            }
            _ => {
                if banned.iter().any(|known| holds(path, known)) {
                    faults.push(format!("{}: `{top}` must not know `{shown}`", source.path));
                }
            }
        }
    }
    let silent = names.undocumented.iter();
    faults.extend(silent.map(|it| format!("{}: say what `mod {it}` is", source.path)));
    if source.path != NAMES && top == "report" {
        let stray = names.texts.iter().filter(|it| EMITTED.iter().any(|of| it.starts_with(of)));
        faults.extend(stray.map(|it| format!("{}: `{it}` belongs into {NAMES}", source.path)));
    }
    faults
}

/// One dialect names another. Those that are compatible with OpenAI's may call it openly.
fn crosses_dialects(module: &[String], path: &[String]) -> bool {
    let [observe, dialect, of, ..] = module else { return false };
    let [_, _, used, ..] = path else { return false };
    let is_module = used.starts_with(|first: char| first.is_ascii_lowercase());
    let inside = |it: &[String]| it[0] == *observe && it[1] == *dialect;
    observe == "observe"
        && dialect == "dialect"
        && inside(path)
        && is_module
        && used != of
        && used != "openai"
        && path.len() > 3
}

/// What is wrong with the text itself.
fn faults_of_text(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let says = source.text.strip_prefix("//! ").unwrap_or_default();
    let sentence: String =
        says.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    if !sentence.contains('.') {
        faults.push(format!("{}: begin with a `//!` sentence", source.path));
    }
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let lines = source.code().lines().filter(is_code).count();
    if lines > FILE {
        faults.push(format!("{}: {lines} lines; split it by meaning", source.path));
    }
    let long = functions(source).into_iter().filter(|(_, lines)| *lines > FUNCTION);
    faults.extend(long.map(|(name, lines)| format!("{}: {name} has {lines} lines", source.path)));
    faults
}

/// Functions outside tests, and how many lines each has: formatted code ends a function with a
/// brace that stands as far in as the function began.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.code().lines().collect();
    let mut functions = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = begins_function(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        let after = lines[at..].iter().position(|line| {
            *line == end || line.ends_with(';') && line.starts_with(&format!("{indent}fn "))
        });
        let length = if line.ends_with('}') { 1 } else { after.map_or(1, |it| it + 1) };
        functions.push((name, length));
    }
    functions
}

fn begins_function(line: &str) -> Option<String> {
    let mut rest = line.trim_start();
    loop {
        if let Some(named) = rest.strip_prefix("fn ") {
            let name = named.split(['(', '<']).next().unwrap_or_default();
            return Some(name.to_owned());
        }
        let (word, after) = rest.split_once(' ')?;
        let modifier = ["pub", "const", "async", "unsafe", "extern"].contains(&word);
        if !modifier && !word.starts_with("pub(") {
            return None;
        }
        rest = after;
    }
}

#[test]
fn imports_point_one_way() {
    let faults: Vec<_> = program().iter().flat_map(faults_of_use).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let faults: Vec<_> = program().iter().flat_map(faults_of_text).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let says = |source: &Source| source.text.starts_with("//! ");
    let silent: Vec<_> =
        sources("tests").into_iter().filter(|it| !says(it)).map(|it| it.path).collect();
    assert_eq!(silent, [""; 0]);
}

#[test]
fn nine_functions_in_ten_are_short() {
    let mut lengths: Vec<_> =
        program().iter().flat_map(functions).map(|(_, lines)| lines).collect();
    lengths.sort_unstable();
    let ninth = lengths[lengths.len() * 9 / 10];
    println!("{} functions, p90 {ninth} lines, max {:?}", lengths.len(), lengths.last());
    assert!(ninth <= NINE_IN_TEN, "one in ten is longer than {ninth} lines");
}

#[test]
fn every_top_module_stands_in_the_table() {
    let mut tops: Vec<_> = program().iter().map(|it| it.module()[0].clone()).collect();
    tops.dedup();
    let known = |top: &str| MAY_USE.iter().any(|(name, _)| *name == top);
    tops.retain(|top| !known(top));
    assert_eq!(tops, [""; 0]);
}

mod tests {
    use super::*;

    const OPENS: &str = "//! A file. Knows nothing.\n";

    fn faults(path: &str, code: &str) -> Vec<String> {
        let source = Source::new(path, &format!("{OPENS}{code}"));
        [faults_of_use(&source), faults_of_text(&source)].concat()
    }

    #[test]
    fn imports_that_point_the_wrong_way_are_found() {
        for (path, code) in [
            ("forward/pool.rs", "use crate::observe::Settings;"),
            ("forward/pool.rs", "use crate::{tape::Ids, report};"),
            ("forward/pool.rs", "use super::super::report::settings;"),
            ("forward/mod.rs", "use super::config;"),
            ("forward/mod.rs", "mod inner { use super::super::config; }"),
            ("forward/pool.rs", "fn f() { crate::report::send(); }"),
            ("forward/pool.rs", "fn f() -> crate::observe::Settings { todo!() }"),
            ("forward/pool.rs", "fn f() { println!(\"{}\", crate::report::name()); }"),
            ("tape/reel.rs", "use crate::forward::settings::Limits as L;"),
            ("report/spans.rs", "use crate::observe::dialect::openai;"),
            ("report/spans.rs", "use crate::tape::Tapes;"),
            ("report/spans.rs", "use crate::tape::*;"),
            ("report/spans.rs", "use crate::tape;\nfn f(t: tape::Tapes) {}"),
            ("config/mod.rs", "use crate::{forward, tape};\nfn f() { forward::pool::f() }"),
            ("observe/mod.rs", "use crate::report::names;"),
            ("observe/dialect/ollama.rs", "use super::anthropic::Usage;"),
            ("observe/dialect/ollama.rs", "fn f() { super::anthropic::usage() }"),
            ("config/mod.rs", "use crate::forward::Forward;"),
            ("admin.rs", "use crate::report::prometheus;"),
            ("main.rs", "use clearspan::forward::Forward;"),
            ("newcomer.rs", "fn f() {}"),
        ] {
            assert_eq!(faults(path, code).len(), 1, "{path}: {code}: {:?}", faults(path, code));
        }
    }

    #[test]
    fn what_a_module_must_not_know_is_found() {
        for (path, code) in [
            ("observe/mod.rs", "use tokio::sync::mpsc;"),
            ("observe/mod.rs", "fn f() { let _ = std::time::Instant::now(); }"),
            ("observe/mod.rs", "use std::time::{Duration, Instant};"),
            ("observe/mod.rs", "fn f() -> SystemTime { SystemTime::now() }"),
            ("observe/mod.rs", "use std::{fmt, fs};"),
            ("forward/mod.rs", "use serde_json::Value;"),
            ("forward/mod.rs", "fn f() { let v = serde_json::json!({}); }"),
            ("forward/mod.rs", "#[cfg(unix)] use opentelemetry as o;"),
            ("tape/mod.rs", "fn f(body: hyper::body::Incoming) {}"),
        ] {
            assert_eq!(faults(path, code).len(), 1, "{path}: {code}: {:?}", faults(path, code));
        }
    }

    #[test]
    fn what_is_allowed_is_not_found() {
        for (path, code) in [
            ("forward/pool.rs", "use crate::tape::{Ids, Tapes};\nuse super::settings::Limits;"),
            ("forward/pool.rs", "#[cfg(test)]\nmod tests { use crate::report; use serde_json; }"),
            ("forward/pool.rs", "/// See `crate::report`.\nfn f() {}"),
            ("observe/mod.rs", "use std::time::{Duration, SystemTime};"),
            ("observe/mod.rs", "/// One.\nmod one;\n/// Two.\npub mod two;"),
            ("observe/dialect/ollama.rs", "use super::{Dialect, openai};\nuse openai::Usage;"),
            ("observe/dialect/ollama.rs", "use crate::observe::dialect::openai::Usage;"),
            ("observe/dialect/ollama/chat.rs", "use super::super::ollama::Usage;"),
            ("report/spans.rs", "use crate::observe::observation::Observation;"),
            ("report/names.rs", "const A: &str = \"gen_ai.x\";"),
            ("config/mod.rs", "use crate::forward::settings::Upstream;"),
            ("config/mod.rs", "use crate::forward;\nfn f(u: forward::settings::Upstream) {}"),
            ("main.rs", "fn main() { clearspan::run() }"),
        ] {
            assert_eq!(faults(path, code), [""; 0], "{path}: {code}");
        }
    }

    #[test]
    fn stray_names_and_silent_modules_are_found() {
        for (path, code) in [
            ("report/spans.rs", "fn f() { set(\"gen_ai.usage.cost\"); }"),
            ("report/spans.rs", "fn f() { vec![\"clearspan.ending\"]; }"),
            ("observe/mod.rs", "mod silent;"),
        ] {
            assert_eq!(faults(path, code).len(), 1, "{path}: {code}");
        }
    }

    #[test]
    fn long_files_long_functions_and_wordless_files_are_found() {
        let long = "fn f() {\n".to_owned() + &"    g();\n".repeat(69) + "}\n";
        assert_eq!(faults("tape/x.rs", &long).len(), 1);
        let method = "impl X {\n    pub(super) async fn f() {\n".to_owned()
            + &"        g();\n".repeat(68)
            + "    }\n}\n";
        assert_eq!(faults("tape/x.rs", &method), [""; 0]);
        assert_eq!(faults("tape/x.rs", &"const A: u8 = 1;\n".repeat(401)).len(), 1);
        assert_eq!(faults("tape/x.rs", &"// words\n\n".repeat(400)), [""; 0]);
        let tests = "#[cfg(test)]\nmod tests {\n".to_owned() + &"\n".repeat(400) + "}\n";
        assert_eq!(faults("tape/x.rs", &tests), [""; 0]);
        for text in ["use std::fmt;\n", "// A file.\n", "//! \n", "//! no sentence\n"] {
            assert_eq!(faults_of_text(&Source::new("x.rs", text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn files_that_are_only_for_tests_are_known() {
        let source = Source::new("report/mod.rs", "/// One.\n#[cfg(test)]\nmod one;\nmod two;\n");
        assert_eq!(test_modules(&source), [["report", "one"]]);
        let source = Source::new("report/x.rs", "#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!(test_modules(&source).len(), 0);
    }

    #[test]
    fn functions_are_measured_from_their_first_line_to_their_brace() {
        let text = "trait T {\n    fn declared(&self);\n    fn given(&self) {\n        f();\n    }\n}\n\
                    fn one() {}\npub const fn two(\n    a: u8,\n) -> u8 {\n    a\n}\n";
        let source = Source::new("x.rs", text);
        let expected = [("declared", 1), ("given", 3), ("one", 1), ("two", 5)];
        let found = functions(&source);
        let found: Vec<_> = found.iter().map(|(name, lines)| (name.as_str(), *lines)).collect();
        assert_eq!(found, expected);
    }
}
