//! X-23 and B-213: who the agent is, and whom it trusts, changes while it runs. The kubeconfig names
//! what it needs by where that is beside it, as kubectl writes none and people do.
//!
//! What was good is made useless each time by a start of the API server, and only then is what is
//! good now put in its place: the agent meets a server that does not know it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use closeby_tools::lab::Agent;
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::rig::{PATIENCE, Rig, SPARE, check, names, pod, service, who_at};

pub(crate) const ALL: Trials = &[
    ("an_exec_plugin_is_run_again", an_exec_plugin_is_run_again),
    ("an_exec_plugin_that_hangs_holds_up_nobody", an_exec_plugin_that_hangs_holds_up_nobody),
    ("a_certificate_and_its_authority_rotate", a_certificate_and_its_authority_rotate),
    ("a_token_file_rotates", a_token_file_rotates),
];

/// Prints what is in `token`, good for so short a time that it is asked again and again, and counts
/// that; hangs where there is `hang`.
const PLUGIN: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
echo run >>runs
[ ! -e hang ] || exec tail -f /dev/null
until=$(date -u -d "@$(($(date +%s) + 30))" +%Y-%m-%dT%H:%M:%SZ)
cat <<END
{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
 "status": {"token": "$(cat token)", "expirationTimestamp": "$until"}}
END
"#;

/// A kubeconfig, the files it names, and an agent on the spare node that uses it.
struct Home {
    folder: PathBuf,
}

impl Home {
    /// With this user, who finds the API server's certificate beside it.
    fn new(rig: &Rig<'_>, name: &str, user: &Value) -> Result<Self, Failed> {
        let home = Self { folder: rig.root.join("credentials").join(name) };
        fs::create_dir_all(home.folder.join("pki"))?;
        let server = format!("https://{}", rig.plane.address());
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{
                "name": "c", "cluster": { "server": server, "certificate-authority": "pki/ca.crt" },
            }],
            "users": [{ "name": "u", "user": user }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "x",
        });
        home.put("kubeconfig", &kubeconfig.to_string())?;
        home.trust(rig)?;
        Ok(home)
    }

    /// A file in place of what was there, as a whole.
    fn put(&self, name: &str, text: &str) -> Result<(), Failed> {
        let (to, new) = (self.folder.join(name), self.folder.join("new"));
        fs::write(&new, text)?;
        Ok(fs::rename(new, to)?)
    }

    /// The certificate that the API server shows now is to be trusted.
    fn trust(&self, rig: &Rig<'_>) -> Result<(), Failed> {
        self.put("pki/ca.crt", &fs::read_to_string(rig.plane.authority())?)
    }

    fn start(&self, rig: &Rig<'_>) -> Result<Agent, Failed> {
        let node = rig.cluster.node(SPARE);
        let mut command = rig.agent_command_by(node, &self.folder.join("kubeconfig"))?;
        let mut agent = Agent::start(node, &mut command, &self.folder.join("log"))?;
        let generation = agent.next_generation(PATIENCE)?;
        check(generation.is_some(), "a first generation", &agent.log_tail())?;
        Ok(agent)
    }

    /// Waits until the log says this.
    fn until_told(&self, rig: &mut Rig<'static>, words: &str) -> Result<(), Failed> {
        let log = self.folder.join("log");
        let told = rig.until(words, |_| Ok(fs::read_to_string(&log)?.contains(words)));
        told.map(drop).map_err(|error| format!("{error:?}; {:?}", fs::read_to_string(log)).into())
    }
}

/// A Service that comes now is served on every node, by agents that run on.
fn follows(rig: &mut Rig<'static>, agent: &mut Agent, name: &str, on: &str) -> Result<(), Failed> {
    let web = service(name, &json!({}));
    rig.apply(&[web.clone(), pod(name, rig.cluster.pod(on))])?;
    let to = rig.addresses(&web)?;
    for client in ["d2", "a3", "b3", "c3"] {
        let client = rig.cluster.pod(client);
        let met = rig.until(name, |_| Ok(who_at(client, to) == names(&[on])));
        met.map_err(|error| format!("{}: {error:?}; {}", client.name(), agent.log_tail()))?;
    }
    agent.forget_past();
    // An error if it has ended.
    agent.next_generation(std::time::Duration::ZERO)?;
    Ok(())
}

fn restart(rig: &mut Rig<'static>) -> Result<(), Failed> {
    rig.plane.stop_api();
    Ok(rig.plane.start_api()?)
}

fn with_plugin(rig: &Rig<'_>, name: &str) -> Result<Home, Failed> {
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "pki/plugin",
        "interactiveMode": "Never",
    });
    let home = Home::new(rig, name, &json!({ "exec": exec }))?;
    home.put("pki/token", &rig.plane.token())?;
    home.put("pki/plugin", PLUGIN)?;
    fs::set_permissions(home.folder.join("pki/plugin"), Permissions::from_mode(0o755))?;
    Ok(home)
}

fn runs(home: &Home) -> Result<usize, Failed> {
    Ok(fs::read_to_string(home.folder.join("pki/runs"))?.lines().count())
}

fn an_exec_plugin_is_run_again(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let home = with_plugin(rig, "exec")?;
    let mut agent = home.start(rig)?;
    follows(rig, &mut agent, "first", "a1")?;
    let before = runs(&home)?;
    rig.plane.rotate_token()?;
    restart(rig)?;
    home.until_told(rig, "does not accept the credentials")?;
    home.put("pki/token", &rig.plane.token())?;
    follows(rig, &mut agent, "second", "b1")?;
    let after = runs(&home)?;
    check(after > before, "how often it ran", &(before, after))?;
    // Nothing fails, and what it said is soon good no more.
    rig.until("it is run before that", |_| Ok(runs(&home)? > after)).map(drop)
}

/// What it said before is good all the time.
fn an_exec_plugin_that_hangs_holds_up_nobody(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let home = with_plugin(rig, "hangs")?;
    let mut agent = home.start(rig)?;
    home.put("pki/hang", "")?;
    let before = runs(&home)?;
    rig.until("it hangs", |_| Ok(runs(&home)? > before))?;
    restart(rig)?;
    follows(rig, &mut agent, "first", "a1")?;
    let log = fs::read_to_string(home.folder.join("log"))?;
    check(!log.contains("was killed"), "it hung all the time", &log)?;
    home.until_told(rig, "did not end within 30 s and was killed")?;
    fs::remove_file(home.folder.join("pki/hang"))?;
    home.until_told(rig, "the exec plugin says again who asks")?;
    follows(rig, &mut agent, "second", "b1")
}

fn a_certificate_and_its_authority_rotate(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let user = json!({ "client-certificate": "pki/client.pem", "client-key": "pki/client.pem" });
    let home = Home::new(rig, "certificate", &user)?;
    home.put("pki/client.pem", &rig.plane.rotate_certificate()?)?;
    restart(rig)?;
    let mut agent = home.start(rig)?;
    follows(rig, &mut agent, "first", "a1")?;
    let certificate = rig.plane.rotate_certificate()?;
    rig.plane.stop_api();
    rig.plane.rotate_authority()?;
    rig.plane.start_api()?;
    rig.plane.start_controllers()?;
    home.until_told(rig, "is not trusted")?;
    home.trust(rig)?;
    home.until_told(rig, "does not accept the credentials")?;
    home.put("pki/client.pem", &certificate)?;
    follows(rig, &mut agent, "second", "b1")
}

/// A file as an editor leaves it, with a newline at its end.
fn a_token_file_rotates(rig: &mut Rig<'static>) -> Result<(), Failed> {
    let home = Home::new(rig, "token", &json!({ "tokenFile": "pki/token" }))?;
    home.put("pki/token", &format!("{}\n", rig.plane.token()))?;
    let mut agent = home.start(rig)?;
    follows(rig, &mut agent, "first", "a1")?;
    rig.plane.rotate_token()?;
    restart(rig)?;
    home.until_told(rig, "does not accept the credentials")?;
    home.put("pki/token", &format!("{}\n", rig.plane.token()))?;
    follows(rig, &mut agent, "second", "b1")
}
