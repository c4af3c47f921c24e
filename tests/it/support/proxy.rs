//! The binary as a child process: started with a configuration of the test's, in an environment of
//! its own, on ports that the system chose. Knows what it prints at its start, nothing more.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::client::{self, Response};

/// What a program prints, line by line, as it comes.
#[derive(Debug, Default)]
struct Printed {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Printed {
    fn read(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let printed = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                printed.lines.lock().unwrap().push(line);
                printed.changed.notify_all();
            }
        });
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn wait_for<T>(&self, time: Duration, found: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + time;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(it) = found(&lines) {
                return Some(it);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            lines =
                self.changed.wait_timeout(lines, left.min(Duration::from_millis(200))).unwrap().0;
        }
    }
}

/// How to start the program.
#[derive(Debug)]
pub(crate) struct Start {
    config: String,
    env: Vec<(String, String)>,
    reads_stdout: bool,
    open_files: Option<u32>,
    given: Option<[OwnedFd; 2]>,
}

/// Gives the process what stands at 0 and 1 as systemd gives sockets.
const GIVE: &str =
    "export LISTEN_FDS=2 LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 4<&1 </dev/null >/dev/null";

impl Start {
    /// With this text as its `proxy.toml`. `[server]` is added unless it is there.
    pub(crate) fn new(config: impl Into<String>) -> Self {
        let mut config = config.into();
        if !config.contains("[server]") {
            let server = "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
            config.insert_str(0, server);
        }
        Self { config, env: Vec::new(), reads_stdout: true, open_files: None, given: None }
    }

    /// With a variable; the rest of the environment is empty.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Sends telemetry as soon as there is some, so that a test need not wait for a batch to fill.
    pub(crate) fn reports_at_once(self) -> Self {
        self.env("OTEL_BSP_SCHEDULE_DELAY", "20").env("OTEL_BLRP_SCHEDULE_DELAY", "20")
    }

    /// With a standard output that nobody ever reads.
    pub(crate) fn stdout_unread(mut self) -> Self {
        self.reads_stdout = false;
        self
    }

    /// May have so many files and sockets open at once.
    pub(crate) fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// With sockets of systemd's, and their names.
    pub(crate) fn given(mut self, sockets: [OwnedFd; 2], names: Option<&str>) -> Self {
        self.env.extend(names.map(|names| ("LISTEN_FDNAMES".to_owned(), names.to_owned())));
        self.given = Some(sockets);
        self.stdout_unread()
    }

    fn spawn(&self) -> (Child, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, &self.config).unwrap();
        let binary = env!("CARGO_BIN_EXE_clearspan");
        // A shell becomes the program: what it changes before is not this process' own.
        let through = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script, binary]);
            command
        };
        let (mut command, stdin, stdout) = match (&self.given, self.open_files) {
            (None, None) => (Command::new(binary), Stdio::null(), Stdio::piped()),
            (None, Some(limit)) => {
                let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
                (through(&script), Stdio::null(), Stdio::piped())
            }
            (Some(sockets), _) => {
                let [first, second] = sockets.each_ref().map(|it| it.try_clone().unwrap().into());
                (through(GIVE), first, second)
            }
        };
        let child = command
            .arg("--config")
            .arg(&file)
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", folder.path())
            .envs(self.env.iter().cloned())
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        (child, folder)
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(self) -> Proxy {
        let (mut child, folder) = self.spawn();
        let (stdout, stderr) = (Arc::new(Printed::default()), Arc::new(Printed::default()));
        stderr.read(child.stderr.take().unwrap());
        let mut unread = None;
        if self.reads_stdout {
            stdout.read(child.stdout.take().unwrap());
        } else {
            unread = child.stdout.take();
        }
        let expected = self.config.lines().filter(|line| line.starts_with("listen")).count();
        let listeners = stderr.wait_for(PATIENCE, |lines| {
            let listeners = Listeners::read(lines);
            (listeners.count() == expected).then_some(listeners).filter(|it| it.admin.is_some())
        });
        let Some(listeners) = listeners else {
            child.kill().unwrap();
            let printed = stderr.lines().join("\n");
            panic!("it does not listen; with\n{}\nit printed\n{printed}", self.config);
        };
        Proxy {
            child,
            address: listeners.shared.unwrap(),
            admin: listeners.admin.unwrap(),
            own: listeners.own,
            stdout,
            stderr,
            _unread: unread,
            folder,
        }
    }

    /// Starts it where it cannot run: its exit status and what it printed to standard error.
    pub(crate) fn fail(self) -> (ExitStatus, String) {
        let (mut child, _folder) = self.spawn();
        let mut stderr = child.stderr.take().unwrap();
        let status = wait(&mut child, PATIENCE);
        if status.is_none() {
            child.kill().unwrap();
        }
        let mut printed = String::new();
        stderr.read_to_string(&mut printed).unwrap();
        (status.unwrap_or_else(|| panic!("it runs on: {printed}")), printed)
    }
}

#[derive(Debug, Default)]
struct Listeners {
    shared: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    own: BTreeMap<String, SocketAddr>,
}

impl Listeners {
    fn read(lines: &[String]) -> Self {
        let mut listeners = Self::default();
        for line in lines {
            if let Some(address) = line.strip_prefix("clearspan: admin on ") {
                listeners.admin = Some(tcp(address));
            } else if let Some(rest) = line.strip_prefix("clearspan: listening on ") {
                match rest.split_once(" for upstream ") {
                    None => listeners.shared = Some(tcp(rest)),
                    Some((address, name)) => {
                        listeners.own.insert(name.to_owned(), tcp(address));
                    }
                }
            }
        }
        listeners
    }

    fn count(&self) -> usize {
        usize::from(self.shared.is_some()) + self.own.len()
    }
}

/// A listener's address; a socket in the file system has none.
fn tcp(said: &str) -> SocketAddr {
    match said.trim_end_matches(" (https)") {
        path if path.starts_with("unix:") => (Ipv4Addr::UNSPECIFIED, 0).into(),
        address => address.parse().unwrap(),
    }
}

/// A running proxy. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    /// The shared listener.
    pub(crate) address: SocketAddr,
    /// The admin listener.
    pub(crate) admin: SocketAddr,
    own: BTreeMap<String, SocketAddr>,
    stdout: Arc<Printed>,
    stderr: Arc<Printed>,
    _unread: Option<std::process::ChildStdout>,
    folder: tempfile::TempDir,
}

impl Proxy {
    /// One upstream named `openai` at `url`, which everything under `/v1/` goes to.
    pub(crate) fn before(url: &str) -> Self {
        Start::new(upstream("openai", url, "paths = [\"/v1/\"]")).start()
    }

    /// The listener of one upstream.
    pub(crate) fn own(&self, upstream: &str) -> SocketAddr {
        self.own[upstream]
    }

    /// Lines printed to standard output so far.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.lines()
    }

    /// Lines printed to standard error so far.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// Waits for a line on standard output.
    pub(crate) fn wait_for_line(&self, found: impl Fn(&str) -> bool) -> String {
        let line =
            self.stdout.wait_for(PATIENCE, |lines| lines.iter().find(|line| found(line)).cloned());
        line.unwrap_or_else(|| panic!("the line never came; there were {:#?}", self.stdout()))
    }

    /// Waits until standard error holds these words.
    pub(crate) fn wait_until_said(&self, words: &str) {
        self.wait_for_said(0, |line| line.contains(words));
    }

    /// Waits for a line on standard error behind the first `seen`, and says how many there are then.
    pub(crate) fn wait_for_said(&self, seen: usize, found: impl Fn(&str) -> bool) -> usize {
        let behind = |lines: &[String]| {
            let at = lines.iter().skip(seen).position(|line| found(line))?;
            Some(seen + at + 1)
        };
        let count = self.stderr.wait_for(PATIENCE, behind);
        count.unwrap_or_else(|| panic!("it never said so; it said {:#?}", self.stderr()))
    }

    /// Where its `proxy.toml` is, and where it was started.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `/metrics` says: each series with its labels, and its value.
    pub(crate) fn metrics(&self) -> Metrics {
        let response = self.admin_get("/metrics");
        assert_eq!(response.head.status(), 200);
        Metrics(response.text())
    }

    /// Waits until `/metrics` says what is looked for.
    pub(crate) fn wait_for_metric(&self, what: &str, found: impl Fn(&Metrics) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = self.metrics();
            if found(&metrics) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} never came in\n{}", metrics.0);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// `GET` on the admin listener.
    pub(crate) fn admin_get(&self, path: &str) -> Response {
        client::exchange(self.admin, client::get(path))
    }

    /// The most memory that it ever had resident, in KiB. Linux says it in `/proc`.
    pub(crate) fn peak_memory_kib(&self) -> usize {
        self.proc_status("VmHWM:")
    }

    /// The memory that it has resident now, in KiB.
    pub(crate) fn memory_kib(&self) -> usize {
        self.proc_status("VmRSS:")
    }

    /// How many of its threads have this name.
    pub(crate) fn threads(&self, name: &str) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        names.filter(|it| it.as_ref().is_ok_and(|it| it.trim() == name)).count()
    }

    fn proc_status(&self, key: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).expect(key);
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Sends a signal: `TERM`, `INT`, `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").arg(format!("-{name}")).arg(id).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end of the process; nothing when it runs on after `time`.
    pub(crate) fn wait(&mut self, time: Duration) -> Option<ExitStatus> {
        wait(&mut self.child, time)
    }

    /// Ends it with SIGTERM, so that everything is flushed; it must end well.
    pub(crate) fn finish(mut self) {
        self.signal("TERM");
        let status = self.wait(PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0), "{:#?}", self.stderr());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("the proxy printed {:#?}", self.stderr());
        }
    }
}

fn wait(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// A page in the Prometheus text format.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The sum of all series of this name whose labels hold each of `labels` (`model="x"`).
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let series = self.0.lines().filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            (rest.starts_with('{') || rest.starts_with(' '))
                && labels.iter().all(|label| rest.contains(label))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// An `[[upstream]]` of the provider that its name says; `more` holds further keys. It is not asked
/// for usage unless these say so: most scenarios are about what passes unchanged.
pub(crate) fn upstream(name: &str, url: &str, more: &str) -> String {
    let unless = |key: &str, line: String| if more.contains(key) { String::new() } else { line };
    let provider = unless("provider", format!("provider = \"{name}\"\n"));
    let usage = unless("stream_usage", "stream_usage = \"observe\"\n".to_owned());
    format!("[[upstream]]\nname = \"{name}\"\nurl = \"{url}\"\n{provider}{usage}{more}\n")
}

/// A `[[telemetry.export]]` to this endpoint.
pub(crate) fn export(endpoint: &str) -> String {
    format!("[[telemetry.export]]\nendpoint = \"{endpoint}\"\n")
}
