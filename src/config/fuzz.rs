//! What loading keeps, for any text: it never panics, a fault points into the text, a secret is never
//! told, and what was understood is understood again. Knows no key.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{fs, io};

use super::{Environment, Flags, Loaded, load};

/// The value of the variable `SECRET`.
const SECRET: &str = "hunter2-hunter2";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A folder that is gone with its value.
struct Folder(PathBuf);

impl Folder {
    fn of(files: &[(&str, &str)]) -> io::Result<Self> {
        let number = NEXT.fetch_add(1, Relaxed);
        let name = format!("clearspan-fuzz-{}-{number}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&folder.0)?;
        files.iter().try_for_each(|(name, text)| fs::write(folder.0.join(name), text))?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The text of `proxy.toml`, that of `prices.toml`, and variables, a line each: behind zero bytes.
pub(crate) fn load_text(input: &[u8]) {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let mut texts = input.split('\0');
    let [text, prices, variables] = [(); 3].map(|()| texts.next().unwrap_or_default());
    // Devices have no end, and a secret that everybody knows is none.
    if ["/dev", "/proc", "/sys", SECRET].iter().any(|it| input.contains(it)) {
        return;
    }
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let variables: Vec<_> = variables.chain([("SECRET", SECRET)]).collect();
    let files = [("proxy.toml", text), ("prices.toml", prices)];
    let Ok(folder) = Folder::of(&files) else { return };
    let at = folder.0.join("proxy.toml");
    let flags = Flags { config: Some(at.clone()), ..Flags::default() };
    let environment = Environment::of(variables.iter().copied());
    match load(&flags, &environment) {
        Ok(loaded) => check_settings(&loaded),
        Err(error) => {
            let told = error.to_string();
            assert!(!told.contains(SECRET), "a secret is told");
            check_faults(&at, text, &told, &variables);
            check_places(&folder.0.join("prices.toml"), prices, &told);
        }
    }
}

/// Each fault names a variable, or a place in the text.
fn check_faults(file: &Path, text: &str, told: &str, variables: &[(&str, &str)]) {
    let is_variable = |(name, _): &(&str, &str)| told.starts_with(name.trim());
    let is_placed = told.starts_with(&format!("{}: error at line ", file.display()));
    assert!(is_placed || variables.iter().any(is_variable), "no place: {told}");
    check_places(file, text, told);
}

/// Each place that is told of `file` is one of its text, which is shown unless it may hold a secret.
fn check_places(file: &Path, text: &str, told: &str) {
    let begins = format!("{}: error at line ", file.display());
    for fault in told.split(&begins).skip(1) {
        let digits = fault.bytes().take_while(u8::is_ascii_digit).count();
        let number = fault[..digits].parse::<usize>().unwrap_or_default();
        let line = number.checked_sub(1).and_then(|at| text.split('\n').nth(at));
        assert!(line.is_some(), "no such line in the text: {told}");
        let line = line.unwrap_or_default().trim_end_matches('\r');
        let shown = fault.split('\n').nth(2).and_then(|it| it.split_once(" | ")).map(|it| it.1);
        let hidden = fault[digits..].starts_with(" (not shown");
        assert!(hidden || shown.unwrap_or_default() == line, "another line is shown: {told}");
        let column = fault[digits..].strip_prefix(", column ").unwrap_or("1");
        let digits = column.bytes().take_while(u8::is_ascii_digit).count();
        let column = column[..digits].parse::<usize>().unwrap_or_default();
        assert!((1..=line.chars().count() + 1).contains(&column), "no such column: {told}");
    }
}

/// What was understood can be said again, key by key, and is the same then.
fn check_settings(loaded: &Loaded) {
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
    assert!(!told.contains(SECRET), "a secret is told");
}
