//! What the API server sends: a line of a watch, and a list.
//!
//! PURE. As forgiving as the objects themselves; what is left is text that is
//! no JSON, or of no type of event that there is.

use serde::Deserialize;

use super::super::loose::Loose;
use super::super::objects::{Bookmark, ListMetadata, Status};

/// The annotation of the bookmark that ends a streamed list (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// One event of a watch.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(super) enum Line<K> {
    Added(K),
    Modified(K),
    Deleted(K),
    Bookmark(Bookmark),
    Error(Status),
}

/// Why a line is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It ends too early, as the last one of a connection may.
    Cut,
    /// It is something else; in words.
    Strange(String),
}

/// Reads a line of a watch.
pub(super) fn read<K: for<'de> Deserialize<'de>>(line: &str) -> Result<Line<K>, Unread> {
    serde_json::from_str(line).map_err(|error| {
        if error.is_eof() { Unread::Cut } else { Unread::Strange(error.to_string()) }
    })
}

/// A list, or a part of one.
#[derive(Debug, Deserialize)]
#[serde(bound = "K: Deserialize<'de>")]
pub(super) struct Page<K> {
    #[serde(default)]
    metadata: Loose<ListMetadata>,
    /// Go writes an empty list as null.
    #[serde(default)]
    items: Option<Vec<K>>,
}

impl<K> Page<K> {
    /// Which state it shows; empty if it does not say.
    pub(super) fn version(&self) -> &str {
        text(self.metadata.as_option().map(|metadata| &metadata.resource_version))
    }

    /// What to ask for the next part with; empty if this is the last.
    pub(super) fn next(&self) -> &str {
        text(self.metadata.as_option().map(|metadata| &metadata.r#continue))
    }

    pub(super) fn items(self) -> Vec<K> {
        self.items.unwrap_or_default()
    }
}

/// How far a bookmark says the watch has come; empty if it does not say.
pub(super) fn bookmark_version(bookmark: &Bookmark) -> &str {
    text(bookmark.metadata.as_option().map(|metadata| &metadata.resource_version))
}

/// Whether a bookmark says that all objects that are there have been told.
pub(super) fn ends_list(bookmark: &Bookmark) -> bool {
    let annotations =
        bookmark.metadata.as_option().and_then(|metadata| metadata.annotations.as_option());
    annotations.is_some_and(|annotations| annotations.contains_key(INITIAL_EVENTS_END))
}

/// What a field holds; empty if it holds no text.
pub(super) fn text(field: Option<&Loose<String>>) -> &str {
    field.and_then(Loose::as_option).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::super::super::objects::EndpointSlice;
    use super::*;

    fn slice(line: &str) -> Result<Line<EndpointSlice>, Unread> {
        read(line)
    }

    #[test]
    fn nulls_and_wrong_types_lose_no_event() {
        for object in [
            r#"{"metadata": {"name": "a"}, "endpoints": null, "ports": null}"#,
            r#"{"metadata": null, "endpoints": 7}"#,
            r#"{"metadata": {"name": ["a"], "labels": {"x": 1}}, "endpoints": [null, 1, {"addresses": "x"}]}"#,
            "{}",
        ] {
            let line = slice(&format!(r#"{{"type": "MODIFIED", "object": {object}}}"#));
            assert!(matches!(line, Ok(Line::Modified(_))), "{object}: {line:?}");
        }
    }

    #[test]
    fn bookmarks_say_how_far_and_whether_it_is_the_end() {
        let read = |metadata: &str| {
            let line = format!(
                r#"{{"type": "BOOKMARK", "object": {{"kind": "X", "metadata": {metadata}}}}}"#
            );
            let Ok(Line::Bookmark(bookmark)) = slice(&line) else { panic!("{line}") };
            (bookmark_version(&bookmark).to_owned(), ends_list(&bookmark))
        };
        let end =
            r#"{"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}"#;
        assert_eq!(read(end), ("7".to_owned(), true));
        assert_eq!(
            read(r#"{"resourceVersion": "9", "annotations": null}"#),
            ("9".to_owned(), false)
        );
        assert_eq!(read("{}"), (String::new(), false));
    }

    #[test]
    fn what_is_no_event_is_told_from_what_was_cut() {
        assert_eq!(slice(r#"{"type": "ADDED", "object": {"metadata": {"na"#), Err(Unread::Cut));
        for line in ["nonsense", r#"{"type": "PATCHED", "object": {}}"#, r#"{"kind": "Status"}"#] {
            assert!(matches!(slice(line), Err(Unread::Strange(_))), "{line}");
        }
    }

    #[test]
    fn an_empty_list_may_be_null() {
        let page: Page<EndpointSlice> =
            serde_json::from_str(r#"{"metadata": {"resourceVersion": "3"}, "items": null}"#)
                .unwrap();
        assert_eq!((page.version(), page.next()), ("3", ""));
        assert!(page.items().is_empty());
    }
}
