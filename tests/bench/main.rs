//! What Clearspan costs, measured against a bare pass-through: `cargo bench`. This one executable
//! plays all parts but the proxy itself and nginx, each in a process of its own. Method and result
//! stand in `README.md`. Knows no internals of Clearspan but `forward::wire`, which both share.

/// The bare pass-through.
mod passthrough;
/// The model's stand-in.
mod upstream;
/// The load.
mod client;
/// The OTLP receiver.
mod sink;
/// What is sent.
mod traffic;
/// Starting and stopping processes.
mod stage;
/// One slice of load through one proxy, and what it cost.
mod slice;
/// What the kernel says a process used.
mod measure;
/// CPU and latency: slices in rounds.
mod rounds;
/// Memory: streams held open.
mod memory;
/// What is printed.
mod table;

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Whatever stops the benchmark.
type Failure = Box<dyn Error + Send + Sync>;

/// cargo bench -- [--quick] [--only PART] [--null] [--against EXECUTABLE]
#[derive(Parser)]
struct Arguments {
    /// Fewer and shorter slices: under 90 seconds, and only good for a first look.
    #[arg(long)]
    quick: bool,
    /// Only this part.
    #[arg(long)]
    only: Option<Part>,
    /// A second pass-through in Clearspan's stead: how far from 1 two equals are.
    #[arg(long)]
    null: bool,
    /// Another build of Clearspan in nginx's stead; the comparison is then with that one.
    #[arg(long, value_name = "EXECUTABLE")]
    against: Option<PathBuf>,
    /// Passed by `cargo bench`; without it nothing is run.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// A part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Unary requests: CPU, and how many a second.
    Cpu,
    /// Unary requests: time added.
    Latency,
    /// Streams: CPU and time added for each chunk.
    Stream,
    /// Memory for each open stream.
    Memory,
}

/// What a process that the benchmark starts is to be.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Upstream,
    #[command(hide = true)]
    Sink,
    #[command(hide = true)]
    Passthrough { upstream: SocketAddr },
    #[command(hide = true)]
    Client { to: SocketAddr, load: String },
}

fn main() -> Result<(), Failure> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Upstream) => upstream::run(),
        Some(Role::Sink) => sink::run(),
        Some(Role::Passthrough { upstream }) => passthrough::run(upstream),
        Some(Role::Client { to, load }) => client::run(to, serde_json::from_str(&load)?),
        None if arguments.bench => conduct(&arguments),
        None => say("nothing measured: run it with `cargo bench`"),
    }
}

/// Runs the parts asked for and prints the table. Fails where requests failed or spans are missing:
/// then the numbers mean nothing. A missed aim is a result, not a failure.
fn conduct(arguments: &Arguments) -> Result<(), Failure> {
    let wants = |part| arguments.only.is_none_or(|only| only == part);
    let mut stage = stage::Stage::set(arguments.null, arguments.against.clone())?;
    let before = measure::Machine::read(&stage.running()?)?;
    let mut rows = rounds::run(&mut stage, arguments.quick, wants)?;
    if wants(Part::Memory) {
        rows.extend(memory::run(&mut stage, arguments.quick)?);
    }
    stage.notes.push(measure::Machine::read(&stage.running()?)?.others_since(&before));
    table::print(&rows, &stage)?;
    stage.verdict()
}

/// Tells whoever started this process where it listens.
fn announce(address: SocketAddr) -> Result<(), Failure> {
    Ok(writeln!(std::io::stderr(), "listening on {address}")?)
}

/// One line on standard output.
fn say(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}
