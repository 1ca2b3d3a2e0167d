//! Where all Nodes are is asked once somebody wants to know.

use super::*;

fn wants_more() -> Wanted {
    Wanted { by_locality: true, ..wanted() }
}

fn namespace(annotation: &str) -> Value {
    let annotations = json!({"networking.istio.io/traffic-distribution": annotation});
    json!({"metadata": {"name": "shop", "resourceVersion": "5", "annotations": annotations}})
}

fn node(name: &str, zone: &str) -> Value {
    let labels = json!({"topology.kubernetes.io/zone": zone});
    json!({"metadata": {"name": name, "resourceVersion": "5", "labels": labels}})
}

/// What is asked of Nodes' places and told of them; `service` is the first Service, and others
/// are as the script says.
fn play_with(service: &str, rest: Vec<(&'static str, Answer)>) -> String {
    let mut script: Script = vec![
        ("services", Lines(vec![service.to_owned(), end(7)], Stay)),
        ("serviceentries", refusal(404, "NotFound", "no such thing")),
    ];
    script.extend(rest);
    let follow = |link: Rc<Link>| async move {
        let wanted = wants_more();
        join(one::<Service>(&link, &wanted), by_locality(&link, &wanted)).await;
    };
    play(script, follow).text()
}

fn lines<'a>(text: &'a str, about: &[&str]) -> Vec<&'a str> {
    text.lines().filter(|line| about.iter().any(|word| line.contains(word))).collect()
}

#[test]
fn nobody_asks_and_no_node_is_looked_for() {
    let text = play_with(&added("a", 5), vec![("namespaces", Lines(vec![end(7)], Stay))]);
    let about = lines(&text, &["nodes", "Node", "all "]);
    assert_eq!(
        about[..],
        ["all Service", "all Namespace", "all ServiceEntry", "all Node (where it is)"],
        "{text}"
    );
}

#[test]
fn a_namespace_asks_and_all_nodes_are_told_before_they_are_complete() {
    let asks = event("ADDED", &namespace("PreferSameZone"));
    let nodes = vec![event("ADDED", &node("n2", "a")), end(9)];
    let text = play_with(
        &added("a", 5),
        vec![("namespaces", Lines(vec![asks, end(7)], Stay)), ("nodes", Lines(nodes, Stay))],
    );
    let about = lines(&text, &["nodes", "Node", "Locality"]);
    let [asked, told, all] = about[..] else { panic!("{text}") };
    assert_eq!((asked, all), ("> nodes: list and watch", "all Node (where it is)"));
    assert!(told.starts_with("Locality(\"n2\", "), "{told}");
}

#[test]
fn a_service_that_asks_later_is_heard() {
    let mut later = service("b", 8);
    later["metadata"]["annotations"] = json!({"closeby.dev/strict": "region"});
    let text = play_with(
        &added("a", 5),
        vec![
            ("namespaces", Lines(vec![end(7)], Stay)),
            ("services", Lines(vec![event("ADDED", &later)], Stay)),
            ("nodes", Lines(vec![event("ADDED", &node("n2", "a")), end(9)], Stay)),
        ],
    );
    let about = lines(&text, &["nodes", "Node", "Locality", "shop/b"]);
    // It is not waited for: the Service is served meanwhile.
    assert_eq!(about[..3], ["all Node (where it is)", "+ shop/b", "> nodes: list and watch"]);
}

#[test]
fn without_the_right_to_it_namespaces_are_gone_without() {
    let text = play_with(&added("a", 5), vec![("namespaces", refusal(403, "Forbidden", "no"))]);
    assert!(lines(&text, &["warn:"]).is_empty(), "{text}");
    let said = lines(&text, &["info:"]);
    assert_eq!(said.len(), 2, "{text}");
    assert!(said.iter().all(|line| line.ends_with("going on without them")), "{text}");
    assert!(text.contains("all Namespace\n"), "{text}");
}
