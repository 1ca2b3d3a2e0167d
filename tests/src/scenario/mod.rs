//! Scenarios as text: a cluster, what happens to it, some packets, and what
//! one node makes of all that. `tests/scenarios/README.md` says how to read one.
//!
//! A scenario is run step by step, as an agent would live through it. Its
//! `expect` sections are compared, or written anew. Whatever they say, the
//! oracle must agree with every trace, and every step with a start from nothing.

mod node;
mod packet;
mod words;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use closeby::compile::Facts;
use closeby::model::{Admission, Change, Cluster, Dirty, Note, ServiceName, SliceName};
use closeby::watch::documents::Format;
use closeby::watch::folder;
use closeby_nft::Ruleset;

use crate::made::Made;
use crate::oracle::Oracle;
use crate::traced::Traced;
use packet::Packet;

/// Where a section begins: `=== objects`.
const MARK: &str = "=== ";

/// The node that a scenario is about.
#[derive(Clone, Debug)]
pub struct Setting {
    facts: Arc<Facts>,
    addresses: BTreeSet<IpAddr>,
    /// Whether the first step shows whole tables.
    whole_tables: bool,
}

/// One section of a scenario's text.
#[derive(Clone, Debug)]
struct Section<'a> {
    /// What stands behind the mark.
    title: &'a str,
    /// The lines up to the next mark.
    body: String,
    /// The line of the mark, counted from 1.
    line: usize,
}

/// The text of a scenario as it should be: the one given, with every `expect`
/// section as it turned out.
///
/// # Errors
/// What cannot be read, and where; or what must not be, whatever is expected.
pub fn run(text: &str) -> Result<String, String> {
    let (prose, sections) = split(text);
    let mut run = Run::new();
    let mut out = prose.to_owned();
    for section in &sections {
        let at = |problem: String| format!("line {}: {problem}", section.line);
        match section.title {
            "node" => run.set(node::read(&section.body).map_err(at)?),
            "packets" => run.packets = packet::read_all(&section.body).map_err(at)?,
            "expect" => continue,
            title if title == "objects" || title.starts_with("then ") => {
                run.step(&section.body).map_err(at)?;
                section.push_to(&mut out);
                out.push_str(&format!("{MARK}expect\n{}\n", run.expected().map_err(at)?));
                continue;
            }
            other => return Err(at(format!("there is no section {other:?}"))),
        }
        section.push_to(&mut out);
    }
    Ok(out.trim_end().to_owned() + "\n")
}

/// The tables after each step.
///
/// # Errors
/// What cannot be read, and where.
pub fn rulesets(text: &str) -> Result<Vec<Ruleset>, String> {
    let mut run = Run::new();
    let mut rulesets = Vec::new();
    for section in split(text).1 {
        match section.title {
            "node" => run.set(node::read(&section.body)?),
            "packets" | "expect" => {}
            _ => {
                run.step(&section.body)?;
                rulesets.push(run.made.ruleset().clone());
            }
        }
    }
    Ok(rulesets)
}

impl Section<'_> {
    fn push_to(&self, out: &mut String) {
        out.push_str(&format!("{MARK}{}\n{}\n\n", self.title, self.body.trim_end()));
    }
}

/// The lines before the first section, and the sections.
fn split(text: &str) -> (&str, Vec<Section<'_>>) {
    let prose_end = if text.starts_with(MARK) {
        0
    } else {
        text.find(&format!("\n{MARK}")).map_or(text.len(), |newline| newline + 1)
    };
    let (prose, rest) = text.split_at(prose_end);
    let mut sections: Vec<Section<'_>> = Vec::new();
    for (number, line) in (prose.lines().count() + 1..).zip(rest.lines()) {
        match (line.strip_prefix(MARK), sections.last_mut()) {
            (Some(title), _) => {
                sections.push(Section { title: title.trim(), body: String::new(), line: number });
            }
            (None, Some(section)) => {
                section.body.push_str(line);
                section.body.push('\n');
            }
            (None, None) => {}
        }
    }
    (prose, sections)
}

/// A scenario while it runs.
struct Run {
    setting: Setting,
    packets: Vec<Packet>,
    cluster: Cluster,
    made: Made,
    /// What was there before the last step.
    before: Made,
    notes: Vec<Note>,
    step_count: u32,
}

impl Run {
    fn new() -> Self {
        let setting = node::default();
        let made = Made::at_once(&Cluster::default(), &setting.facts);
        Self {
            packets: Vec::new(),
            cluster: Cluster::default(),
            before: made.clone(),
            made,
            setting,
            notes: Vec::new(),
            step_count: 0,
        }
    }

    fn set(&mut self, setting: Setting) {
        self.setting = setting;
        self.made = self.made.next(&self.cluster, &self.setting.facts, &Dirty::default());
    }

    /// Takes in what a step says: `delete KIND NAMESPACE/NAME` lines, then manifests.
    fn step(&mut self, body: &str) -> Result<(), String> {
        let (deletions, manifests): (Vec<&str>, Vec<&str>) =
            body.lines().partition(|line| line.starts_with("delete "));
        let mut dirty = Dirty::default();
        for line in deletions {
            let gone = deletion(line)?;
            let touched = self.cluster.apply(gone);
            if touched.is_empty() {
                return Err(format!("{line:?} deletes nothing"));
            }
            dirty.merge(touched);
        }
        for change in self.read(&manifests.join("\n")) {
            dirty.merge(self.cluster.apply(change));
        }
        self.step_count += 1;
        Arc::make_mut(&mut self.setting.facts).service_cidrs = self.cluster.service_cidrs();
        let next = self.made.next(&self.cluster, &self.setting.facts, &dirty);
        self.before = std::mem::replace(&mut self.made, next);
        let at_once = Made::at_once(&self.cluster, &self.setting.facts);
        if self.made.ruleset() != at_once.ruleset() || !self.made.plan.decides_as(&at_once.plan) {
            return Err("this step leads elsewhere than a start from nothing".to_owned());
        }
        Ok(())
    }

    fn read(&mut self, manifests: &str) -> Vec<Change> {
        let path: Arc<str> = "objects".into();
        let content =
            folder::read_file(&path, manifests, Format::Yaml, &Admission::default(), None);
        let world = folder::assemble(&[(path, Arc::new(content))].into());
        self.notes.clone_from(&world.notes);
        // Its Service may have come in an earlier step.
        self.notes.retain(|note| !note.problem.starts_with("there is no Service"));
        for note in &mut self.notes {
            note.object.file = None;
        }
        folder::diff(None, &world)
    }

    /// The text of an `expect` section.
    fn expected(&self) -> Result<String, String> {
        let mut out = String::new();
        words::notes(&mut out, self.notes.iter());
        words::plan(&mut out, &self.made.plan);
        if self.step_count == 1 && self.setting.whole_tables {
            words::tables(&mut out, self.made.ruleset());
        } else {
            words::elements(&mut out, self.before.ruleset(), self.made.ruleset());
        }
        self.traces(&mut out)?;
        Ok(out)
    }

    fn traces(&self, out: &mut String) -> Result<(), String> {
        if self.packets.is_empty() {
            return Ok(());
        }
        let facts = &self.setting.facts;
        let addresses = &self.setting.addresses;
        let oracle = Oracle { cluster: &self.cluster, facts, addresses };
        let traced = Traced::new(self.made.ruleset(), addresses).weighing(&self.made.plan);
        out.push_str("packets\n");
        for packet in &self.packets {
            let told = |problem| format!("{}: {problem}", packet.text);
            let decision = traced.decision(&packet.probe).map_err(told)?;
            let oracle = oracle.decide(&packet.probe);
            if decision != oracle {
                let (rules, oracle) = (words::decision(&decision), words::decision(&oracle));
                return Err(told(format!("the rules say: {rules}; the oracle says: {oracle}")));
            }
            out.push_str(&format!("  {}\n      {}\n", packet.text, words::decision(&decision)));
        }
        Ok(())
    }
}

/// The change in `delete KIND NAMESPACE/NAME`.
fn deletion(line: &str) -> Result<Change, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, kind, name] = words[..] else {
        return Err(format!("{line:?} is not `delete KIND NAMESPACE/NAME`"));
    };
    let (namespace, name) = name.split_once('/').ok_or_else(|| format!("{name} has no '/'"))?;
    match kind {
        "Service" => Ok(Change::ServiceGone(ServiceName::new(namespace, name))),
        "ServiceCIDR" => Ok(Change::ServiceCidrGone(name.into())),
        "Namespace" => Ok(Change::NamespaceGone(name.into())),
        "EndpointSlice" => Ok(Change::SliceGone(SliceName::new(namespace, name))),
        other => Err(format!("no {other} can be deleted here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "A story.\n\n=== objects\n\n=== packets\n10.244.1.5 via cbr0 -> 10.96.0.1:80/tcp\n\n=== then nothing\n\n=== expect\nlies\n";

    #[test]
    fn expectations_are_written_anew_and_nothing_else() {
        let out = run(TEXT).unwrap();
        assert!(out.starts_with("A story.\n\n=== objects\n\n\n=== expect\n"), "{out}");
        assert!(out.ends_with("-> 10.96.0.1:80/tcp\n      not for a Service\n"), "{out}");
        assert!(!out.contains("lies"), "{out}");
        assert_eq!(run(&out).unwrap(), out);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        let cases = [
            ("=== object\n", "line 1: there is no section \"object\""),
            ("\n=== node\nmood: bad\n", "line 2: there is no setting \"mood\""),
            ("=== packets\n1.2.3.4\n", "line 1: \"1.2.3.4\" is no packet"),
            ("=== objects\ndelete Service a/b\n", "line 1: \"delete Service a/b\" deletes nothing"),
        ];
        for (text, problem) in cases {
            let told = run(text).unwrap_err();
            assert!(told.starts_with(problem), "{told}");
        }
    }
}
