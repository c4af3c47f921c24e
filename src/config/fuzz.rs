//! What loading keeps, for any text: it never panics, a fault points into the text, a secret is never
//! told, and what was understood is understood again. Knows no key.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Environment, Flags, Loaded, load};

/// The value of the variable `SECRET`.
const SECRET: &str = "hunter2-hunter2";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file that is gone with its value.
struct Written(PathBuf);

impl Written {
    fn new(text: &str) -> Option<Self> {
        let number = NEXT.fetch_add(1, Relaxed);
        let name = format!("clearspan-fuzz-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).ok()?;
        Some(Self(path))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// The text of `proxy.toml`, and behind a zero byte variables, a line each.
pub(crate) fn load_text(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let (text, variables) = input.split_once('\0').unwrap_or((input, ""));
    // Devices have no end.
    if ["/dev", "/proc", "/sys"].iter().any(|folder| input.contains(folder)) {
        return;
    }
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let variables: Vec<_> = variables.chain([("SECRET", SECRET)]).collect();
    let Some(file) = Written::new(text) else { return };
    let flags = Flags { config: Some(file.0.clone()), ..Flags::default() };
    let environment = Environment::of(variables.iter().copied());
    match load(&flags, &environment) {
        Ok(loaded) => check_settings(&loaded, &environment),
        Err(error) => {
            let told = error.to_string();
            assert!(input.contains(SECRET) || !told.contains(SECRET), "a secret is told");
            check_faults(&file.0, text, &told, &variables);
        }
    }
}

/// Each fault names a variable, or a line of the text, which it shows unless that may hold a secret.
fn check_faults(file: &Path, text: &str, told: &str, variables: &[(&str, &str)]) {
    let name = file.display().to_string();
    let is_variable =
        |fault: &str| variables.iter().any(|(name, _)| fault.starts_with(name.trim()));
    let begins = format!("{name}: error at line ");
    let mut faults = told.split(&begins);
    let first = faults.next().unwrap_or_default();
    assert!(first.is_empty() || is_variable(first), "no place: {told}");
    for fault in faults {
        let digits = fault.bytes().take_while(u8::is_ascii_digit).count();
        let number = fault[..digits].parse::<usize>().unwrap_or_default();
        let line = number.checked_sub(1).and_then(|at| text.split('\n').nth(at));
        assert!(line.is_some(), "no such line in the text: {told}");
        let line = line.unwrap_or_default().trim_end_matches('\r');
        let shown = fault.lines().nth(2).and_then(|it| it.split_once(" | ")).map(|it| it.1);
        let hidden = fault[digits..].starts_with(" (not shown");
        assert!(hidden || shown.unwrap_or_default() == line, "another line is shown: {told}");
        let column = fault[digits..].strip_prefix(", column ").unwrap_or("1");
        let digits = column.bytes().take_while(u8::is_ascii_digit).count();
        let column = column[..digits].parse::<usize>().unwrap_or_default();
        assert!((1..=line.chars().count() + 1).contains(&column), "no such column: {told}");
    }
}

/// What was understood can be said again, key by key, and is the same then.
fn check_settings(loaded: &Loaded, environment: &Environment) {
    let said = |setting: &super::Setting| {
        format!("[{}]\n{} = {}\n", setting.section, setting.key, setting.value)
    };
    for setting in &loaded.said {
        let read = toml::from_str::<toml::Table>(&said(setting));
        assert!(read.is_ok(), "{setting:?} is no line of a file");
    }
    let upstreams = &loaded.settings.forward.upstreams;
    for upstream in upstreams {
        let mount = upstream.mount.as_deref().unwrap_or("/-");
        assert!(mount.starts_with('/') && !mount.ends_with('/'), "mount {mount:?}");
        let base = &upstream.base_path;
        assert!(base.is_empty() || base.starts_with('/') && !base.ends_with('/'), "base {base:?}");
        assert!(upstream.paths.iter().all(|path| path.starts_with('/')), "{:?}", upstream.paths);
    }
    assert!(loaded.settings.forward.root.is_none_or(|root| root < upstreams.len()), "the root");
    let told = format!("{:?} {:?}", loaded.settings, loaded.said);
    let elsewhere = told.replace(SECRET, "").len() == told.len();
    assert!(elsewhere || environment.text("OTEL_SERVICE_NAME").is_some(), "a secret is told");
}
