//! Where the API server is, and a client for it.
//!
//! As kube-proxy is told: a kubeconfig, another address for it, or what a pod
//! finds in its environment. Files are read when a client is made, so that a
//! new one has what was rotated meanwhile. Between that, `kube` itself reads a
//! token file and the CA's file again every minute; a client certificate counts
//! for as long as the client, and so does a token file that `kube` cannot read as
//! it is. An exec plugin is run here (`plugin`), once for each client: what it
//! says counts for as long as it says.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use kube::client::ConfigExt;
use kube::config::{AuthInfo, Kubeconfig};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use super::plugin::{self, PLUGIN_MAX, PluginError};

/// A connection must be there in so long.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A watch is quiet for long, so that a server that vanished without a word
/// shows only when it is asked: after so long without a byte ...
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
/// ... then so often ...
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// ... and after so many without an answer it is gone.
const KEEPALIVE_TRIES: u32 = 3;

/// The address that a pod finds in its environment.
const ENV_HOST: &str = "KUBERNETES_SERVICE_HOST";

/// Where the API server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// As this file says; its server may be another.
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// In place of the file's server.
        master: Option<String>,
    },
    /// Here, and nobody need say who asks.
    Master(String),
    /// As the environment and the ServiceAccount's files say.
    InCluster,
}

/// The API server cannot be asked, as things are.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Nobody said where it is.
    #[error(
        "no source of objects: write --kubeconfig FILE (or clientConnection.kubeconfig in the \
         configuration), --master URL, or --manifests DIR; in a pod, the API server's address \
         comes from {ENV_HOST}, which is not set"
    )]
    Nowhere,
    /// A file is missing or wrong.
    #[error("cannot use {what}: {why}")]
    Unusable {
        /// Which.
        what: String,
        /// Why, in words.
        why: String,
    },
    /// The program that says who asks does not say so.
    #[error("cannot use {what}: {why}")]
    Plugin {
        /// Which file names it.
        what: String,
        /// Why, in words.
        why: String,
    },
}

/// A client.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) client: Client,
    /// The address it asks.
    pub(super) server: String,
    /// When the API server will not know it any more.
    pub(super) expires: Option<Timestamp>,
}

impl Access {
    /// What the flags, the configuration and the environment say: in a pod, what
    /// the pod was given is the last resort.
    ///
    /// # Errors
    ///
    /// If they say nothing.
    pub fn choose(
        kubeconfig: Option<&Path>,
        master: Option<&str>,
        in_pod: bool,
    ) -> Result<Self, AccessError> {
        let master = master.filter(|url| !url.is_empty()).map(str::to_owned);
        match (kubeconfig, master) {
            (Some(file), master) => Ok(Self::Kubeconfig { file: file.to_owned(), master }),
            (None, Some(url)) => Ok(Self::Master(url)),
            (None, None) if in_pod => Ok(Self::InCluster),
            (None, None) => Err(AccessError::Nowhere),
        }
    }

    /// Whether the environment is a pod's.
    #[must_use]
    pub fn is_in_pod() -> bool {
        std::env::var_os(ENV_HOST).is_some()
    }

    /// Makes a client. Within a runtime; an exec plugin is waited for.
    pub(super) fn client(&self) -> Result<Opened, AccessError> {
        let mut config = self.config()?;
        let expires = ask_plugin(&mut config.auth_info).map_err(|error| AccessError::Plugin {
            what: self.what(),
            why: super::failure::causes(&error),
        })?;
        let server = config.cluster_url.to_string();
        let client = client(config).map_err(|error| self.unusable(&error))?;
        Ok(Opened { client, server, expires })
    }

    fn config(&self) -> Result<Config, AccessError> {
        match self {
            Self::Kubeconfig { file, master } => {
                let kubeconfig = Kubeconfig::read_from(file);
                let mut kubeconfig = kubeconfig.map_err(|error| self.unusable(&error))?;
                trim_tokens(&mut kubeconfig);
                let authority_file = authority_file(&kubeconfig);
                let mut config =
                    Config::try_from(kubeconfig).map_err(|error| self.unusable(&error))?;
                config.root_cert_file = authority_file;
                if let Some(url) = master {
                    config.cluster_url = url.parse().map_err(|error| unusable_url(url, &error))?;
                }
                Ok(config)
            }
            Self::Master(url) => {
                Ok(Config::new(url.parse().map_err(|error| unusable_url(url, &error))?))
            }
            Self::InCluster => Config::incluster().map_err(|error| self.unusable(&error)),
        }
    }

    fn unusable(&self, error: &(dyn Error + 'static)) -> AccessError {
        AccessError::Unusable { what: self.what(), why: super::failure::causes(error) }
    }

    fn what(&self) -> String {
        match self {
            Self::Kubeconfig { file, .. } => format!("kubeconfig {}", file.display()),
            Self::Master(url) => format!("--master {url}"),
            Self::InCluster => "what this pod was given (its environment and \
                                /var/run/secrets/kubernetes.io/serviceaccount)"
                .to_owned(),
        }
    }
}

fn unusable_url(url: &str, error: &(dyn Error + 'static)) -> AccessError {
    AccessError::Unusable { what: format!("--master {url}"), why: error.to_string() }
}

/// The file of the CA, if it is one: `kube` reads it anew when it is told.
fn authority_file(kubeconfig: &Kubeconfig) -> Option<PathBuf> {
    let context = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == *context)?;
    let cluster = &context.context.as_ref()?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == *cluster)?;
    let cluster = cluster.cluster.as_ref()?;
    let inline = cluster.certificate_authority_data.as_ref();
    cluster.certificate_authority.as_ref().filter(|_| inline.is_none()).map(PathBuf::from)
}

/// Takes the tokens out of files that an editor or `echo` left a newline in, which no header may
/// have: kubectl and kube-proxy trim it, `kube` does not.
fn trim_tokens(kubeconfig: &mut Kubeconfig) {
    for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        // What cannot be read is told of by who needs it.
        let text = user.token_file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        if let Some(text) = text.filter(|text| user.token.is_none() && text.trim() != text) {
            user.token = Some(text.trim().into());
        }
    }
}

/// Puts what an exec plugin says in its place, where that is asked; until when it counts.
fn ask_plugin(user: &mut AuthInfo) -> Result<Option<Timestamp>, PluginError> {
    // As `kube` chooses.
    let has_password = user.username.is_some() && user.password.is_some();
    let is_known = has_password || user.token.is_some() || user.token_file.is_some();
    let Some(exec) = user.exec.take_if(|_| !is_known && user.auth_provider.is_none()) else {
        return Ok(None);
    };
    let said = plugin::run(&exec, PLUGIN_MAX)?;
    user.token = said.token.map(Into::into);
    if let Some((certificate, key)) = said.certificate {
        user.client_certificate_data = Some(BASE64.encode(certificate));
        user.client_key_data = Some(BASE64.encode(key).into());
    }
    Ok(said.expires)
}

/// What `Client::try_from` makes, but for two things: connections are probed,
/// and nothing is tried again behind our back.
fn client(config: Config) -> Result<Client, kube::Error> {
    // Said here, so that no other crate's choice of a second one matters.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_MAX));
    tcp.set_keepalive(Some(KEEPALIVE_AFTER));
    tcp.set_keepalive_interval(Some(KEEPALIVE_EVERY));
    tcp.set_keepalive_retries(Some(KEEPALIVE_TRIES));
    let connector = config.rustls_https_connector_with_connector(tcp)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: 'http://10.0.0.1:6443', certificate-authority: ca.crt}}]
users: [{name: u, user: {token: t}}]
";

    fn written(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn config(text: &str, master: Option<&str>) -> Result<Config, String> {
        let file = written(text);
        let access = Access::choose(Some(file.path()), master, false).unwrap();
        let path = file.path().display().to_string();
        access.config().map_err(|error| error.to_string().replace(&path, "FILE"))
    }

    #[test]
    fn what_is_said_nearest_counts() {
        let file = Path::new("/etc/kubeconfig");
        let choose = |file, master, in_pod| Access::choose(file, master, in_pod).unwrap();
        let kubeconfig = |master: Option<&str>| Access::Kubeconfig {
            file: file.into(),
            master: master.map(Into::into),
        };
        assert_eq!(choose(Some(file), None, true), kubeconfig(None));
        assert_eq!(choose(Some(file), Some("http://x"), true), kubeconfig(Some("http://x")));
        assert_eq!(choose(None, Some("http://x"), true), Access::Master("http://x".to_owned()));
        assert_eq!(choose(None, Some(""), true), Access::InCluster);
        let nowhere = Access::choose(None, None, false).unwrap_err().to_string();
        for way in ["--kubeconfig", "--master", "--manifests", "KUBERNETES_SERVICE_HOST"] {
            assert!(nowhere.contains(way), "{nowhere}");
        }
    }

    #[test]
    fn a_kubeconfig_is_read_and_its_server_replaced() {
        // The CA's file is read when a connection is made, and again from then on.
        let inline =
            KUBECONFIG.replace("certificate-authority: ca.crt", "insecure-skip-tls-verify: true");
        let there = config(&inline, None).unwrap();
        assert_eq!(there.cluster_url.to_string(), "http://10.0.0.1:6443/");
        assert_eq!(there.root_cert_file, None);
        let elsewhere = config(&inline, Some("https://[::1]:7")).unwrap();
        assert_eq!(elsewhere.cluster_url.to_string(), "https://[::1]:7/");
    }

    #[test]
    fn the_file_of_a_ca_is_followed() {
        let file = written(KUBECONFIG);
        let kubeconfig = Kubeconfig::read_from(file.path()).unwrap();
        let expected = file.path().parent().unwrap().join("ca.crt");
        assert_eq!(authority_file(&kubeconfig), Some(expected));
        let data = KUBECONFIG.replace("certificate-authority:", "certificate-authority-data:");
        let kubeconfig = Kubeconfig::read_from(written(&data).path()).unwrap();
        assert_eq!(authority_file(&kubeconfig), None);
    }

    #[test]
    fn a_token_file_may_end_in_a_newline() {
        for (token, is_taken_out) in [("t", false), ("t\n", true), (" t\r\n\n", true)] {
            let token = written(token);
            let users = format!("{{tokenFile: '{}'}}", token.path().display());
            let text = KUBECONFIG.replace("{token: t}", &users);
            let mut kubeconfig = Kubeconfig::read_from(written(&text).path()).unwrap();
            trim_tokens(&mut kubeconfig);
            // A token shows itself to nobody but who writes it down.
            let user = serde_json::to_value(&kubeconfig.auth_infos[0].auth_info).unwrap();
            assert_eq!(user["token"] == "t", is_taken_out, "{user}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_in_a_line() {
        for (text, master, expected) in [
            ("{", None, "cannot use kubeconfig FILE: failed to parse kubeconfig YAML"),
            (
                "apiVersion: v1\nkind: Config\n",
                None,
                "cannot use kubeconfig FILE: failed to determine",
            ),
            (KUBECONFIG, None, "cannot use kubeconfig FILE: failed to load certificate authority"),
            (
                &KUBECONFIG.replace("context: c\n", "context: d\n"),
                None,
                "cannot use kubeconfig FILE: failed to load current context: d",
            ),
            (
                &KUBECONFIG.replace(", certificate-authority: ca.crt", ""),
                Some("http://a b"),
                "cannot use --master http://a b: invalid uri character",
            ),
        ] {
            let told = config(text, master).unwrap_err();
            assert!(told.starts_with(expected) && !told.contains('\n'), "{told}");
        }
        let missing = Access::choose(Some(Path::new("/nowhere")), None, false).unwrap();
        let told = missing.config().unwrap_err().to_string();
        assert!(told.starts_with("cannot use kubeconfig /nowhere: "), "{told}");
        assert!(told.ends_with("No such file or directory (os error 2)"), "{told}");
    }
}
