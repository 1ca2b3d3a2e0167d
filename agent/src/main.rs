//! The command `closeby`: flags in, exit code out.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Parser;
use closeby::cli::{Cli, Command, InputArgs, LogFormat, Output, Run};
use closeby::config::{ConfigError, Settings};
use closeby::daemon::{DaemonError, Options, Source, daemon, init, shadow};
use closeby::explain::{Question, explain};
use closeby::handover::{self, HandoverError};
use closeby::model::NodeName;
use closeby::offline::View;
use closeby::watch::api::{Access, AccessError, listing::Guard};
use tracing_subscriber::EnvFilter;

/// Exit codes, as the help says.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNABLE: u8 = 3;

/// What is logged unless `RUST_LOG` says otherwise. What the API client has to
/// say is said by those who use it, once.
const LOG_DEFAULT: &str = "info,kube_client=off";

#[expect(clippy::print_stderr, reason = "an error before or after the log")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => run(&cli.run),
        Some(Command::Render { input }) => view(&input).and_then(|view| print(&view.text())),
        Some(Command::Explain { input, from, to, interface, output }) => {
            view(&input).and_then(|view| {
                let interface = interface.as_deref().map(Into::into);
                let answer = explain(&Question { from, to, interface }, &view.knowledge());
                match output {
                    Output::Text => print(&answer.to_string()),
                    Output::Json => print(&(serde_json::to_string_pretty(&answer)? + "\n")),
                }
            })
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("closeby: {}", in_words(&error));
            ExitCode::from(code(&error))
        }
    }
}

/// An error with its causes, each said once: some errors tell theirs themselves.
fn in_words(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

/// The exit code for an error.
fn code(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>() || error.is::<AccessError>() || error.is::<Usage>() {
        return USAGE;
    }
    match error.downcast_ref() {
        Some(DaemonError::Access(_)) => USAGE,
        Some(DaemonError::Unable(_) | DaemonError::Lock(_)) => UNABLE,
        Some(DaemonError::Handover(error)) if error.is_unable() => UNABLE,
        _ if error.downcast_ref().is_some_and(HandoverError::is_unable) => UNABLE,
        _ => FAILED,
    }
}

/// A flag that is missing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(&'static str);

fn run(args: &Run) -> anyhow::Result<()> {
    start_log(args.log_format);
    if args.cleanup {
        for table in handover::cleanup()? {
            tracing::info!("deleted the table {table}");
        }
        return Ok(());
    }
    let settings = settings(&args.input)?;
    for line in &settings.ignored {
        tracing::warn!("{line}");
    }
    if args.init_only {
        return Ok(init(&settings)?);
    }
    let options = Options {
        source: source(args, &settings)?,
        node: node_name(&args.input, &settings)?,
        settings,
        once: args.once,
    };
    Ok(if args.shadow { shadow(options, args.shadow_metrics) } else { daemon(options) }?)
}

/// Where the agent's objects come from: a flag goes before the configuration,
/// and that before what a pod is given.
fn source(args: &Run, settings: &Settings) -> Result<Source, AccessError> {
    let configured = settings.kubeconfig.as_deref();
    if let Some(path) = &args.input.manifests {
        if configured.is_some() {
            tracing::warn!("clientConnection.kubeconfig is not used, for there is --manifests");
        }
        return Ok(Source::Manifests(path.clone()));
    }
    let kubeconfig = args.kubeconfig.as_deref().or(configured);
    let access = Access::choose(kubeconfig, args.master.as_deref(), Access::is_in_pod())?;
    let guard = (!args.no_deletion_guard).then_some(Guard::DEFAULT);
    Ok(Source::Api { access, guard })
}

/// What a node would do, with remarks on standard error.
#[expect(clippy::print_stderr, reason = "standard output is for the answer")]
fn view(input: &InputArgs) -> anyhow::Result<View> {
    let settings = settings(input)?;
    let node = node_name(input, &settings)?;
    let view = View::of(manifests(input)?, &node, &settings)?;
    for note in &view.notes {
        eprintln!("note: {note}");
    }
    Ok(view)
}

fn manifests(input: &InputArgs) -> Result<&Path, Usage> {
    input.manifests.as_deref().ok_or(Usage("--manifests DIR is required: a folder of objects"))
}

fn settings(input: &InputArgs) -> Result<Settings, ConfigError> {
    input.config.as_deref().map_or_else(|| Ok(Settings::default()), closeby::config::load)
}

/// This node's name: the flag, then the file, then the host's name, trimmed and
/// in lower case as kube-proxy takes it.
fn node_name(input: &InputArgs, settings: &Settings) -> anyhow::Result<NodeName> {
    let flag = input.hostname_override.as_deref().map(|name| name.trim().to_lowercase());
    let flag = flag.filter(|name| !name.is_empty()).map(|name| NodeName::from(name.as_str()));
    if let Some(name) = flag.or_else(|| settings.hostname_override.clone()) {
        return Ok(name);
    }
    let name = nix::unistd::gethostname().context("cannot read the host name")?;
    let name = name.to_string_lossy().trim().to_lowercase();
    if name.is_empty() {
        return Err(anyhow!(
            "the host has no name; say which node this is with --hostname-override"
        ));
    }
    Ok(NodeName::from(name.as_str()))
}

/// Writes an answer; a reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Colour is for terminals, and for those who want it (<https://no-color.org>).
fn wants_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}

/// Logs to standard error; `RUST_LOG` chooses what.
fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_target(false).with_ansi(wants_colour()).init(),
        LogFormat::Json => log.json().init(),
    }
}
