//! What `services`, `explain` and `top` say of the examples, written down in
//! `snapshots/answers.txt`, and that it fits. `UPDATE=1` writes it anew; then read the difference.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use closeby::ask::parts::PART;
use closeby::ask::protocol::{read_answer, write_answer};
use closeby::ask::show::View as Page;
use closeby::ask::top::Sort;
use closeby::ask::{Answer, Part, Parts, Question, answer};
use closeby::compile::{DetectLocal, Facts, Generation, compile_all};
use closeby::config::Sources;
use closeby::explain::Knowledge;
use closeby::model::{
    Change, Cluster, Endpoint, Hints, Life, Locality, NodeName, PortName, Service, ServiceName,
    ServicePort, Slice, SliceName, SlicePort,
};
use closeby::offline::View;
use closeby::render::Rendered;
use closeby::render::tables::sizes::Sizes;
use closeby_nft::{Family, L4Proto, Port};

/// What a terminal has at least.
const COLUMNS: usize = 80;

fn example(node: &str) -> View {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let file = Some(examples.join("config/proxy-config.yaml"));
    let settings = Sources { file, ..Sources::default() }.load().unwrap();
    View::of(&examples, &NodeName::from(node), &Default::default(), &settings).unwrap()
}

fn questions() -> Vec<Question> {
    let explain = Question::Explain {
        from: [10, 244, 1, 10].into(),
        to: "10.96.0.20:80/tcp".to_owned(),
        interface: None,
    };
    let service = |name: &str| Question::Service(name.to_owned());
    vec![Question::Services, service("shop/catalog"), service("ui"), explain, Question::Top]
}

#[test]
fn answers_are_as_read() {
    let mut text = String::new();
    for node in ["node-a", "node-c"] {
        let view = example(node);
        for question in questions() {
            let answer = answer(&question, &view.knowledge()).unwrap();
            let _ = writeln!(text, "--- {node}: {question:?}\n{}", answer.show(Some(COLUMNS)));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/answers.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines = known.lines().zip(text.lines()).zip(1..);
    if let Some(((known, now), line)) = lines.find(|((known, now), _)| known != now) {
        panic!("answers.txt:{line}: UPDATE=1 writes it anew\n- {known}\n+ {now}");
    }
    assert_eq!(known.len(), text.len(), "answers.txt: UPDATE=1 writes it anew");
}

/// Over the socket nothing is lost.
#[test]
fn answers_are_read_as_they_were_written() {
    let view = example("node-a");
    for question in questions() {
        let answer = answer(&question, &view.knowledge()).unwrap();
        let line = write_answer(Ok((Generation(7), &answer)));
        assert_eq!(read_answer(&question, line.as_bytes()).unwrap(), answer);
        let read = read_answer(&question, line.as_bytes()).unwrap();
        let json = |answer: &Answer| serde_json::to_string_pretty(answer).unwrap();
        assert_eq!(json(&read), json(&answer));
    }
}

/// A Service with names as long as the API takes them, that has all a row can show.
fn long() -> (Cluster, Arc<Facts>) {
    let name = |letter: &str, length| letter.repeat(length);
    let service = ServiceName::new(&name("n", 63), &name("s", 63));
    let (port, number) = (PortName::from(&*name("p", 15)), Port::new(8080).unwrap());
    let proto = L4Proto::Sctp;
    let mut cluster = Cluster::default();
    cluster.apply(Change::Service(Service {
        cluster_ips: vec!["fd00:1111:2222:3333:4444:5555:6666:7777".parse().unwrap()],
        ports: vec![ServicePort { name: port.clone(), proto, port: number, node_port: None }],
        ..Service::new(service.clone())
    }));
    let endpoint = |last: u16| Endpoint {
        addr: std::net::Ipv6Addr::new(0xfd00, 1, 2222, 3333, 4444, 5555, 6666, last).into(),
        node: Some(NodeName::from(&*name("o", 63))),
        zone: Some((&*name("z", 30)).into()),
        hints: Hints { zones: Some(Arc::new(vec![(&*name("y", 30)).into()])), nodes: None },
        life: Life::Ready,
    };
    cluster.apply(Change::Slice(Slice {
        name: SliceName::new("n", "s"),
        service,
        family: Family::Ip6,
        ports: vec![SlicePort { name: port, proto, port: number }],
        endpoints: (0..1000).map(|number| endpoint(number + 1000)).collect(),
        localities: Box::default(),
        triggered: None,
    }));
    let locality = Locality { zone: Some((&*name("x", 30)).into()), ..Locality::default() };
    (cluster, Arc::new(Facts { locality, ..Facts::new("node-1".into()) }))
}

#[test]
fn tables_fit_a_terminal() {
    let (cluster, facts) = long();
    let plan = compile_all(&cluster, &facts);
    let rendered = Rendered::nothing(Sizes::default()).next(&plan);
    let known =
        Knowledge { cluster: &cluster, plan: &plan, rendered: &rendered, addresses: [].into() };
    let widest = |question: &Question| {
        let text = answer(question, &known).unwrap().show(Some(COLUMNS));
        // Tables alone: what is said in words may be broken by the terminal.
        let rows = text.lines().filter(|line| line.contains('…'));
        let widths: Vec<usize> = rows.map(|line| line.chars().count()).collect();
        assert!(!widths.is_empty(), "nothing is shortened:\n{text}");
        (widths.into_iter().max(), text)
    };
    let name = format!("{}/{}", "n".repeat(63), "s".repeat(63));
    for question in [Question::Services, Question::Service(name), Question::Top] {
        let (widest, text) = widest(&question);
        assert!(widest <= Some(COLUMNS), "{widest:?}\n{}", &text[..2000.min(text.len())]);
    }
}

#[test]
fn a_page_of_top_is_as_long_as_the_terminal() {
    let view = example("node-a");
    let Answer::Top(top) = answer(&Question::Top, &view.knowledge()).unwrap() else { panic!() };
    let page = Page { sort: Sort::Name, columns: Some(COLUMNS), lines: Some(4) };
    let text = top.show(page);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.lines().last().unwrap().contains("shop/catalog"), "{text}");
    let lines = |trouble| top.page(page, trouble);
    assert_eq!(lines(None).len(), 4);
    assert_eq!(
        lines(None)[3],
        "by name; sort: x share, n name, e endpoints, c connections; q quits"
    );
    let trouble = "t".repeat(COLUMNS + 1);
    assert_eq!(lines(Some(&trouble))[3], trouble[1..]);
}

/// Between two parts the cluster may change: what is told of before and after is told of once.
#[test]
fn a_list_in_parts_has_each_service_once() {
    const SERVICES: u8 = 200;
    let facts = Arc::new(Facts::new("node-1".into()));
    let service = |number: u8| {
        let port = Port::new(80).unwrap();
        let (name, proto) = (PortName::from(""), L4Proto::Tcp);
        Change::Service(Service {
            cluster_ips: vec![[10, 96, 0, number].into()],
            ports: vec![ServicePort { name, proto, port, node_port: None }],
            ..Service::new(ServiceName::new("shop", &format!("web-{number:03}")))
        })
    };
    let mut cluster = Cluster::default();
    (0..SERVICES).for_each(|number| _ = cluster.apply(service(number)));
    for question in [Question::Services, Question::Top] {
        let (mut parts, mut count) = (Parts::of(question), 0);
        let answer = loop {
            count += 1;
            let plan = compile_all(&cluster, &facts);
            let rendered = Rendered::nothing(Sizes::default());
            let addresses = [].into();
            let known =
                Knowledge { cluster: &cluster, plan: &plan, rendered: &rendered, addresses };
            match parts.next(&known).unwrap() {
                Part::Whole(answer) => break answer,
                Part::More => {}
                copied @ Part::Copy(_) => panic!("{copied:?}"),
            }
            // The last one that was told of goes.
            let last = ServiceName::new("shop", &format!("web-{:03}", PART - 1));
            cluster.apply(Change::ServiceGone(last));
        };
        assert_eq!(count, 2);
        let names: Vec<String> = match answer {
            Answer::Services(all) => all.ports.into_iter().map(|row| row.service).collect(),
            Answer::Top(all) => all.services.into_iter().map(|row| row.service).collect(),
            other => panic!("{other:?}"),
        };
        let once: BTreeSet<&String> = names.iter().collect();
        assert_eq!((names.len(), once.len()), (usize::from(SERVICES), usize::from(SERVICES)));
        cluster.apply(service(u8::try_from(PART - 1).unwrap()));
    }
}

/// Told as the rules do it: where pods cannot be told from others, all keep their source.
#[test]
fn whose_source_is_replaced() {
    let (cluster, facts) = long();
    let pods = |prefix: &str| DetectLocal::Sources(vec![prefix.parse().unwrap()]);
    for (detect_local, masquerade_all, expected) in [
        (pods("fd00:10::/48"), false, "not_pods"),
        (pods("10.0.0.0/8"), false, "nobody"),
        (DetectLocal::Unknown, false, "nobody"),
        (DetectLocal::Unknown, true, "all"),
    ] {
        let plan = compile_all(
            &cluster,
            &Arc::new(Facts { detect_local, masquerade_all, ..(*facts).clone() }),
        );
        let rendered = Rendered::nothing(Sizes::default());
        let addresses = [].into();
        let known = Knowledge { cluster: &cluster, plan: &plan, rendered: &rendered, addresses };
        let question = Question::Service("s".repeat(63));
        let Answer::Service(told) = answer(&question, &known).unwrap() else { panic!() };
        assert_eq!(told.ports[0].frontends[0].masquerade.as_deref(), Some(expected));
    }
}
