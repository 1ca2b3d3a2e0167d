//! What the trials share: helm, kubectl, a control plane, and a node.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use closeby_tools::lab::{
    Attach, Cluster, ControlPlane, Host, LabError, NodeSpec, SCRATCH, Spec, User, manifests,
};
use libtest_mimic::Failed;
use serde_json::Value;

/// Where all of it goes.
pub(crate) const NAMESPACE: &str = "kube-system";
/// How long the control plane may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was built.
pub(crate) struct Programs {
    pub(crate) control_plane: PathBuf,
    pub(crate) helm: PathBuf,
    /// A folder: the published definitions of PodMonitor and ServiceMonitor.
    pub(crate) monitors: PathBuf,
}

/// A control plane, a node without an agent, and the programs of an operator.
pub(crate) struct Rig {
    cluster: &'static Cluster,
    pub(crate) plane: ControlPlane<'static>,
    programs: Programs,
    pub(crate) home: PathBuf,
}

impl Rig {
    pub(crate) fn start(programs: Programs) -> Result<Self, LabError> {
        let node = NodeSpec::new("n1", "zone-a", Attach::Routed).pods(["a1"]);
        // For as long as the program runs, as the trials ask for.
        let cluster: &'static Cluster =
            Box::leak(Box::new(Cluster::build(&Spec::new().node(node))?));
        let home = Path::new(SCRATCH).join("deploy");
        let mut plane =
            ControlPlane::start(&programs.control_plane, &home.join("plane"), cluster.fabric())?;
        plane.start_controllers()?;
        plane.ask(User::Admin, |api| {
            for mut node in manifests::nodes(cluster.nodes()) {
                let status = node["status"].take();
                api.apply(&node)?;
                api.set_status(&node, &status)?;
            }
            Ok(())
        })?;
        Ok(Self { cluster, plane, programs, home })
    }

    pub(crate) fn node(&self) -> &'static Host {
        &self.cluster.nodes()[0]
    }

    /// What the published definitions of monitors are in.
    pub(crate) fn monitors(&self) -> &Path {
        &self.programs.monitors
    }

    /// Runs kubectl as admin: what it prints. A word on standard error is a failure.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String, Failed> {
        let mut command = self.plane.command("kubectl");
        command.arg("--kubeconfig").arg(self.plane.kubeconfig(User::Admin));
        command.arg("--cache-dir").arg(self.home.join("kubectl")).args(arguments);
        let output = self.run(&mut command)?;
        quiet(&command, &output)
    }

    /// Runs helm as admin; the same.
    pub(crate) fn helm(&self, arguments: &[&str]) -> Result<String, Failed> {
        let mut command = self.helm_command(arguments);
        let output = self.run(&mut command)?;
        quiet(&command, &output)
    }

    /// What helm says where it must refuse.
    pub(crate) fn helm_refuses(&self, arguments: &[&str]) -> Result<String, Failed> {
        let output = self.run(&mut self.helm_command(arguments))?;
        check(!output.status.success(), "helm refuses", &arguments)?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn helm_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.helm);
        command.arg("--kubeconfig").arg(self.plane.kubeconfig(User::Admin)).args(arguments);
        let home = self.home.join("helm");
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, &home);
        }
        command
    }

    fn run(&self, command: &mut Command) -> Result<Output, Failed> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(self.cluster.fabric().spawn(command)?.wait_with_output()?)
    }

    /// An object, as the API server has it.
    pub(crate) fn object(&self, kind: &str, name: &str) -> Result<Value, Failed> {
        let text = self.kubectl(&["-n", NAMESPACE, "get", kind, name, "-o", "json"])?;
        Ok(serde_json::from_str(&text)?)
    }

    /// A file with this text.
    pub(crate) fn file(&self, name: &str, text: &str) -> Result<String, Failed> {
        let path = self.home.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// Waits for something that controllers do.
    pub(crate) fn until(
        &self,
        what: &str,
        mut holds: impl FnMut(&Self) -> Result<bool, Failed>,
    ) -> Result<(), Failed> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self)? {
            check(Instant::now() < deadline, "in time", &what)?;
        }
        Ok(())
    }
}

/// What a program printed, if it went well and had nothing to remark.
fn quiet(command: &Command, output: &Output) -> Result<String, Failed> {
    let said = String::from_utf8_lossy(&output.stderr);
    let is_quiet = output.status.success() && said.is_empty();
    check(is_quiet, "without a warning", &(command.get_args(), &said))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A file or folder of `deploy/`.
pub(crate) fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// A file of this suite.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy").join(name)
}

pub(crate) fn check(holds: bool, what: &str, saw: &impl Debug) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("{what}: {saw:?}").into()) }
}
