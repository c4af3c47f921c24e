//! The proxy under test as a process, the receiver of its telemetry, and what both tell. Knows no
//! traffic.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Failure, measure, sink};

const PATIENCE: Duration = Duration::from_secs(20);

/// The proxy, and where its telemetry goes.
pub(crate) struct Subject {
    pub(crate) address: SocketAddr,
    proxy: Child,
    sink: Child,
    sink_address: SocketAddr,
    upstream: SocketAddr,
    directory: TempDir,
}

impl Subject {
    pub(crate) fn start(upstream: SocketAddr) -> Result<Self, Failure> {
        let directory = TempDir::new()?;
        let (sink, sink_address) =
            announced(Command::new(std::env::current_exe()?).arg("sink").stderr(Stdio::piped()))?;
        let config = directory.path().join("proxy.toml");
        fs::write(&config, settings(upstream, sink_address, 0))?;
        let (proxy, address) = announced(
            Command::new(Path::new(env!("CARGO_BIN_EXE_clearspan")))
                .arg("--config")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::piped()),
        )?;
        Ok(Self { address, proxy, sink, sink_address, upstream, directory })
    }

    /// Memory of the proxy alone, shared pages by their share.
    pub(crate) fn memory_kib(&self) -> Result<u64, Failure> {
        measure::pss_kib(&[self.proxy.id()])
    }

    /// Files and sockets that the proxy holds.
    pub(crate) fn descriptors(&self) -> Result<usize, Failure> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.proxy.id()))?.count())
    }

    /// SERVER spans that were received.
    pub(crate) fn spans(&self) -> Result<u64, Failure> {
        Ok(sink::ask(self.sink_address)?.server_spans)
    }

    /// Has the proxy take other settings while it runs: prices, limits and an upstream change.
    pub(crate) fn reload(&self, number: usize) -> Result<(), Failure> {
        let text = settings(self.upstream, self.sink_address, number % 2);
        fs::write(self.directory.path().join("proxy.toml"), text)?;
        Command::new("kill").args(["-HUP", &self.proxy.id().to_string()]).status()?;
        Ok(())
    }

    /// From now on, for so long, each export is answered with 503.
    pub(crate) fn refuse_telemetry(&self, time: Duration) -> Result<(), Failure> {
        let mut stream = TcpStream::connect(self.sink_address)?;
        let path = format!("{}{}", sink::OUTAGE, time.as_millis());
        let request = format!("GET {path} HTTP/1.1\r\nHost: sink\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        // The answer says that it holds.
        BufReader::new(stream).read_line(&mut String::new())?;
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        for child in [&mut self.proxy, &mut self.sink] {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn settings(upstream: SocketAddr, sink: SocketAddr, variant: usize) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         [[upstream]]\nname = \"openai\"\nurl = \"http://{upstream}\"\npaths = [\"/v1/\"]\n\
         [[upstream]]\nname = \"dead\"\nurl = \"http://127.0.0.1:1/{variant}\"\n\
         [[pricing.model]]\nmodel = \"none\"\ninput = {variant}\n\
         [limits]\nstall_seconds = {}\n\
         [telemetry]\nlines = \"json\"\n\
         [[telemetry.export]]\nendpoint = \"http://{sink}\"\n",
        10 + variant
    )
}

/// Starts a process that says `listening on ADDRESS` on standard error.
fn announced(command: &mut Command) -> Result<(Child, SocketAddr), Failure> {
    let mut child = command.stdin(Stdio::null()).spawn()?;
    let stderr = child.stderr.take().ok_or("no standard error")?;
    let (tell, told) = sync_channel(1);
    thread::spawn(move || {
        // Read to the end, so that the process never waits for a full pipe.
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let address = line.split_once("listening on ").map(|(_, rest)| rest);
            let address = address.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            if let Some(address) = address {
                if tell.try_send(address).is_err() {
                    break;
                }
            } else if !line.contains("admin on") {
                drop(crate::say(&format!("  said: {line}")));
            }
        }
    });
    let address = told.recv_timeout(PATIENCE).map_err(|_| format!("{command:?} is not ready"))?;
    Ok((child, address))
}
