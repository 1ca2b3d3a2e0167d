//! The agent as a DaemonSet's pod has it: its command, its files, its environment, its capabilities
//! and its ServiceAccount's token, read from what the API server was given. Here is the part of a
//! kubelet and a container runtime that this takes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use closeby_tools::lab::{Agent, User};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Trials;
use super::chart::render_values;
use super::confined::FLAG;
use super::rig::{NAMESPACE, Rig, check, deploy};

pub(crate) const ALL: Trials = &[
    ("a_pod_of_the_chart_works", a_pod_of_the_chart_works),
    ("the_runtimes_seccomp_profile_is_enough", the_runtimes_seccomp_profile_is_enough),
    ("pods_of_kustomizations_work", pods_of_kustomizations_work),
    ("cleanup_takes_the_rules_away", cleanup_takes_the_rules_away),
];

/// How long an agent may take to its first generation.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where a pod finds its token.
const TOKEN: &str = "/run/secrets/kubernetes.io/serviceaccount";
/// Where the chart has metrics.
const METRICS: u16 = 10_249;
/// What a pod is told of the API server: an address that only rules make work.
const CLUSTER_IP: &str = "10.96.0.1";

/// A pod of a DaemonSet that the API server has, on the node.
pub(crate) struct Pod<'a> {
    rig: &'a Rig,
    spec: Value,
    /// Where its files are.
    home: PathBuf,
}

impl<'a> Pod<'a> {
    /// Makes its files: ConfigMaps, and what its ServiceAccount gives.
    pub(crate) fn of(rig: &'a Rig, daemon_set: &str) -> Result<Self, Failed> {
        let object = rig.object("daemonset", daemon_set)?;
        let spec = object["spec"]["template"]["spec"].clone();
        let home = rig.home.join("pods").join(daemon_set);
        let pod = Self { rig, spec, home };
        for volume in list(&pod.spec["volumes"]) {
            if let Some(name) = volume["configMap"]["name"].as_str() {
                pod.write(text(&volume["name"]), &config_map(rig, name)?)?;
            }
            if volume["emptyDir"].is_object() {
                pod.write(text(&volume["name"]), &BTreeMap::new())?;
            }
        }
        if pod.spec["automountServiceAccountToken"] != false {
            pod.write("token", &pod.token()?)?;
        }
        Ok(pod)
    }

    /// What its ServiceAccount gives.
    fn token(&self) -> Result<BTreeMap<String, String>, Failed> {
        let account = text(&self.spec["serviceAccountName"]);
        let token = self.rig.kubectl(&["-n", NAMESPACE, "create", "token", account])?;
        let authority = fs::read_to_string(self.rig.home.join("plane/certs/apiserver.crt"))?;
        let namespace = NAMESPACE.to_owned();
        let files =
            [("token", token.trim().to_owned()), ("ca.crt", authority), ("namespace", namespace)];
        Ok(files.map(|(name, text)| (name.to_owned(), text)).into())
    }

    fn write(&self, volume: &str, files: &BTreeMap<String, String>) -> Result<(), Failed> {
        let folder = self.home.join(volume);
        fs::create_dir_all(&folder)?;
        for (name, text) in files {
            fs::write(folder.join(name), text)?;
        }
        Ok(())
    }

    /// A container, by its name.
    pub(crate) fn container(&self, name: &str) -> Result<&Value, Failed> {
        let all = list(&self.spec["initContainers"]).chain(list(&self.spec["containers"]));
        let found = all.into_iter().find(|container| container["name"] == name);
        found.ok_or_else(|| format!("no container {name}").into())
    }

    /// How a container is run.
    pub(crate) fn command(&self, container: &Value) -> Result<Command, Failed> {
        let environment = self.environment(container)?;
        let words = list(&container["command"]).chain(list(&container["args"]));
        let words = words.map(|word| expand(text(word), &environment));
        self.command_of(container, &words.collect::<Vec<_>>())
    }

    /// How another command is run in the same place. The image is the program alone; the root is
    /// read-only.
    fn command_of(&self, container: &Value, words: &[String]) -> Result<Command, Failed> {
        let mut mounts = vec![
            "mount -t tmpfs image /usr/local/bin".to_owned(),
            "touch /usr/local/bin/closeby".to_owned(),
            format!("mount --bind {} /usr/local/bin/closeby", env!("CARGO_BIN_EXE_closeby")),
            "ln -s closeby /usr/local/bin/kube-proxy".to_owned(),
            "mount -t tmpfs state /var/lib".to_owned(),
            "mount -t tmpfs state /run".to_owned(),
        ];
        // What is the host's is there already.
        let mounted = list(&container["volumeMounts"]);
        let mounted = mounted.map(|mount| (text(&mount["name"]), text(&mount["mountPath"])));
        for (volume, to) in mounted.chain([("token", TOKEN)]) {
            let from = self.home.join(volume);
            if from.exists() {
                mounts.push(format!("mkdir -p {to}; mount --bind {} {to}", from.display()));
            }
        }
        mounts.push("mount -o remount,bind,ro /".to_owned());
        let script = format!("{}; exec \"$@\"", mounts.join("; "));
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-euc", &script, "sh"]);
        command.args(self.confinement(container)?).args(words);
        let environment = self.environment(container)?;
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").envs(environment);
        Ok(command)
    }

    /// As a container runtime drops capabilities, and confines what is left.
    fn confinement(&self, container: &Value) -> Result<Vec<String>, Failed> {
        if container["securityContext"]["privileged"] == true {
            return Ok(Vec::new());
        }
        let profile = &self.spec["securityContext"]["seccompProfile"]["type"];
        check(*profile == "RuntimeDefault", "the runtime's seccomp profile", profile)?;
        let mut words = capabilities(container)?;
        words.extend([std::env::current_exe()?.display().to_string(), FLAG.to_owned()]);
        Ok(words)
    }

    fn environment(&self, container: &Value) -> Result<BTreeMap<String, String>, Failed> {
        let mut environment = BTreeMap::from([
            ("KUBERNETES_SERVICE_HOST".to_owned(), CLUSTER_IP.to_owned()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
        ]);
        for from in list(&container["envFrom"]) {
            environment.extend(config_map(self.rig, text(&from["configMapRef"]["name"]))?);
        }
        for variable in list(&container["env"]) {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("spec.nodeName") => self.rig.node().name(),
                Some(other) => return Err(format!("no field {other} here").into()),
                None => text(&variable["value"]),
            };
            environment.insert(text(&variable["name"]).to_owned(), value.to_owned());
        }
        Ok(environment)
    }

    /// What another program does there: its signal, if one ended it, and what it says.
    fn tries(&self, container: &Value, words: &[&str]) -> Result<(Option<i32>, String), Failed> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut command = self.command_of(container, &words)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let output = self.rig.node().spawn(&mut command)?.wait_with_output()?;
        Ok((output.status.signal(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Runs an init container to its end.
    fn run(&self, name: &str) -> Result<(), Failed> {
        let mut command = self.command(self.container(name)?)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = self.rig.node().spawn(&mut command)?.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        check(output.status.success(), name, &said)?;
        check(!said.contains("WARN"), "it warns", &said)
    }

    /// Starts the agent.
    pub(crate) fn spawn(&self, container: &str) -> Result<Agent, Failed> {
        let mut command = self.command(self.container(container)?)?;
        Ok(Agent::start(self.rig.node(), &mut command, &self.home.join("log"))?)
    }

    /// Starts the agent, and waits until it has committed.
    pub(crate) fn start(&self, container: &str) -> Result<Agent, Failed> {
        let mut agent = self.spawn(container)?;
        committed(&mut agent)?;
        Ok(agent)
    }

    /// Asks as a probe of a container does: the status.
    fn probe(&self, container: &Value, probe: &str) -> Result<String, Failed> {
        let asked = &container[probe]["httpGet"];
        let port = list(&container["ports"]).find(|port| port["name"] == asked["port"]);
        let port = port.and_then(|port| port["containerPort"].as_u64()).ok_or("no port")?;
        let node = self.rig.node().addresses()[0];
        let host = asked["host"].as_str().map_or(Ok(node), str::parse::<IpAddr>)?;
        let at = SocketAddr::new(host, u16::try_from(port)?);
        let answer = self.ask(at, text(&asked["path"]))?;
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    }

    /// What is answered over HTTP, asked from the node.
    fn ask(&self, at: SocketAddr, path: &str) -> Result<String, Failed> {
        let request = format!("GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n");
        Ok(self.rig.node().netns().run(|| {
            let mut answer = String::new();
            let asked = TcpStream::connect(at).and_then(|mut stream| {
                stream.write_all(request.as_bytes())?;
                stream.read_to_string(&mut answer)
            });
            Ok(asked.map(|_| answer))
        })??)
    }
}

/// As a container runtime drops capabilities.
fn capabilities(container: &Value) -> Result<Vec<String>, Failed> {
    let rights = &container["securityContext"];
    check(rights["capabilities"]["drop"][0] == "ALL", "all are dropped", rights)?;
    check(rights["allowPrivilegeEscalation"] == false, "no others are gained", rights)?;
    check(rights["readOnlyRootFilesystem"] == true, "nothing is written", rights)?;
    let added = list(&rights["capabilities"]["add"]).map(text);
    let added: String = added.map(|name| format!(",+{}", name.to_lowercase())).collect();
    Ok(["setpriv", "--no-new-privs", "--inh-caps=-all", &format!("--bounding-set=-all{added}")]
        .map(str::to_owned)
        .to_vec())
}

fn committed(agent: &mut Agent) -> Result<(), Failed> {
    let generation = agent.next_generation(PATIENCE)?;
    check(generation.is_some(), "a generation", &agent.log_tail())
}

fn expand(word: &str, environment: &BTreeMap<String, String>) -> String {
    environment
        .iter()
        .fold(word.to_owned(), |word, (name, value)| word.replace(&format!("$({name})"), value))
}

fn config_map(rig: &Rig, name: &str) -> Result<BTreeMap<String, String>, Failed> {
    let object = rig.object("configmap", name)?;
    let data = object["data"].as_object().into_iter().flatten();
    Ok(data.map(|(name, value)| (name.clone(), text(value).to_owned())).collect())
}

pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The chart's, for this API server.
fn values(rig: &Rig) -> Value {
    let at = rig.plane.address();
    json!({
        "apiServer": { "host": at.ip(), "port": at.port() },
        // The number of entries is the machine's, and cannot be set from in here.
        "config": { "detectLocalMode": "NodeCIDR", "conntrack": { "maxPerCore": 0 } },
        "extraArgs": ["--logging-format=text"],
    })
}

fn a_pod_of_the_chart_works(rig: &Rig) -> Result<(), Failed> {
    let values = values(rig);
    let rendered = rig.file("pod.yaml", &render_values(rig, &values)?)?;
    rig.kubectl(&["apply", "-f", &rendered])?;
    let pod = Pod::of(rig, "closeby")?;
    pod.run("init")?;
    let agent = pod.start("closeby")?;
    check(!agent.log_tail().contains("WARN"), "it warns", &agent.log_tail())?;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let status = pod.probe(pod.container("closeby")?, probe)?;
        check(status.contains(" 200 "), probe, &status)?;
    }
    // As with `kubectl exec`.
    let container = pod.container("closeby")?;
    let (_, said) = pod.tries(container, &["/usr/local/bin/closeby", "services"])?;
    check(said.contains("default/kubernetes:https/tcp"), "it answers questions", &said)?;
    rig.kubectl(&["delete", "-f", &rendered]).map(drop)
}

/// H-15: everything that the agent does is done here under the filter, which ends whoever asks the
/// kernel for more: it follows objects, commits, sweeps UDP flows, answers, writes events, and stops.
fn the_runtimes_seccomp_profile_is_enough(rig: &Rig) -> Result<(), Failed> {
    let rendered = rig.file("confined.yaml", &render_values(rig, &values(rig))?)?;
    rig.kubectl(&["apply", "-f", &rendered])?;
    let pod = Pod::of(rig, "closeby")?;
    let container = pod.container("closeby")?;
    let (_, status) = pod.tries(container, &["cat", "/proc/self/status"])?;
    for line in ["CapEff:\t0000000000001000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        check(status.lines().any(|told| told == line), line, &status)?;
    }
    let (signal, _) = pod.tries(container, &["unshare", "--net", "true"])?;
    check(signal == Some(Signal::SIGSYS as i32), "a new namespace ends who asks for it", &signal)?;

    let mut agent = pod.start("closeby")?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": "default", "name": "dns" },
        "spec": {
            "type": "NodePort", "sessionAffinity": "ClientIP",
            // Of the Services' own range: not served, and told of in an event.
            "externalIPs": ["10.96.0.99"],
            "ports": [{ "port": 53, "protocol": "UDP" }],
        },
    });
    // Not by kubectl, which warns of external addresses.
    rig.plane.ask(User::Admin, |api| api.apply(&service))?;
    committed(&mut agent)?;
    let events = || rig.kubectl(&["get", "events", "-A", "-o", "json"]);
    rig.until("an event", |_| Ok(events()?.contains("NotServedAsWritten")))?;
    agent.forget_past();
    rig.plane.ask(User::Admin, |api| api.delete(&service, None))?;
    committed(&mut agent)?;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let status = pod.probe(container, probe)?;
        check(status.contains(" 200 "), probe, &status)?;
    }
    let metrics = pod.ask(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), METRICS), "/metrics")?;
    for name in ["closeby_conntrack_entries ", "process_resident_memory_bytes "] {
        check(metrics.contains(name), name, &metrics)?;
    }
    rig.until("a sweep", |_| {
        let at = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), METRICS);
        Ok(pod.ask(at, "/metrics")?.contains("kubeproxy_conntrack_reconciler_sync_duration"))
    })?;
    let pid = i32::try_from(agent.pid())?;
    kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    let ended = agent.next_generation(PATIENCE).err().ok_or("it goes on")?.to_string();
    check(ended.contains("(exit status: 0)"), "it stops as asked", &ended)?;
    rig.kubectl(&["delete", "-f", &rendered]).map(drop)
}

/// With the ConfigMap that their values.yaml asks for.
fn pods_of_kustomizations_work(rig: &Rig) -> Result<(), Failed> {
    let at = rig.plane.address();
    let host = format!("--from-literal=KUBERNETES_SERVICE_HOST={}", at.ip());
    let port = format!("--from-literal=KUBERNETES_SERVICE_PORT={}", at.port());
    let config_map = ["configmap", "closeby-api-server"];
    let create = [&["-n", NAMESPACE, "create"], &config_map[..], &[&host, &port]].concat();
    rig.kubectl(&create)?;
    for (folder, daemon_set) in [("fresh", "closeby"), ("canary", "closeby-canary")] {
        let folder = deploy("kustomize").join(folder).display().to_string();
        rig.kubectl(&["apply", "-k", &folder])?;
        let pod = Pod::of(rig, daemon_set)?;
        let _agent = pod.start(daemon_set)?;
        let status = pod.probe(pod.container(daemon_set)?, "livenessProbe")?;
        check(status.contains(" 200 "), folder.as_str(), &status)?;
        rig.kubectl(&["delete", "-k", &folder])?;
    }
    rig.kubectl(&[&["-n", NAMESPACE, "delete"], &config_map[..]].concat()).map(drop)
}

/// What an agent left.
fn cleanup_takes_the_rules_away(rig: &Rig) -> Result<(), Failed> {
    let at = rig.plane.address();
    let values = serde_json::json!({ "apiServer": { "host": at.ip(), "port": at.port() } });
    let agent = rig.file("agent.yaml", &render_values(rig, &values)?)?;
    rig.kubectl(&["apply", "-f", &agent])?;
    drop(Pod::of(rig, "closeby")?.start("closeby")?);
    let tables = rig.node().nft("list tables")?;
    check(tables.contains("table ip closeby"), "an agent leaves its rules", &tables)?;
    rig.kubectl(&["delete", "-f", &agent])?;
    let folder = deploy("kustomize/cleanup").display().to_string();
    rig.kubectl(&["apply", "-k", &folder])?;
    Pod::of(rig, "closeby-cleanup")?.run("cleanup")?;
    let tables = rig.node().nft("list tables")?;
    check(tables.is_empty(), "no tables", &tables)?;
    rig.kubectl(&["delete", "-k", &folder]).map(drop)
}
