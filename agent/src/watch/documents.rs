//! Takes the text of a file apart into documents and reads each.
//!
//! PURE. A document that cannot be read costs no other: YAML is split at its
//! document markers first, which need no understanding of what is between them.

use serde_json::Value;

/// Bigger files are not read. 44,000 Services are about 50 MB of YAML.
pub const FILE_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Documents past this many are not read.
pub const DOCUMENTS_MAX: usize = 1_000_000;
/// Scalars, lists and mappings of one document: more than fit in a file of the
/// greatest size.
const NODES_MAX: usize = 40_000_000;
/// Parts of a document that may have a name for aliases. Aliases multiply what
/// they stand for ("YAML bombs"), so this is far lower.
const ANCHORED_MAX: usize = 50_000;
/// Parts of a document that aliases may stand for, all together: a million
/// take the reader seconds.
const REPLAYED_MAX: usize = 50_000;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML, one or more documents.
    Yaml,
    /// JSON, one or more values.
    Json,
}

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its place in the file, from 1.
    pub number: usize,
    /// What it holds, or why it could not be read.
    pub value: Result<Value, String>,
}

/// Reads the documents of a file; empty ones are skipped.
#[must_use]
pub fn read(text: &str, format: Format) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let values: Vec<_> = match format {
        Format::Yaml => split(text).map(|chunk| read_yaml(&chunk)).collect(),
        Format::Json => read_json(text),
    };
    let numbered = values.into_iter().zip(1..).map(|(value, number)| Document { number, value });
    numbered.filter(|document| document.value != Ok(Value::Null)).collect()
}

/// A stretch of YAML with one document in it.
struct Chunk<'a> {
    lines_before: u64,
    text: &'a str,
}

/// Splits YAML at the lines that begin or end a document. Such a line can be
/// nothing else, not even inside a quoted text (YAML 1.2, 9.1.4).
fn split(text: &str) -> impl Iterator<Item = Chunk<'_>> {
    let mut chunks = vec![Chunk { lines_before: 0, text: "" }];
    let (mut begin, mut end) = (0, 0);
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let is_begin = is_marker(line, "---");
        if is_begin || is_marker(line, "...") {
            begin = if is_begin { end } else { end + line.len() };
            let lines_before = if is_begin { number - 1 } else { number };
            chunks.push(Chunk { lines_before, text: "" });
        }
        end += line.len();
        if let Some(chunk) = chunks.last_mut() {
            chunk.text = &text[begin..end];
        }
    }
    chunks.into_iter().filter(|chunk| !is_blank(chunk.text)).take(DOCUMENTS_MAX + 1)
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Nothing but comments, directives and markers.
fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim_start();
        line.is_empty() || line.starts_with('#') || line.starts_with('%')
    })
}

fn read_yaml(chunk: &Chunk<'_>) -> Result<Value, String> {
    serde_saphyr::from_str_with_options(chunk.text, yaml_options())
        .map_err(|error| yaml_problem(&error, chunk.lines_before))
}

/// How YAML is read, here and in the configuration file.
pub(crate) fn yaml_options() -> serde_saphyr::Options {
    let budget = serde_saphyr::budget! {
        max_nodes: NODES_MAX,
        max_events: 2 * NODES_MAX,
        max_total_scalar_bytes: FILE_MAX_BYTES,
        max_total_comment_bytes: FILE_MAX_BYTES,
        max_recorded_anchor_events: ANCHORED_MAX,
    };
    serde_saphyr::options! {
        budget: budget,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: REPLAYED_MAX },
        emit_comments: false,
        leading_zero_numbers_as_strings: true,
        // A Node may be called `n` and a namespace `no`.
        strict_booleans: true,
        with_snippet: false,
    }
}

/// What the reader of YAML complains of, on one line.
pub(crate) fn yaml_problem(error: &serde_saphyr::Error, lines_before: u64) -> String {
    let options = serde_saphyr::render_options! {
        formatter: &serde_saphyr::UserMessageFormatter,
        snippets: serde_saphyr::SnippetMode::Off,
        line_offset: lines_before,
    };
    error.render_with_options(options).replace('\n', " ")
}

/// JSON values one after another. What follows a broken one is not found again.
fn read_json(text: &str) -> Vec<Result<Value, String>> {
    serde_json::Deserializer::from_str(text)
        .into_iter()
        .take(DOCUMENTS_MAX + 1)
        .map(|value| value.map_err(|error| error.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, format: Format) -> String {
        let told = read(text, format).into_iter().map(|document| match document.value {
            Ok(value) => format!("{} {value}", document.number),
            Err(problem) => format!("{} ERROR {problem}", document.number),
        });
        told.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn splits_at_markers_alone() {
        let text = "\u{feff}# head\n%YAML 1.2\n---\na: |\n  ---\n  text\n--- # two\n- 1\n...\n---\n\n\
                    --- {b: \"x\"}\r\n---\r\nc: 3\n";
        assert_eq!(
            told(text, Format::Yaml),
            "1 {\"a\":\"---\\ntext\\n\"}\n2 [1]\n3 {\"b\":\"x\"}\n4 {\"c\":3}"
        );
    }

    #[test]
    fn a_broken_document_costs_no_other() {
        let text = "a: 1\n---\nb: [1\n---\nc: 1\nc: 2\n---\nd: 4\n";
        assert_eq!(
            told(text, Format::Yaml),
            "1 {\"a\":1}\n2 ERROR unclosed bracket '[' at line 3, column 4\n\
             3 ERROR duplicate mapping key `c` is not allowed here at line 6, column 1\n\
             4 {\"d\":4}"
        );
    }

    #[test]
    fn a_bomb_is_told_and_not_set_off() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..10 {
            let below = format!("*a{},", level - 1).repeat(9);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(told(&bomb, Format::Yaml).starts_with("1 ERROR YAML document too large"));
        let flat = format!("a: &a [{}]\nb: [{}]", "x,".repeat(1000), "*a,".repeat(1000));
        assert!(told(&flat, Format::Yaml).contains("total_replayed_events=50"), "{flat}");
        let deep = "[".repeat(100_000);
        assert!(told(&deep, Format::Yaml).starts_with("1 ERROR "));
        assert!(told(&deep, Format::Json).starts_with("1 ERROR recursion limit exceeded"));
    }

    #[test]
    fn scalars_keep_their_kind() {
        let text = "ip: 010.000.0.5\nport: 080\nbig: 99999999999999999999\nno: no\nv6: fd00::1\n\
                    time: 2024-01-01T00:00:00Z\nnone: ~\n1: one\n";
        assert_eq!(
            told(text, Format::Yaml),
            "1 {\"1\":\"one\",\"big\":1e+20,\"ip\":\"010.000.0.5\",\"no\":\"no\",\"none\":null,\
             \"port\":\"080\",\"time\":\"2024-01-01T00:00:00Z\",\"v6\":\"fd00::1\"}"
        );
    }

    #[test]
    fn json_values_follow_one_another() {
        assert_eq!(told("{\"a\":1}\n[2]\n", Format::Json), "1 {\"a\":1}\n2 [2]");
        assert_eq!(
            told("{\"a\":1} {", Format::Json),
            "1 {\"a\":1}\n2 ERROR EOF while parsing an object at line 1 column 9"
        );
    }
}
