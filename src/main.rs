//! Arguments and exit codes; the rest is the library's.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use clearspan::cli::{self, Arguments, Next};
use clearspan::config::{Environment, Settings};

fn main() -> ExitCode {
    // `clap` answers --help and --version, and ends with 2 on wrong usage.
    let arguments = Arguments::parse();
    let environment = Environment::of_process();
    match cli::act(arguments, &environment, &mut io::stdout(), &mut io::stderr()) {
        Next::Exit(code) => code,
        Next::Run(settings) => run(*settings),
    }
}

fn run(settings: Settings) -> ExitCode {
    greet(&settings);
    // SLOT for the lead: `clearspan::run(settings)`; its error is told on standard error and ends
    // with 1.
    drop(settings);
    ExitCode::SUCCESS
}

/// A terminal gets the banner, a log the warnings alone.
fn greet(settings: &Settings) {
    let mut err = io::stderr();
    let text = if err.is_terminal() {
        cli::banner(settings) + "\n"
    } else {
        settings.warnings.iter().map(|warning| format!("clearspan: warning: {warning}\n")).collect()
    };
    // Without a reader there is nobody to greet.
    drop(err.write_all(text.as_bytes()));
}
