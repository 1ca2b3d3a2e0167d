//! A real control plane in the lab: etcd, kube-apiserver and controllers, on the fabric, where
//! every node finds them. Clients have tokens of their own, with the rights that Kubernetes gives to
//! users of these names.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::agent::tail;
use super::api::Api;
use super::error::LabError;
use super::host::Host;
use super::spec::{Family, SERVICE_RANGES};

/// Where the API server listens.
const PORT: u16 = 6443;
/// Where etcd listens by itself.
const ETCD: &str = "127.0.0.1:2379";
/// How long a part may take to answer; on a quiet machine it is a few seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who talks to the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// May do everything.
    Admin,
    /// Has the rights of kube-proxy (ClusterRole `system:node-proxier`).
    KubeProxy,
    /// Is known, and may do nothing.
    Nobody,
}

impl User {
    const ALL: [Self; 3] = [Self::Admin, Self::KubeProxy, Self::Nobody];

    fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::KubeProxy => "system:kube-proxy",
            Self::Nobody => "nobody",
        }
    }

    /// Its token, of which it has had so many before.
    fn token(self, before: u32) -> String {
        match self {
            Self::Admin => "token-of-admin".to_owned(),
            Self::KubeProxy => format!("token-of-kube-proxy-{before}"),
            Self::Nobody => "token-of-nobody".to_owned(),
        }
    }

    /// A line of the file of tokens: token, name, UID, groups.
    fn line(self, before: u32) -> String {
        let groups = if self == Self::Admin { ",system:masters" } else { "" };
        format!("{},{},{}{groups}\n", self.token(before), self.name(), self.name())
    }
}

/// The parts, as programs in one file (`tests/cluster`).
#[derive(Debug)]
pub struct ControlPlane<'a> {
    program: PathBuf,
    home: PathBuf,
    host: &'a Host,
    etcd: Option<Child>,
    api: Option<Child>,
    controllers: Option<Child>,
    /// Tokens that kube-proxy has had.
    rotations: u32,
}

impl<'a> ControlPlane<'a> {
    /// Starts etcd and the API server, which is ready when this returns. `home` is a folder for what
    /// they keep.
    ///
    /// # Errors
    /// Where one does not start, with the end of its log.
    pub fn start(program: &Path, home: &Path, host: &'a Host) -> Result<Self, LabError> {
        let (program, home) = (program.to_owned(), home.to_owned());
        let (etcd, api, controllers) = (None, None, None);
        let mut plane = Self { program, home, host, etcd, api, controllers, rotations: 0 };
        plane.prepare()?;
        plane.start_etcd()?;
        plane.start_api()?;
        Ok(plane)
    }

    /// Starts the controllers of DaemonSets, Deployments and EndpointSlices, anew if they run: whom
    /// they trust they read once.
    ///
    /// # Errors
    /// Where they do not start.
    pub fn start_controllers(&mut self) -> Result<(), LabError> {
        let mut command = self.command("kube-controller-manager");
        command.arg("--kubeconfig").arg(self.kubeconfig(User::Admin)).args([
            "--leader-elect=false",
            "--controllers=daemonset-controller,deployment-controller,replicaset-controller,\
             endpointslice-controller",
        ]);
        end(&mut self.controllers);
        self.controllers = Some(self.spawn("kube-controller-manager", command)?);
        Ok(())
    }

    /// The API server's address, as every node sees it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host.address(Family::V4), PORT)
    }

    /// How this user gets in.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.home.join(format!("{}.kubeconfig", user.name()))
    }

    /// Asks the API server, as this user.
    ///
    /// # Errors
    /// Where it cannot be asked; what `work` returns is passed through.
    pub fn ask<T: Send>(
        &self,
        user: User,
        work: impl FnOnce(&Api) -> Result<T, LabError> + Send,
    ) -> Result<T, LabError> {
        self.host.netns().run(|| work(&Api::open(&self.kubeconfig(user))?))
    }

    /// A command that runs one of the programs, such as `kube-proxy`.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(program);
        command
    }

    /// Kills the API server.
    pub fn stop_api(&mut self) {
        end(&mut self.api);
    }

    /// Starts the API server; it is ready when this returns.
    ///
    /// # Errors
    /// Where it does not become ready.
    pub fn start_api(&mut self) -> Result<(), LabError> {
        let mut command = self.command("kube-apiserver");
        let key = self.home.join("service-account.key");
        let advertised = format!("--advertise-address={}", self.address().ip());
        let etcd = format!("--etcd-servers=http://{ETCD}");
        let range = format!("--service-cluster-ip-range={}", SERVICE_RANGES.join(","));
        command.args([
            &etcd,
            "--bind-address=0.0.0.0",
            "--authorization-mode=RBAC",
            // As kubeadm has it.
            "--allow-privileged",
            "--endpoint-reconciler-type=none",
            // Pods need no token here: nobody runs in them.
            "--disable-admission-plugins=ServiceAccount",
            "--service-account-issuer=https://kubernetes.default.svc",
            &advertised,
            &range,
        ]);
        command.arg("--cert-dir").arg(self.home.join("certs"));
        command.arg("--token-auth-file").arg(self.home.join("tokens"));
        command.arg("--service-account-key-file").arg(&key);
        command.arg("--service-account-signing-key-file").arg(&key);
        if self.client_authorities().exists() {
            command.arg("--client-ca-file").arg(self.client_authorities());
        }
        self.api = Some(self.spawn("kube-apiserver", command)?);
        self.until("kube-apiserver", |plane| {
            plane.ask(User::Admin, |api| api.get("/readyz")).is_ok()
        })
    }

    /// Makes etcd forget all history: who watches from an older version is told 410.
    ///
    /// # Errors
    /// Where etcd cannot be asked.
    pub fn compact(&self) -> Result<(), LabError> {
        let mut command = self.command("compact");
        command.arg(ETCD);
        self.run(&mut command).map(drop)
    }

    /// The token that kube-proxy's user has now.
    #[must_use]
    pub fn token(&self) -> String {
        User::KubeProxy.token(self.rotations)
    }

    /// The certificate that the API server shows, which is its own authority.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.home.join("certs/apiserver.crt")
    }

    /// Gives kube-proxy's user another token in place of the one it has, in its kubeconfig as
    /// well. It counts from the API server's next start.
    ///
    /// # Errors
    /// Where files cannot be written.
    pub fn rotate_token(&mut self) -> Result<(), LabError> {
        self.rotations += 1;
        self.write_tokens()
    }

    /// Gives kube-proxy's user another certificate in place of the one it may have: key and
    /// certificate, as PEM. It counts from the API server's next start.
    ///
    /// # Errors
    /// Where files cannot be written.
    pub fn rotate_certificate(&self) -> Result<String, LabError> {
        let pem = self.run(self.command("client-certificate").arg(User::KubeProxy.name()))?;
        // Of what is in it, the API server takes the certificate.
        fs::write(self.client_authorities(), &pem).map_err(self.failed("writing to"))?;
        Ok(pem)
    }

    /// Makes the API server, at its next start, show another certificate, of another authority.
    ///
    /// # Errors
    /// Where files cannot be removed.
    pub fn rotate_authority(&self) -> Result<(), LabError> {
        fs::remove_dir_all(self.home.join("certs")).map_err(self.failed("removing from"))
    }

    /// What certificates of clients must be of; absent where nobody has one.
    fn client_authorities(&self) -> PathBuf {
        self.home.join("clients.crt")
    }

    fn failed(&self, doing: &str) -> impl FnOnce(std::io::Error) -> LabError + use<> {
        LabError::io(format!("{doing} {}", self.home.display()))
    }

    fn write_tokens(&self) -> Result<(), LabError> {
        let tokens: String = User::ALL.into_iter().map(|user| user.line(self.rotations)).collect();
        fs::write(self.home.join("tokens"), tokens).map_err(self.failed("writing to"))?;
        for user in User::ALL {
            let kubeconfig = self.kubeconfig_of(user).to_string();
            fs::write(self.kubeconfig(user), kubeconfig).map_err(self.failed("writing to"))?;
        }
        Ok(())
    }

    /// What the agents and the servers are told; kept in memory.
    fn prepare(&self) -> Result<(), LabError> {
        fs::create_dir_all(&self.home).map_err(self.failed("creating"))?;
        self.write_tokens()?;
        let key = self.run(&mut self.command("service-account-key"))?;
        fs::write(self.home.join("service-account.key"), key).map_err(self.failed("writing to"))
    }

    /// The certificate is made by the API server at its first start.
    fn kubeconfig_of(&self, user: User) -> Value {
        let server = format!("https://{}", self.address());
        let (authority, token) = (self.authority(), user.token(self.rotations));
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "lab",
                "cluster": { "server": server, "certificate-authority": authority },
            }],
            "users": [{ "name": user.name(), "user": { "token": token } }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": user.name() } }],
            "current-context": "lab",
        })
    }

    fn start_etcd(&mut self) -> Result<(), LabError> {
        let mut command = self.command("etcd");
        command.arg("--data-dir").arg(self.home.join("etcd"));
        // What is lost with the lab need not be safe on a disk.
        command.args(["--unsafe-no-fsync", "--log-level=warn"]);
        self.etcd = Some(self.spawn("etcd", command)?);
        self.until("etcd", |plane| {
            plane.host.netns().run(|| Ok(TcpStream::connect(ETCD).is_ok())).unwrap_or(false)
        })
    }

    /// Runs a program to its end, and gives what it prints.
    fn run(&self, command: &mut Command) -> Result<String, LabError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = self.host.spawn(command)?.wait_with_output();
        let output = output.map_err(LabError::io("waiting for a program"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(LabError::Plan(format!("{command:?}: {said}")))
    }

    fn log(&self, program: &str) -> PathBuf {
        self.home.join(format!("{program}.log"))
    }

    fn spawn(&self, program: &str, mut command: Command) -> Result<Child, LabError> {
        let failed = || LabError::io(format!("creating the log of {program}"));
        let log = File::options().create(true).append(true).open(self.log(program));
        let log = log.map_err(failed())?;
        command.stdout(log.try_clone().map_err(failed())?).stderr(log).stdin(Stdio::null());
        self.host.spawn(&mut command)
    }

    fn until(&self, program: &str, mut ready: impl FnMut(&Self) -> bool) -> Result<(), LabError> {
        let deadline = Instant::now() + PATIENCE;
        while !ready(self) {
            if Instant::now() > deadline {
                let tail = tail(&self.log(program));
                return Err(LabError::Plan(format!("{program} is not ready; its log:\n{tail}")));
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Drop for ControlPlane<'_> {
    fn drop(&mut self) {
        for part in [&mut self.controllers, &mut self.api, &mut self.etcd] {
            end(part);
        }
    }
}

fn end(part: &mut Option<Child>) {
    if let Some(mut child) = part.take() {
        // Either may fail only because it is gone already.
        drop(child.kill());
        drop(child.wait());
    }
}
