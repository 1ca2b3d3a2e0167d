//! OpenMetrics as Prometheus' older text format (0.0.4), the one that kube-proxy
//! speaks whatever it is asked for: other agents than Prometheus may read no other.
//!
//! PURE.

/// The same metrics in the older format. What differs: a counter's head has the
/// name that its samples have, a bucket's bound is written without `.0`, and there
/// is no end mark.
pub(super) fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = head(line) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                text += &format!("# HELP {name}{suffix} {help}\n");
            }
            text += &format!("# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text += &sample(line);
            text.push('\n');
        }
    }
    text
}

/// The name and the kind that a line tells.
fn head(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

/// A bound as Go writes it.
fn sample(line: &str) -> String {
    match line.split_once("le=\"").and_then(|(before, after)| {
        let (bound, rest) = after.split_once('"')?;
        Some((before, bound.strip_suffix(".0")?, rest))
    }) {
        Some((before, bound, rest)) => format!("{before}le=\"{bound}\"{rest}"),
        None => line.to_owned(),
    }
}
