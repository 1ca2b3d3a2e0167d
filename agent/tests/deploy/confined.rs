//! Runs a program under the seccomp filter that a container runtime gives a container without further
//! privilege (`RuntimeDefault`), with one difference: what that refuses, ends the program.
//!
//! As a runtime does it, the filter is the last thing before the program itself: this suite's own
//! program is run once more, with [`FLAG`] and the command line.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use seccompiler::{BpfProgram, TargetArch, apply_filter, compile_from_json};
use serde::Deserialize;
use serde_json::{Value, json};

/// Says that a command line follows.
pub(crate) const FLAG: &str = "--confined";

/// The published profile.
const PROFILE: &str = include_str!("seccomp.yaml");
/// "No such system call."
const ENOSYS: u32 = 38;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    allowed: Vec<String>,
    allowed_on: BTreeMap<String, Vec<String>>,
    sockets_up_to: u32,
    sockets_without: Vec<u32>,
    personalities: Vec<u32>,
    clone_without: u32,
    not_there: Vec<String>,
}

/// Runs this command line in place of this program.
pub(crate) fn run(words: &[String]) -> ExitCode {
    let why = confine().err().unwrap_or_else(|| replace(words));
    eprintln!("{FLAG}: {why}");
    ExitCode::FAILURE
}

/// Why it could not be run.
fn replace(words: &[String]) -> String {
    let Some((program, arguments)) = words.split_first() else {
        return "no command line follows".to_owned();
    };
    format!("{program}: {}", Command::new(program).args(arguments).exec())
}

/// From here on, for this thread and what it becomes.
fn confine() -> Result<(), String> {
    let profile: Profile = serde_saphyr::from_str(PROFILE).map_err(|error| error.to_string())?;
    let arch = std::env::consts::ARCH;
    let target = TargetArch::try_from(arch).map_err(|error| error.to_string())?;
    // Of two filters, the stricter answer counts.
    for filter in profile.filters(arch, target)? {
        apply_filter(&filter).map_err(|error| error.to_string())?;
    }
    Ok(())
}

impl Profile {
    fn filters(&self, arch: &str, target: TargetArch) -> Result<[BpfProgram; 2], String> {
        let here = self.allowed_on.get(arch).into_iter().flatten();
        let plain = self.allowed.iter().chain(here).chain(&self.not_there);
        let mut allowed: Vec<Value> = plain.map(|name| json!({ "syscall": name })).collect();
        // The list is that of all architectures; what this one has not, nobody can call.
        allowed.retain(|rule| compiled(&json!([rule]), "kill_process", "allow", target).is_ok());
        let is = |syscall: &str, value: u32| argument(syscall, &json!("eq"), value);
        let sockets = (1..=self.sockets_up_to).filter(|it| !self.sockets_without.contains(it));
        allowed.extend(sockets.map(|family| is("socket", family)));
        allowed.extend(self.personalities.iter().map(|persona| is("personality", *persona)));
        allowed.push(argument("clone", &json!({ "masked_eq": self.clone_without }), 0));
        let absent: Vec<Value> = self.not_there.iter().map(|it| json!({ "syscall": it })).collect();
        Ok([
            compiled(&json!(allowed), "kill_process", "allow", target)?,
            compiled(&json!(absent), "allow", json!({ "errno": ENOSYS }), target)?,
        ])
    }
}

fn argument(syscall: &str, op: &Value, value: u32) -> Value {
    let args = [json!({ "index": 0, "type": "dword", "op": op, "val": value })];
    json!({ "syscall": syscall, "args": args })
}

/// What does what is named, and else the other.
fn compiled(
    rules: &Value,
    other: &str,
    named: impl Into<Value>,
    target: TargetArch,
) -> Result<BpfProgram, String> {
    let named: Value = named.into();
    let all = json!({ "it": { "mismatch_action": other, "match_action": named, "filter": rules } });
    let mut compiled =
        compile_from_json(all.to_string().as_bytes(), target).map_err(|error| error.to_string())?;
    compiled.remove("it").ok_or_else(|| "nothing compiled".to_owned())
}
