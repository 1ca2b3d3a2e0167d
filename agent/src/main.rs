//! The command `closeby`: flags in, exit code out.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use closeby::ask::{self, Answer, Question, protocol};
use closeby::cli::{Ask, Cli, Command, InputArgs, Output, Run, completions};
use closeby::client::{self, terminal};
use closeby::compile::Topology;
use closeby::config::{ConfigError, LogFormat, LogLevel, Logging, Settings, Sources};
use closeby::daemon::{DaemonError, Options, SocketPlace, Source, daemon, init, shadow};
use closeby::handover::{self, HandoverError};
use closeby::host::processors;
use closeby::model::NodeName;
use closeby::offline::View;
use closeby::watch::api::{Access, AccessError, listing::Guard};
use tracing_subscriber::EnvFilter;

/// Exit codes, as the help says.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNABLE: u8 = 3;

/// What is logged of others unless `RUST_LOG` says otherwise. What the API client
/// has to say is said by those who use it, once.
const LOG_OF_OTHERS: &str = "info,kube_client=off";
/// Whose log has the level that was asked for.
const OURS: [&str; 3] = ["closeby", "closeby_nft", "closeby_conntrack"];

#[expect(clippy::print_stderr, reason = "an error before or after the log")]
fn main() -> ExitCode {
    let cli = Cli::of(std::env::args_os());
    let outcome = match cli.command {
        None if cli.version == Some(true) => {
            print(concat!("closeby ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        None => run(&cli.run),
        Some(command) => answer(&command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("closeby: {}", in_words(&error));
            ExitCode::from(code(&error))
        }
    }
}

/// Answers what a command asks.
fn answer(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Render { input } => return print(&view(input, &tell)?.text()),
        Command::Completions { shell } => return print(&completions(*shell)),
        Command::Top { ask, interval }
            if ask.output == Output::Text && std::io::stdout().is_terminal() =>
        {
            // Notes would be written over what is shown.
            let again = || match answered(&Question::Top, ask, &|_| {})? {
                Answer::Top(top) => Ok(top),
                _ => Err(anyhow!("the answer is to another question")),
            };
            return terminal::watch(Duration::from_secs(*interval), again);
        }
        Command::Explain { .. } | Command::Services { .. } | Command::Top { .. } => {}
    }
    let Some((question, ask)) = command.question() else { return Ok(()) };
    let answer = answered(&question, ask, &tell)?;
    print(&match ask.output {
        Output::Text => answer.show(columns()),
        Output::Json => serde_json::to_string_pretty(&answer)? + "\n",
        Output::Yaml => serde_saphyr::to_string(&answer)?,
    })
}

/// What a folder of manifests says, or else the running agent.
fn answered(question: &Question, ask: &Ask, tell: &dyn Fn(&str)) -> anyhow::Result<Answer> {
    if ask.input.manifests.is_some() {
        return Ok(ask::answer(question, &view(&ask.input, tell)?.knowledge())?);
    }
    if ask.input.has_settings() {
        return Err(Usage(
            "a running agent has its own settings: these flags take --manifests DIR",
        )
        .into());
    }
    let socket = ask.socket.as_deref().unwrap_or_else(|| Path::new(protocol::SOCKET));
    Ok(client::ask(socket, question)?)
}

/// Remarks go where they are not in the way of the answer.
#[expect(clippy::print_stderr, reason = "standard output is for the answer")]
fn tell(note: &str) {
    eprintln!("note: {note}");
}

/// How wide the terminal is, if the answer goes to one.
fn columns() -> Option<usize> {
    let is_terminal = std::io::stdout().is_terminal();
    let (columns, _) = is_terminal.then(crossterm::terminal::size)?.ok()?;
    Some(usize::from(columns))
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
    let mut sources = sources(&args.input);
    if args.shadow {
        // Who compares with kube-proxy does as kube-proxy does.
        sources.topology = Topology::Hints;
    }
    let settings = sources.load()?;
    start_log(settings.logging);
    for remark in &settings.remarks {
        tracing::warn!("{remark}");
    }
    if let Some(path) = &args.write_config_to {
        return write_config(path, &settings);
    }
    if args.cleanup == Some(true) {
        for table in handover::cleanup(&args.input.proxy())? {
            tracing::info!("deleted the table {table}");
        }
        return Ok(());
    }
    if args.init_only == Some(true) {
        return Ok(init(&settings)?);
    }
    let options = Options {
        source: source(args, &settings)?,
        node: node_name(&settings)?,
        admission: args.input.admission(&settings),
        settings,
        sources,
        socket: socket(args),
        once: args.once,
        service_metrics: args.service_metrics,
    };
    Ok(if args.shadow { shadow(options, args.shadow_metrics) } else { daemon(options) }?)
}

/// Where the agent listens for questions: where it is told to, which must be had, or where it can.
fn socket(args: &Run) -> Option<SocketPlace> {
    match &args.socket {
        None => Some(SocketPlace { path: protocol::SOCKET.into(), must: false }),
        Some(path) if path.is_empty() => None,
        Some(path) => Some(SocketPlace { path: path.into(), must: true }),
    }
}

fn write_config(path: &Path, settings: &Settings) -> anyhow::Result<()> {
    let text = settings.to_yaml()?;
    std::fs::write(path, text)
        .with_context(|| format!("cannot write the configuration to {}", path.display()))?;
    tracing::info!("wrote the configuration to {}", path.display());
    Ok(())
}

/// Where the agent's objects come from: what is set goes before what a pod is
/// given.
fn source(args: &Run, settings: &Settings) -> Result<Source, AccessError> {
    let kubeconfig = settings.kubeconfig.as_deref();
    if let Some(path) = &args.input.manifests {
        if kubeconfig.is_some() {
            tracing::warn!("the kubeconfig is not used, for there is --manifests");
        }
        return Ok(Source::Manifests(path.clone()));
    }
    let master = args.master.as_deref().filter(|master| !master.is_empty());
    let access = Access::choose(kubeconfig, master, Access::is_in_pod())?;
    let guard = (!args.no_deletion_guard).then_some(Guard::DEFAULT);
    let startup_taint = args.remove_startup_taint.clone();
    let by_locality = settings.topology == Topology::Closest;
    Ok(Source::Api { access, guard, startup_taint, by_locality })
}

/// What a node would do, with remarks.
fn view(input: &InputArgs, tell: &dyn Fn(&str)) -> anyhow::Result<View> {
    let settings = sources(input).load()?;
    let node = node_name(&settings)?;
    let view = View::of(manifests(input)?, &node, &input.admission(&settings), &settings)?;
    for remark in &settings.remarks {
        tell(remark);
    }
    for note in &view.notes {
        tell(&note.to_string());
    }
    Ok(view)
}

fn manifests(input: &InputArgs) -> Result<&Path, Usage> {
    input.manifests.as_deref().ok_or(Usage("--manifests DIR is required: a folder of objects"))
}

fn sources(input: &InputArgs) -> Sources {
    Sources {
        file: input.config.clone(),
        flags: input.settings.0.clone(),
        drop_martian_loopback: input.guards.drop_martian_loopback,
        topology: input.topology.into(),
        counters_max: counters_max(input),
    }
}

/// For how many elements there may be counters of connections. A kernel that does not say how many
/// processors it counts for is taken to have many.
fn counters_max(input: &InputArgs) -> u32 {
    const MANY: u32 = 1024;
    input.counting.count_connections.counters_max(processors::possible().unwrap_or(MANY))
}

/// This node's name: what is set, then the host's name, trimmed and in lower
/// case as kube-proxy takes it.
fn node_name(settings: &Settings) -> anyhow::Result<NodeName> {
    if let Some(name) = &settings.hostname_override {
        return Ok(name.clone());
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

/// Logs to standard error; `RUST_LOG` chooses what before the settings do.
fn start_log(Logging { format, level }: Logging) {
    let level = match level {
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let asked = OURS.map(|ours| format!("{ours}={level}")).join(",");
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{LOG_OF_OTHERS},{asked}")));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_target(false).with_ansi(wants_colour()).init(),
        LogFormat::Json => log.json().init(),
    }
}
