//! One proxy on the node: how it is started, and what it has used of CPU and memory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use closeby_tools::lab::{ControlPlane, Host, POD_RANGES, User};
use nix::unistd::{SysconfVar, sysconf};

/// Who programs the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Proxy {
    KubeProxy,
    Closeby,
}

impl Proxy {
    pub(super) const ALL: [Self; 2] = [Self::KubeProxy, Self::Closeby];

    /// Its name in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::KubeProxy => "kube-proxy",
            Self::Closeby => "closeby",
        }
    }
}

/// How long a proxy may wait for more changes before it writes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// As it does by itself.
    Default,
    /// Not at all.
    AtOnce,
}

/// What starts proxies.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) agent: PathBuf,
    /// Configurations and logs.
    pub(super) home: PathBuf,
}

impl Programs {
    /// Starts one; both read the same configuration, but for the pace.
    pub(super) fn start(
        &self,
        proxy: Proxy,
        pace: Pace,
        plane: &ControlPlane<'_>,
        node: &Host,
    ) -> anyhow::Result<Running> {
        let config = self.home.join("config.yaml");
        fs::write(&config, self::config(proxy, pace, plane))
            .context("writing the configuration")?;
        let mut command = match proxy {
            Proxy::KubeProxy => plane.command("kube-proxy"),
            Proxy::Closeby => Command::new(&self.agent),
        };
        command.arg("--config").arg(&config).args(["--hostname-override", node.name()]);
        let log = self.home.join(format!("{}.log", proxy.name()));
        let log = File::options().create(true).append(true).open(log).context("opening a log")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let started = Instant::now();
        Ok(Running::of(node.spawn(&mut command)?, started))
    }
}

fn config(proxy: Proxy, pace: Pace, plane: &ControlPlane<'_>) -> String {
    let kubeconfig = plane.kubeconfig(User::KubeProxy);
    let [pods, _] = POD_RANGES;
    let min_sync = match (proxy, pace) {
        // 0 would be its default, 1 s.
        (Proxy::KubeProxy, Pace::AtOnce) => "1ms",
        _ => "0s",
    };
    // Limits of connection tracking are the machine's, not the namespace's.
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
         mode: nftables\nclusterCIDR: {pods}\nnodePortAddresses: [primary]\n\
         clientConnection: {{kubeconfig: {}}}\nconntrack: {{maxPerCore: 0}}\n\
         nftables: {{minSyncPeriod: {min_sync}, syncPeriod: 1h}}\n",
        kubeconfig.display()
    )
}

/// A running proxy. It is killed when this is dropped; its rules stay.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    pub(super) started: Instant,
    helpers: Helpers,
}

impl Running {
    fn of(child: Child, started: Instant) -> Self {
        let helpers = Helpers::watch(child.id());
        Self { child, started, helpers }
    }

    /// CPU time it and the programs it ran have used.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        let proc = Path::new("/proc").join(self.child.id().to_string());
        let mut own = Duration::ZERO;
        for task in fs::read_dir(proc.join("task")).context("the proxy has ended")? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let on_cpu = text.split_whitespace().next().and_then(|ns| ns.parse().ok());
            own += Duration::from_nanos(on_cpu.context("schedstat")?);
        }
        let stat = fs::read_to_string(proc.join("stat"))?;
        // After the name in brackets: state is the 3rd field, times of children the 16th and 17th.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields).context("stat")?;
        let ticks = fields.split_whitespace().skip(13).take(2);
        let ticks = ticks.map(str::parse::<u32>).sum::<Result<u32, _>>().context("stat")?;
        let second = sysconf(SysconfVar::CLK_TCK)?.context("CLK_TCK")?;
        Ok(own + Duration::from_secs(1) * ticks / u32::try_from(second)?)
    }

    /// The most memory it has had, in MiB.
    pub(super) fn peak_mib(&self) -> anyhow::Result<f64> {
        mib(self.child.id(), "VmHWM:").context("the proxy has ended")
    }

    /// The memory it has now, in MiB.
    pub(super) fn now_mib(&self) -> anyhow::Result<f64> {
        mib(self.child.id(), "VmRSS:").context("the proxy has ended")
    }

    /// The most memory that one of the programs it ran was seen to have, in MiB.
    pub(super) fn helpers_peak_mib(&self) -> f64 {
        self.helpers.peak_mib()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either may fail only because it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn mib(pid: u32, field: &str) -> Option<f64> {
    kib(pid, field).map(|kib| f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0)
}

fn kib(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Looks, again and again, what programs a process runs.
#[derive(Debug)]
struct Helpers {
    peak_kib: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

impl Helpers {
    /// Between two looks. A program that is gone sooner may be missed, and was small.
    const INTERVAL: Duration = Duration::from_millis(5);

    fn watch(pid: u32) -> Self {
        let (peak_kib, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (peak, over) = (Arc::clone(&peak_kib), Arc::clone(&is_over));
        let watcher = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let most = helpers(pid).filter_map(|child| kib(child, "VmHWM:")).max();
                peak.fetch_max(most.unwrap_or(0), Ordering::Relaxed);
                thread::sleep(Self::INTERVAL);
            }
        });
        Self { peak_kib, is_over, watcher: Some(watcher) }
    }

    fn peak_mib(&self) -> f64 {
        let kib = self.peak_kib.load(Ordering::Relaxed);
        f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            drop(watcher.join());
        }
    }
}

/// The processes that another has started, as far as they run a program of their own by now.
fn helpers(pid: u32) -> impl Iterator<Item = u32> {
    let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let own = program(pid);
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<u32> = lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|pid| pid.parse().ok())
        .collect();
    pids.into_iter().filter(move |child| program(*child) != own)
}
