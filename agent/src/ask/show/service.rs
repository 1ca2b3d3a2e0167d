//! One Service, for people.

use std::fmt::Write as _;

use super::table::Grid;
use crate::ask::service::{Asks, FrontendAnswer, PortAnswer, ServiceAnswer};
use crate::compile::{Reach, Tier, Way};
use crate::model::Strict;

impl ServiceAnswer {
    /// For people, in so many columns of a terminal.
    #[must_use]
    pub fn show(&self, columns: Option<usize>) -> String {
        let mut text = String::new();
        let of_node = super::of_node(&self.node, self.zone.as_ref());
        let _ = writeln!(text, "{} {of_node}", self.service);
        for (word, what) in self.asks.words() {
            let _ = writeln!(text, "  {word:<12} {what}");
        }
        if let Some(seconds) = self.affinity_s {
            let _ = writeln!(
                text,
                "  {:<12} a client keeps its endpoint until {seconds} s after its last connection",
                "affinity"
            );
        }
        let _ = writeln!(text, "  {:<12} {}", "connections", self.counted());
        for note in &self.notes {
            let _ = writeln!(text, "  {:<12} {note}", "note");
        }
        for port in &self.ports {
            port.write(&mut text, columns);
        }
        text
    }

    fn counted(&self) -> String {
        let counted = self.connections.by_locality().into_iter();
        let words = counted.filter_map(|(word, count)| Some(format!("{word} {}", count?)));
        let words: Vec<String> = words.collect();
        if words.is_empty() { "not counted".to_owned() } else { words.join(", ") }
    }
}

impl Asks {
    /// What is asked for and what counts, word by word.
    fn words(&self) -> Vec<(&'static str, String)> {
        let (internal, external) = (&self.internal_traffic_policy, &self.external_traffic_policy);
        let mut asked = Vec::new();
        if self.topology_mode_auto {
            asked.push("topology-mode Auto".to_owned());
        }
        let told = [
            ("trafficDistribution", &self.traffic_distribution),
            ("annotation", &self.annotation),
            ("annotation of the Namespace", &self.namespace_annotation),
        ];
        asked.extend(told.iter().filter_map(|(by, what)| Some(format!("{by} {}", what.as_ref()?))));
        asked.extend(self.strict.map(|strict| match strict {
            Strict::Zone => "strict: the zone".to_owned(),
            Strict::Region => "strict: the region".to_owned(),
        }));
        asked.extend(self.spill.iter().map(|spill| format!("spill {spill}")));
        if asked.is_empty() {
            asked.push("nothing but policies".to_owned());
        }
        let counts = match self.counts.as_str() {
            "traffic_distribution" => "trafficDistribution",
            "annotation" => "the annotation",
            "namespace_annotation" => "the Namespace's annotation",
            _ => "hints, all or none",
        };
        vec![
            ("policies", format!("internal {internal}, external {external}")),
            ("asks for", asked.join(", ")),
            ("decided by", counts.to_owned()),
        ]
    }
}

impl PortAnswer {
    fn write(&self, text: &mut String, columns: Option<usize>) {
        let name = if self.port.is_empty() { String::new() } else { format!("{}/", self.port) };
        let _ = writeln!(text, "\n{name}{} {}", self.protocol, self.family);
        for pool in &self.pools {
            let reach = match pool.reach {
                Reach::Cluster => "cluster",
                Reach::Local => "local",
            };
            let tier = pool.tier.map_or("-", Tier::word);
            let _ = writeln!(text, "  {reach:<12} {}", pool.because);
            let _ = writeln!(
                text,
                "  {:<12} endpoints {}, tier {tier}, reason {}",
                "", pool.endpoints, pool.reason
            );
            if let Some(spoiler) = &pool.spoiler {
                let _ = writeln!(text, "  {:<12} {spoiler} has no hint", "spoiler");
            }
        }
        let frontends = Grid {
            header: ["frontend", "by", "what happens"],
            numbers: &[],
            gives_way: &[],
            rows: self.frontends.iter().map(frontend).collect(),
        };
        let endpoints = Grid {
            header: ["", "distance", "endpoint", "node", "zone", "state"],
            numbers: &[],
            gives_way: &[3, 4],
            rows: self.endpoint_rows(),
        };
        // A blank before each line.
        let room = columns.map(|columns| columns.saturating_sub(1));
        let (frontends, endpoints) = (frontends.lines(room), endpoints.lines(room));
        for line in frontends.iter().chain(&endpoints) {
            let _ = writeln!(text, " {line}");
        }
    }

    fn endpoint_rows(&self) -> Vec<[String; 6]> {
        let mut rows = Vec::new();
        let dash = || "-".to_owned();
        for group in &self.endpoints {
            for (place, endpoint) in group.endpoints.iter().enumerate() {
                let used = match &endpoint.used_by[..] {
                    [] => "",
                    // Traffic under policy Local alone goes there.
                    [Reach::Local] if self.pools.len() > 1 => "l",
                    _ => "*",
                };
                rows.push([
                    used.to_owned(),
                    if place == 0 { group.distance.to_string() } else { String::new() },
                    endpoint.endpoint.clone(),
                    endpoint.node.as_ref().map_or_else(dash, ToString::to_string),
                    endpoint.zone.as_ref().map_or_else(dash, ToString::to_string),
                    endpoint.life.clone(),
                ]);
            }
        }
        rows
    }
}

fn frontend(frontend: &FrontendAnswer) -> [String; 3] {
    let by = match frontend.way {
        Way::ClusterIp => "ClusterIP",
        Way::LoadBalancer => "load balancer",
        Way::ExternalIp => "external IP",
        Way::ServiceEntry => "ServiceEntry",
        Way::NodePort => "NodePort",
    };
    let mut does = match (frontend.does.as_str(), frontend.masquerade.as_deref()) {
        ("forward", Some("all")) => "forward; source replaced".to_owned(),
        ("forward", Some("not_pods")) => "forward; source kept for pods here".to_owned(),
        ("forward", _) => "forward; source kept".to_owned(),
        ("by_origin", _) => "pods here, node: cluster; others: local".to_owned(),
        ("drop", _) => "drop: only others have endpoints".to_owned(),
        ("reject", _) => "reject: nobody has endpoints".to_owned(),
        (other, _) => other.to_owned(),
    };
    if let Some(sources) = &frontend.sources {
        let _ = write!(does, "; only from {}", sources.join(" "));
    }
    [frontend.address.clone(), by.to_owned(), does]
}
