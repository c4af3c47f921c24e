//! Arguments, exit codes, signals; the rest is the library's.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use clearspan::cli::{self, Arguments, Next};
use clearspan::config::{Environment, Loaded, Settings};
use clearspan::listeners::Addresses;
use clearspan::reload::Ask;

fn main() -> ExitCode {
    // `clap` answers --help and --version, and ends with 2 on wrong usage.
    let arguments = Arguments::parse();
    let environment = Environment::of_process();
    match cli::act(arguments, &environment, &mut io::stdout(), &mut io::stderr()) {
        Next::Exit(code) => code,
        Next::Run(loaded) => run(*loaded),
    }
}

fn run(loaded: Loaded) -> ExitCode {
    greet(&loaded.settings);
    log(io::stderr().is_terminal(), loaded.settings.log_level);
    let (ask, asked) = Ask::new();
    match clearspan::run(loaded, asked, announce, signals(ask)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("clearspan: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// What the program says of itself goes to standard error: text for a person, else JSON lines.
fn log(for_a_person: bool, level: LevelFilter) {
    let lines = tracing_subscriber::fmt().with_writer(io::stderr).with_target(false);
    let lines = lines.with_max_level(level);
    // Libraries warn of what any client may send, as often as it does.
    let of_others = level.min(LevelFilter::ERROR);
    let said = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level).with_default(of_others);
    if for_a_person {
        lines.with_ansi(false).finish().with(said).init();
    } else {
        lines.json().flatten_event(true).finish().with(said).init();
    }
}

/// A terminal gets the banner, a log the warnings alone.
fn greet(settings: &Settings) {
    tell(&if io::stderr().is_terminal() {
        cli::banner(settings) + "\n"
    } else {
        settings.warnings.iter().map(|warning| format!("clearspan: warning: {warning}\n")).collect()
    });
}

/// Says that requests are served, and where: with port 0 nobody knew before.
fn announce(addresses: &Addresses) {
    let mut text = format!("clearspan: listening on {}\n", addresses.shared);
    for (address, upstream) in &addresses.own {
        text += &format!("clearspan: listening on {address} for upstream {upstream}\n");
    }
    text += &format!("clearspan: admin on {}\n", addresses.admin);
    tell(&text);
}

/// Ready at SIGTERM or SIGINT; asks for a reload at each SIGHUP.
async fn signals(reload: Ask) {
    let [terminate, interrupt, hangup] =
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = (terminate, interrupt, hangup)
    else {
        // Without handlers a signal ends the process at once; until then it serves.
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            _ = hangup.recv() => reload.ask(),
        }
    }
}

/// Without a reader there is nobody to tell.
fn tell(text: &str) {
    drop(io::stderr().write_all(text.as_bytes()));
}
