//! Starts and stops the processes, and keeps account of the requests that Clearspan has to report.
//! Knows no load and no measure.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use std::{fs, thread};

use clearspan::forward::wire;
use tempfile::TempDir;

use crate::{Failure, measure, sink};

/// Who stands between client and upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nobody.
    Direct,
    Passthrough,
    Clearspan,
    /// nginx, or another build of Clearspan.
    Beside,
}

/// The proxies, in the order of the table's columns.
pub(crate) const PROXIES: [Target; 3] = [Target::Passthrough, Target::Clearspan, Target::Beside];

const NGINX: &str = "/usr/sbin/nginx";
/// Long enough for the slowest start, and for the last span to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process of ours; ended when dropped.
pub(crate) struct Process {
    child: Child,
    /// Ends it in good order; without one it is killed.
    stop: Option<Command>,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts a process that says `listening on ADDRESS` on standard error.
    fn announced(command: &mut Command) -> Result<Self, Failure> {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let (tell, told) = sync_channel(1);
        thread::spawn(move || {
            let mut said = String::new();
            // Read to the end, so that the process never waits for a full pipe.
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(address) = announced_address(&line) {
                    drop(tell.try_send(Ok(address)));
                } else if line.contains("lost") {
                    // Spans that it gave up, for one: whoever reads the table has to know.
                    drop(writeln!(std::io::stderr(), "{line}"));
                } else if said.len() < 2000 {
                    said = said + &line + "\n";
                }
            }
            drop(tell.try_send(Err(said)));
        });
        match told.recv_timeout(PATIENCE) {
            Ok(Ok(address)) => Ok(Self { child, stop: None, address }),
            Ok(Err(said)) => Err(format!("{command:?} ended: {said}").into()),
            Err(_) => Err(format!("{command:?} is not ready").into()),
        }
    }

    /// Starts a process that is ready when `address` takes connections, and is ended by `stop`.
    fn listening(
        command: &mut Command,
        stop: Command,
        address: SocketAddr,
    ) -> Result<Self, Failure> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let process = Self { child, stop: Some(stop), address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if start.elapsed() > PATIENCE {
                return Err(format!("{command:?} is not ready").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(process)
    }

    /// The process and its workers.
    pub(crate) fn pids(&self) -> Result<Vec<u32>, Failure> {
        measure::family(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let asked = self.stop.as_mut().map(Command::status);
        if !matches!(asked, Some(Ok(status)) if status.success()) {
            // It may have ended by itself.
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}

fn announced_address(line: &str) -> Option<SocketAddr> {
    line.split_once("listening on ")?.1.split_whitespace().next()?.parse().ok()
}

/// What all slices share: the upstream, the sink, and where files go.
pub(crate) struct Stage {
    directory: TempDir,
    upstream: Process,
    sink: Process,
    null: bool,
    /// Another build of Clearspan, in nginx's stead.
    pub(crate) against: Option<PathBuf>,
    started: usize,
    sent: u64,
    /// Spans for which patience ended.
    missing: u64,
    failed: u64,
    /// What a reader of the table must know.
    pub(crate) notes: Vec<String>,
}

impl Stage {
    /// With `null`, Clearspan's place is taken by a second pass-through.
    pub(crate) fn set(null: bool, against: Option<PathBuf>) -> Result<Self, Failure> {
        let me = std::env::current_exe()?;
        Ok(Self {
            directory: TempDir::new()?,
            upstream: Process::announced(Command::new(&me).arg("upstream"))?,
            sink: Process::announced(Command::new(&me).arg("sink"))?,
            null,
            against,
            started: 0,
            sent: 0,
            missing: 0,
            failed: 0,
            notes: Vec::new(),
        })
    }

    /// Where a client that wants no proxy goes.
    pub(crate) fn upstream(&self) -> SocketAddr {
        self.upstream.address
    }

    /// The processes that live as long as the stage.
    pub(crate) fn running(&self) -> Result<Vec<u32>, Failure> {
        Ok([self.upstream.pids()?, self.sink.pids()?].concat())
    }

    /// Starts a proxy; `None` for one that this machine does not have.
    pub(crate) fn start(&mut self, target: Target) -> Result<Option<Process>, Failure> {
        self.started += 1;
        match target {
            Target::Direct => Ok(None),
            Target::Clearspan if !self.null => {
                self.clearspan(Path::new(env!("CARGO_BIN_EXE_clearspan"))).map(Some)
            }
            Target::Passthrough | Target::Clearspan => self.passthrough().map(Some),
            Target::Beside => match &self.against {
                Some(executable) => self.clearspan(executable).map(Some),
                None if Path::new(NGINX).exists() => self.nginx().map(Some),
                None => Ok(None),
            },
        }
    }

    fn passthrough(&self) -> Result<Process, Failure> {
        let executable = self.copy(&std::env::current_exe()?)?;
        let upstream = self.upstream.address.to_string();
        Process::announced(Command::new(executable).args(["passthrough", &upstream]))
    }

    fn clearspan(&self, executable: &Path) -> Result<Process, Failure> {
        let executable = self.copy(executable)?;
        let config = self.file("proxy.toml");
        let (upstream, sink) = (self.upstream.address, self.sink.address);
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\n\
             [[upstream]]\nname = \"openai\"\nprovider = \"openai\"\nurl = \"http://{upstream}\"\n\
             paths = [\"/v1/\"]\n\n\
             [[upstream]]\nname = \"observed\"\nprovider = \"openai\"\nurl = \"http://{upstream}\"\n\
             stream_usage = \"observe\"\n\n\
             [[upstream]]\nname = \"http2\"\nprovider = \"openai\"\nurl = \"http://{upstream}\"\n\
             stream_usage = \"observe\"\nhttp = \"2\"\n\n\
             [telemetry]\nlines = \"json\"\n\n\
             [[telemetry.export]]\nendpoint = \"http://{sink}\"\n"
        );
        fs::write(&config, text)?;
        Process::announced(Command::new(executable).arg("--config").arg(config))
    }

    fn nginx(&self) -> Result<Process, Failure> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let directory = self.file("nginx");
        fs::create_dir(&directory)?;
        let config = directory.join("nginx.conf");
        fs::write(&config, self.nginx_config(address, &directory)?)?;
        let command = || {
            let mut command = Command::new(NGINX);
            command.stderr(Stdio::null());
            command.arg("-p").arg(&directory).arg("-c").arg(&config).args(["-e", "stderr"]);
            command
        };
        // Killed, it would leave its workers behind.
        let mut stop = command();
        stop.args(["-s", "stop"]);
        Process::listening(&mut command(), stop, address)
    }

    /// As many workers as the pass-through, kept-alive upstream connections, nothing held back.
    fn nginx_config(&self, address: SocketAddr, directory: &Path) -> Result<String, Failure> {
        let workers = wire::runtime()?.metrics().num_workers();
        let upstream = self.upstream.address;
        let directory = directory.display();
        Ok(format!(
            "daemon off; master_process on; worker_processes {workers};\n\
             pid {directory}/pid; error_log stderr crit; worker_rlimit_nofile 20000;\n\
             events {{ worker_connections 16384; }}\n\
             http {{\n\
             access_log off; tcp_nodelay on; keepalive_requests 1000000000;\n\
             client_max_body_size 0; client_body_temp_path {directory}/body;\n\
             proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;\n\
             uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;\n\
             upstream model {{ server {upstream}; keepalive 1024; keepalive_requests 1000000000; }}\n\
             server {{ listen {address} backlog=4096;\n\
             location / {{ proxy_pass http://model; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_buffering off; proxy_request_buffering off;\n\
             proxy_read_timeout 1h; }} }}\n}}\n"
        ))
    }

    /// A copy of an executable for one process alone: pages that it shares with another would be
    /// charged to both by half.
    fn copy(&self, executable: &Path) -> Result<PathBuf, Failure> {
        let name = executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let copy = self.file(&name);
        fs::copy(executable, &copy)?;
        Ok(copy)
    }

    /// A path that no other start uses.
    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{}-{name}", self.started))
    }

    /// Whether this proxy tells the sink of each request.
    pub(crate) fn reports(&self, target: Target) -> bool {
        match target {
            Target::Direct | Target::Passthrough => false,
            Target::Clearspan => !self.null,
            Target::Beside => self.against.is_some(),
        }
    }

    /// Enters requests that were sent; where through Clearspan, it has to report each.
    pub(crate) fn enter(&mut self, target: Target, sent: u64, failed: u64) {
        self.failed += failed;
        if self.reports(target) {
            self.sent += sent;
        }
    }

    /// Waits until each request that went through Clearspan has its span at the sink, and none more
    /// comes; or until patience ends, which is noted, and [`Stage::verdict`] will tell. What is missing
    /// then is not waited for again.
    pub(crate) fn wait_for_spans(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        let mut last = sink::ask(self.sink.address)?;
        while start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
            let counts = sink::ask(self.sink.address)?;
            if counts.server_spans + self.missing >= self.sent && counts == last {
                return Ok(());
            }
            last = counts;
        }
        self.missing = self.sent.saturating_sub(last.server_spans);
        self.notes.push(format!("{} of {} spans are missing by now", self.missing, self.sent));
        Ok(())
    }

    /// Spans received and requests sent, in words.
    pub(crate) fn account(&self) -> Result<String, Failure> {
        let counts = sink::ask(self.sink.address)?;
        Ok(format!(
            "requests through clearspan: {}; SERVER spans at the sink: {} ({} spans in {} exports of \
             {} bytes; {} refused); requests failed: {}",
            self.sent,
            counts.server_spans,
            counts.spans,
            counts.exports,
            counts.bytes,
            counts.refused,
            self.failed
        ))
    }

    /// An error where the numbers cannot be trusted.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let counts = sink::ask(self.sink.address)?;
        if self.failed == 0 && counts.server_spans == self.sent && counts.refused == 0 {
            return Ok(());
        }
        Err(format!("not valid: {}", self.account()?).into())
    }
}
