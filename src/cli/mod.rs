//! What a person types: one file per subcommand. Knows arguments, standard output and exit codes; no
//! way of forwarding or reporting.

/// `clearspan check`.
mod check;
/// `clearspan healthcheck`.
mod healthcheck;
/// `clearspan prices`.
mod prices;
/// What a terminal is greeted with.
mod banner;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Environment, Loaded};
use crate::forward::settings::Endpoint;
use crate::observe::price::Prices;

pub use banner::banner;

/// Exit codes, as `--help` lists them. Usage errors end with 2; `clap` says so itself.
const FAILED: u8 = 1;
/// `EX_CONFIG` of `sysexits.h`.
const BAD_CONFIGURATION: u8 = 78;

const ABOUT: &str = "A transparent reverse proxy between any app and its LLM endpoints: bytes pass \
through unchanged, and every call is reported as OpenTelemetry";

const LONG_ABOUT: &str = "\
A transparent reverse proxy between any app and its LLM endpoints. Bytes pass through unchanged; from a
copy Clearspan learns what each call was, how it streamed, what it used and what it cost, and reports
that as OpenTelemetry traces, metrics and logs. Without a subcommand it runs until SIGTERM or Ctrl-C.

Point your apps at it and change nothing else:

  export OPENAI_BASE_URL=http://127.0.0.1:4319/v1
  export OLLAMA_HOST=http://127.0.0.1:4319

(also ANTHROPIC_BASE_URL=http://127.0.0.1:4319/anthropic, GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:4319/gemini)

Each call is a line on standard output and counts in http://127.0.0.1:4320/metrics. Traces, metrics and
logs go to the OTLP endpoint (HTTP or gRPC) that OTEL_EXPORTER_OTLP_ENDPOINT or proxy.toml names;
without one they go nowhere. Prompts, answers and keys are never reported.";

const AFTER_HELP: &str = "\
Settings:
  flags, then CLEARSPAN_<SECTION>_<KEY> variables, then proxy.toml, then defaults; OTEL_* variables as
  OpenTelemetry specifies them. `clearspan check` prints what holds and who said it.

Examples:
  clearspan
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 clearspan
  CLEARSPAN_SERVER_LISTEN=0.0.0.0:4319 clearspan --admin 0.0.0.0:4320
  clearspan --config /etc/clearspan/proxy.toml check

Exit codes:
  0  fine
  1  failed while running; unhealthy
  2  wrong usage
  78 bad configuration";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "clearspan",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP,
    arg_required_else_help = false
)]
pub struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Flags {
    /// The file of settings [default: $CLEARSPAN_CONFIG, else ./proxy.toml if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where apps send their requests: address and port, or unix:/path [default: 127.0.0.1:4319]
    #[arg(long, global = true, value_name = "ADDR")]
    listen: Option<Endpoint>,
    /// Where /healthz, /readyz and /metrics are [default: 127.0.0.1:4320]
    #[arg(long, global = true, value_name = "ADDR")]
    admin: Option<Endpoint>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Validate the settings and print those that hold, with who said each
    Check,
    /// Ask the running proxy whether it is healthy (for containers without a shell)
    Healthcheck(healthcheck::Asked),
    Prices(Box<prices::Args>),
}

/// What is to be done once the command line is understood.
#[derive(Debug)]
pub enum Next {
    /// The proxy runs with these settings.
    Run(Box<Loaded>),
    /// The program ends.
    Exit(ExitCode),
}

/// Does what was asked for, except running: that is left to the caller. Writes to `out` what was
/// asked for, and to `err` why not.
pub fn act(
    arguments: Arguments,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Next {
    let Flags { config, listen, admin } = arguments.flags;
    let loaded = config::load(&config::Flags { config, listen, admin }, environment);
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            tell(err, &format!("{error}\n"));
            let healthcheck = matches!(arguments.command, Some(Command::Healthcheck(_)));
            // A container's runtime knows 0 and 1 only.
            return exit(if healthcheck { FAILED } else { BAD_CONFIGURATION });
        }
    };
    match arguments.command {
        None => Next::Run(Box::new(loaded)),
        Some(Command::Check) => {
            tell(out, &check::report(&loaded));
            exit(0)
        }
        Some(Command::Prices(asked)) => {
            let known = Prices::with_overrides(loaded.settings.prices);
            // A reader that is gone is no failure.
            exit(if prices::run(&asked, &known, out).unwrap_or(true) { 0 } else { FAILED })
        }
        Some(Command::Healthcheck(asked)) => {
            match healthcheck::ask(&asked, &loaded.settings.admin) {
                Ok(()) => {
                    tell(out, "healthy\n");
                    exit(0)
                }
                Err(why) => {
                    tell(err, &format!("unhealthy: {why}\n"));
                    exit(FAILED)
                }
            }
        }
    }
}

fn exit(code: u8) -> Next {
    Next::Exit(ExitCode::from(code))
}

/// Writes and forgets: a reader that is gone (`clearspan check | head`) is no failure.
fn tell(to: &mut dyn Write, text: &str) {
    drop(to.write_all(text.as_bytes()).and_then(|()| to.flush()));
}

/// A listener on every address is reached on this machine's own.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn acted(line: &[&str], variables: &[(&str, &str)]) -> (Next, String, String) {
        let arguments = Arguments::try_parse_from(["clearspan"].iter().chain(line)).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let environment = Environment::of(variables.iter().copied());
        let next = act(arguments, &environment, &mut out, &mut err);
        (next, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn code(next: &Next) -> String {
        match next {
            Next::Exit(code) => format!("{code:?}"),
            Next::Run(_) => "runs".to_owned(),
        }
    }

    fn exit_code(code: u8) -> String {
        format!("{:?}", ExitCode::from(code))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_says_what_to_export_where_telemetry_goes_and_how_it_ends() {
        let help = Arguments::command().render_long_help().to_string();
        for part in [
            "OPENAI_BASE_URL=http://127.0.0.1:4319/v1",
            "OLLAMA_HOST=http://127.0.0.1:4319",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "Examples:",
            "78 bad configuration",
            "--config <FILE>",
            "--listen <ADDR>",
            "--admin <ADDR>",
            "healthcheck",
            "check",
        ] {
            assert!(help.contains(part), "{part}\n{help}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 110), "{help}");
    }

    #[test]
    fn without_a_subcommand_it_runs_with_what_was_typed() {
        let (next, out, err) = acted(&["--listen", "127.0.0.1:9", "--admin", "127.0.0.1:8"], &[]);
        let Next::Run(loaded) = next else { panic!("{err}") };
        let settings = loaded.settings;
        let listeners = [&settings.forward.listen.at, &settings.admin];
        assert_eq!(listeners.map(ToString::to_string), ["127.0.0.1:9", "127.0.0.1:8"]);
        assert_eq!((out, err), (String::new(), String::new()));
    }

    #[test]
    fn a_bad_configuration_ends_with_78_and_says_why() {
        let bad = [("CLEARSPAN_LIMITS_WORKERS", "x")];
        for line in [&[][..], &["check"]] {
            let (next, out, err) = acted(line, &bad);
            assert_eq!((code(&next), out.as_str()), (exit_code(78), ""));
            assert_eq!(
                err,
                "CLEARSPAN_LIMITS_WORKERS: this is the text \"x\": write a whole number from 0 to 255\n"
            );
        }
        let (next, _, err) = acted(&["--config", "/nonexistent/x.toml"], &[]);
        assert_eq!(code(&next), exit_code(78));
        assert_eq!(err, "/nonexistent/x.toml: No such file or directory (os error 2)\n");
        assert_eq!(code(&acted(&["healthcheck"], &bad).0), exit_code(1));
    }

    #[test]
    fn check_prints_and_ends_well() {
        let (next, out, err) = acted(&["check"], &[]);
        assert_eq!((code(&next), err.as_str()), (exit_code(0), ""));
        assert!(out.contains("listen = \"127.0.0.1:4319\""), "{out}");
    }

    #[test]
    fn a_proxy_that_is_not_there_is_unhealthy() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (next, out, err) = acted(&["healthcheck", "--admin", &closed.to_string()], &[]);
        assert_eq!((code(&next), out.as_str()), (exit_code(1), ""));
        assert!(err.starts_with(&format!("unhealthy: http://{closed}/healthz: ")), "{err}");
    }

    #[test]
    fn what_nobody_understands_is_wrong_usage() {
        for line in [&["--lisen", "x"][..], &["--listen", "4319"], &["serve"]] {
            let refused = Arguments::try_parse_from(["clearspan"].iter().chain(line)).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{line:?}");
        }
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_this_machine() {
        let asked = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(asked("[::]:1"), "[::1]:1");
        assert_eq!(asked("10.0.0.1:1"), "10.0.0.1:1");
    }
}
