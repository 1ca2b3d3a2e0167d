//! Followers against a stand-in for the API server: a service that answers from
//! a script. Time is tokio's own and stands still but when everybody waits.

mod locality;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::{Either, join, select};
use futures::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use hyper::{Request, Response, StatusCode, Uri};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::BoxError;

use super::access::Opened;
use super::*;
use crate::model::{Admission, Kind, ObjectRef};

/// What the server does with a request.
enum Answer {
    /// Answers with this.
    Whole(u16, String),
    /// Begins to answer with these lines.
    Lines(Vec<String>, End),
    /// Cannot be reached.
    Refuse,
}

/// How lines end.
#[derive(Clone, Copy)]
enum End {
    /// The connection stays.
    Open,
    /// As the server ends a watch whose time is over.
    Close,
    /// In the middle.
    Break,
}

use Answer::{Lines, Refuse, Whole};
use End::{Break, Close, Open as Stay};

/// What is asked and what is told, a line each, and when.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Instant, String)>>>);

impl Log {
    fn add(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push((Instant::now(), line.into()));
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().iter().fold(String::new(), |mut text, (_, line)| {
            writeln!(text, "{line}").unwrap();
            text
        })
    }

    /// How long it took from one line to the next that begins so.
    fn between(&self, from: &str, to: &str) -> Duration {
        let lines = self.0.lock().unwrap();
        let place = lines.iter().position(|(_, line)| line.starts_with(from)).unwrap();
        let then = lines[place + 1..].iter().find(|(_, line)| line.starts_with(to)).unwrap();
        then.0 - lines[place].0
    }
}

/// Answers by the plural that is asked for, in order.
type Script = Vec<(&'static str, Answer)>;

/// The stand-in. When everything is answered and one more is asked, it is done.
fn server(script: Script, log: Log, done: Arc<Notify>) -> Client {
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (log, script, done) = (log.clone(), Arc::clone(&script), Arc::clone(&done));
        async move {
            log.add(format!("> {}", asked(request.uri())));
            let answer = {
                let mut script = script.lock().unwrap();
                let plural = request.uri().path().rsplit('/').next().unwrap();
                let place = script.iter().position(|(of, _)| *of == plural);
                let answer = place.and_then(|place| script.remove(place));
                if answer.is_none() && script.is_empty() {
                    done.notify_one();
                }
                answer
            };
            match answer {
                None => futures::future::pending().await,
                Some((_, Refuse)) => {
                    let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "refused");
                    Err::<_, BoxError>(refused.into())
                }
                Some((_, Whole(code, text))) => Ok(response(code, vec![text], Close)),
                Some((_, Lines(lines, end))) => Ok(response(200, lines, end)),
            }
        }
    });
    Client::new(service, "default")
}

type Chunk = Result<Frame<Bytes>, io::Error>;

fn response(
    code: u16,
    lines: Vec<String>,
    end: End,
) -> Response<StreamBody<stream::BoxStream<'static, Chunk>>> {
    use stream::StreamExt;
    let chunk = |line: String| Ok(Frame::data(Bytes::from(line)));
    let lines = stream::iter(lines.into_iter().map(chunk).collect::<Vec<Chunk>>());
    let body = match end {
        Stay => lines.chain(stream::pending()).boxed(),
        Close => lines.boxed(),
        Break => {
            let reset = io::Error::new(io::ErrorKind::ConnectionReset, "reset by peer");
            lines.chain(stream::iter([Err(reset)])).boxed()
        }
    };
    let mut response = Response::new(StreamBody::new(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn opened(client: Client) -> Opened {
    Opened { client, server: "https://api".to_owned(), expires: None }
}

/// A request in short.
fn asked(uri: &Uri) -> String {
    let plural = uri.path().rsplit('/').next().unwrap();
    let params: Vec<(&str, &str)> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|param| param.split_once('='))
        .collect();
    let param = |key| params.iter().find(|(of, _)| *of == key).map(|(_, value)| *value);
    if let (Some(one), None, None) = (param("fieldSelector"), param("limit"), param("watch")) {
        return format!("{plural}: find {one}");
    }
    match (param("watch"), param("sendInitialEvents"), param("resourceVersion")) {
        _ if params.is_empty() => format!("{plural}: write"),
        (Some(_), Some(_), _) => format!("{plural}: list and watch"),
        (Some(_), None, from) => format!("{plural}: watch from {}", from.unwrap()),
        (None, ..) => {
            let next = param("continue").map_or(String::new(), |next| format!(" from {next}"));
            format!("{plural}: list {}{next}", param("limit").unwrap())
        }
    }
}

fn told(told: Told) -> Vec<String> {
    match told {
        Told::Changes(changes) => changes.iter().map(changed).collect(),
        Told::Note(note) => vec![format!("note: {note}")],
        Told::Trouble(words) => vec![format!("warn: {words}")],
        Told::News(words) => vec![format!("info: {words}")],
    }
}

fn changed(change: &Change) -> String {
    match change {
        Change::Service(service) => format!("+ {}", service.name),
        Change::ServiceGone(name) => format!("- {name}"),
        Change::Slice(slice) => format!("+ {} of {}", slice.name, slice.endpoints.len()),
        Change::SliceGone(name) => format!("- {name}"),
        Change::Node(node) => format!("+ {}", node.name),
        Change::ServiceCidr(cidr) => format!("+ {}", cidr.name),
        Change::Listed(kind) => format!("all {kind}"),
        other => format!("{other:?}"),
    }
}

/// Plays the script; `follow` is given the way to the server.
fn play<F: Future<Output = ()>>(script: Script, follow: impl FnOnce(Rc<Link>) -> F) -> Log {
    let log = Log::default();
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let done = Arc::new(Notify::new());
        let client = server(script, log.clone(), Arc::clone(&done));
        let (sender, inbox) = unbounded_channel();
        let open: Open = Arc::new(|| Err(AccessError::Nowhere));
        let link = Rc::new(Link::new(open, opened(client), sender));
        let out = log.clone();
        let pass_on = pass_on(inbox, Recorder::silent(), move |batch| {
            batch.into_iter().flat_map(told).for_each(|line| out.add(line));
        });
        let all = Box::pin(join(follow(link), pass_on));
        let outcome = select(all, Box::pin(done.notified())).await;
        assert!(matches!(outcome, Either::Right(_)), "followers end by themselves");
    });
    log
}

fn wanted() -> Wanted {
    let (admission, guard) = (Admission::default(), Some(Guard::DEFAULT));
    Wanted {
        node: "node-a".into(),
        admission,
        guard,
        records: true,
        startup_taint: None,
        by_locality: false,
    }
}

/// What one kind's follower asks and tells.
#[track_caller]
fn check<K: Watched + 'static>(answers: Vec<Answer>, expected: &str) {
    let script = answers.into_iter().map(|answer| (K::PLURAL, answer)).collect();
    let log = play(script, |link| one::<K>(&link, &wanted()));
    let expected: String =
        expected.trim().lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(log.text().replace(&format!("> {}: ", K::PLURAL), "> "), expected);
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn service(name: &str, version: u32) -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": name, "resourceVersion": version.to_string()},
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"],
            "ipFamilies": ["IPv4"], "ports": [{"port": 80}],
        },
    })
}

fn added(name: &str, version: u32) -> String {
    event("ADDED", &service(name, version))
}

/// The bookmark that ends a streamed list.
fn end(version: u32) -> String {
    let annotations = json!({"k8s.io/initial-events-end": "true"});
    let metadata = json!({"resourceVersion": version.to_string(), "annotations": annotations});
    event("BOOKMARK", &json!({"metadata": metadata}))
}

fn bookmark(version: u32) -> String {
    event("BOOKMARK", &json!({"metadata": {"resourceVersion": version.to_string()}}))
}

/// A page of a list.
fn page(items: &[Value], version: u32, next: &str) -> Answer {
    let metadata = json!({"resourceVersion": version.to_string(), "continue": next});
    Whole(200, json!({"kind": "List", "metadata": metadata, "items": items}).to_string())
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}

fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    Whole(code, status(code, reason, message).to_string())
}

/// A streamed list of one Service, then more, until the server ends it.
fn listed(more: Vec<String>, end_of_it: End) -> Answer {
    Lines([vec![added("a", 5), end(7)], more].concat(), end_of_it)
}

const LISTED: &str = "> list and watch\n+ shop/a\nall Service\n";

#[test]
fn a_streamed_list_goes_on_as_a_watch() {
    let lines = vec![
        added("a", 6),
        added("b", 5),
        end(7),
        event("MODIFIED", &service("a", 8)),
        event("DELETED", &service("b", 9)),
        bookmark(12),
    ];
    check::<Service>(
        vec![Lines(lines, Stay)],
        "> list and watch
        + shop/a
        + shop/b
        all Service
        + shop/a
        - shop/b
        > watch from 12",
    );
}

#[test]
fn a_watch_that_ends_goes_on_where_it_was() {
    check::<Service>(
        vec![
            listed(vec![bookmark(9)], Close),
            Lines(vec![added("b", 11)], Close),
            Lines(vec![], Close),
        ],
        &format!("{LISTED}> watch from 9\n+ shop/b\n> watch from 11\n> watch from 11"),
    );
}

#[test]
fn a_server_without_streamed_lists_is_asked_for_pages() {
    let why =
        "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
    check::<Service>(
        vec![
            refusal(422, "Invalid", why),
            page(&[service("a", 1)], 7, "more"),
            page(&[service("b", 2)], 7, ""),
            Lines(vec![event("ERROR", &status(410, "Expired", "too old"))], Stay),
            page(&[service("b", 2)], 9, ""),
        ],
        &format!(
            "> list and watch
            info: the API server does not stream lists ({why}); asking for pages instead
            > list 500
            + shop/a
            > list 500 from more
            + shop/b
            all Service
            > watch from 7
            > list 500
            + shop/b
            - shop/a
            > watch from 9"
        ),
    );
}

#[test]
fn a_server_that_ignores_what_was_asked_is_asked_for_pages() {
    check::<Service>(
        vec![Lines(vec![added("a", 1)], Stay), page(&[], 7, "")],
        "> list and watch
        + shop/a
        info: the API server does not stream lists (it never says that one ends); asking for pages instead
        > list 500
        - shop/a
        all Service
        > watch from 7",
    );
}

#[test]
fn a_place_that_is_lost_leads_to_a_list() {
    let gone = status(410, "Expired", "too old resource version");
    let again = "> list and watch\n+ shop/b\n- shop/a\n";
    check::<Service>(
        vec![listed(vec![event("ERROR", &gone)], Stay), Lines(vec![added("b", 8), end(20)], Stay)],
        &format!("{LISTED}{again}> watch from 20"),
    );
    check::<Service>(
        vec![
            listed(vec![], Close),
            Whole(410, gone.to_string()),
            Lines(vec![added("b", 8), end(20)], Stay),
        ],
        &format!("{LISTED}> watch from 7\n{again}> watch from 20"),
    );
}

#[test]
fn an_event_that_cannot_be_read_leads_to_a_list() {
    let broken = "{\"type\": \"ADDED\", \"object\": [1}\n".to_owned();
    let warn = "warn: what the API server tells of services cannot be read: ";
    let script = vec![
        ("services", listed(vec![broken.clone(), added("c", 9)], Stay)),
        ("services", Lines(vec![added("b", 8), broken], Stay)),
        ("services", Lines(vec![added("b", 8), added("c", 9), end(20)], Stay)),
    ];
    let text = play(script, |link| one::<Service>(&link, &wanted())).text();
    let lines: Vec<&str> =
        text.lines().map(|line| if line.starts_with(warn) { "warn" } else { line }).collect();
    let expected = [
        "> services: list and watch",
        "+ shop/a",
        "all Service",
        "warn",
        "> services: list and watch",
        "+ shop/b",
        "> services: list and watch",
        "+ shop/b",
        "+ shop/c",
        "- shop/a",
        "info: the API server at https://api tells of services again",
        "> services: watch from 20",
    ];
    assert_eq!(lines, expected, "{text}");
}

#[test]
fn what_a_connection_cuts_is_asked_for_again() {
    let whole = added("b", 9);
    check::<Service>(
        vec![listed(vec![whole[..30].to_owned()], Close), Lines(vec![whole], Stay)],
        &format!("{LISTED}> watch from 7\n+ shop/b\n> watch from 9"),
    );
}

#[test]
fn null_endpoints_are_none() {
    let slice = json!({
        "metadata": {
            "namespace": "shop", "name": "a-1", "resourceVersion": "3",
            "labels": {"kubernetes.io/service-name": "a"},
        },
        "addressType": "IPv4", "endpoints": null, "ports": null,
    });
    check::<EndpointSlice>(
        vec![Lines(vec![event("ADDED", &slice), end(7)], Stay)],
        "> list and watch
        + shop/a-1 of 0
        all EndpointSlice
        > watch from 7",
    );
}

#[test]
fn who_may_not_is_told_once_what_to_ask_for() {
    let why = "services is forbidden: User \"x\" cannot watch resource \"services\"";
    let forbidden = || refusal(403, "Forbidden", why);
    check::<Service>(
        vec![forbidden(), forbidden(), forbidden(), listed(vec![], Stay)],
        &format!(
            "> list and watch
            warn: not allowed to watch services: {why}; give this agent's user or ServiceAccount \
             a ClusterRole with the verbs list and watch on services; what is in force stays; \
             trying again
            > list and watch
            > list and watch
            > list and watch
            + shop/a
            all Service
            info: the API server at https://api tells of services again
            > watch from 7"
        ),
    );
}

#[test]
fn who_is_not_known_is_told_once() {
    let unknown = || refusal(401, "Unauthorized", "Unauthorized");
    check::<Service>(
        vec![unknown(), unknown()],
        "> list and watch
        warn: the API server at https://api does not accept the credentials: Unauthorized; check \
         the kubeconfig's user (its token or client certificate), or the ServiceAccount; what is \
         in force stays; trying again
        > list and watch
        > list and watch",
    );
}

#[test]
fn service_cidrs_need_not_be_there() {
    let cidr = json!({"metadata": {"name": "kubernetes", "resourceVersion": "3"}});
    let none = || refusal(404, "NotFound", "the server could not find the requested resource");
    check::<ServiceCidr>(
        vec![none(), none(), Lines(vec![event("ADDED", &cidr), end(7)], Stay)],
        "> list and watch
        info: the API server has no servicecidrs (/apis/networking.k8s.io/v1/servicecidrs); \
         going on without them
        all ServiceCIDR
        > list and watch
        > list and watch
        + kubernetes
        info: the API server at https://api tells of servicecidrs again
        > watch from 7",
    );
    // A role from before there were any is answered so by a server without them.
    check::<ServiceCidr>(
        vec![refusal(403, "Forbidden", "no")],
        "> list and watch
        warn: not allowed to watch servicecidrs: no; give this agent's user or ServiceAccount a \
         ClusterRole with the verbs list and watch on servicecidrs; going on without them
        all ServiceCIDR
        > list and watch",
    );
}

#[test]
fn what_is_not_there_is_looked_for_every_minute() {
    let none = || ("servicecidrs", refusal(404, "NotFound", "no"));
    let log = play(vec![none(), none()], |link| one::<ServiceCidr>(&link, &wanted()));
    assert_eq!(log.between("all ServiceCIDR", "> servicecidrs").as_secs(), 60);
}

#[test]
fn a_server_without_services_is_another_program() {
    check::<Service>(
        vec![refusal(404, "NotFound", "nginx")],
        "> list and watch
        warn: the API server at https://api has no services (/api/v1/services); is it another \
         program, or of another version? what is in force stays; trying again
        > list and watch",
    );
}

#[test]
fn a_server_that_goes_and_comes_is_told_of_twice() {
    check::<Service>(
        vec![
            listed(vec![], Break),
            Refuse,
            Refuse,
            refusal(503, "", "starting"),
            page(&[], 9, "x"),
            Lines(vec![added("b", 9)], Stay),
        ],
        &format!(
            "{LISTED}warn: cannot reach the API server at https://api: reset by peer; what is in force stays; trying again
            > list 1
            > list 1
            > list 1
            warn: the API server refuses to tell of services (503): starting; what is in force stays; trying again
            > list 1
            > watch from 7
            info: the API server at https://api tells of services again
            + shop/b
            > watch from 9"
        ),
    );
}

#[test]
fn a_server_with_an_older_store_is_asked_for_everything() {
    check::<Service>(
        vec![
            listed(vec![bookmark(100)], Break),
            page(&[], 60, ""),
            Lines(vec![added("b", 8), end(61)], Stay),
        ],
        &format!(
            "{LISTED}warn: cannot reach the API server at https://api: reset by peer; what is in force stays; trying again
            > list 1
            warn: the API server at https://api knows of nothing since state 60, and 100 had been \
             reached: its store was replaced or restored; asking for everything again
            > list and watch
            + shop/b
            - shop/a
            info: the API server at https://api tells of services again
            > watch from 61"
        ),
    );
}

#[test]
fn after_a_long_outage_it_is_asked_again_at_once() {
    let mut script = vec![listed(vec![bookmark(100)], Break)];
    script.extend((0..20).map(|_| Refuse));
    script.push(page(&[], 60, ""));
    script.push(Lines(vec![end(61)], Stay));
    let script = script.into_iter().map(|answer| ("services", answer)).collect();
    let log = play(script, |link| one::<Service>(&link, &wanted()));
    let outage = log.between("warn: cannot reach", "warn: the API server at https://api knows");
    assert!((8..20).contains(&outage.as_secs()), "20 tries in {outage:?}");
    let list = log.between("warn: the API server at https://api knows", "> services: list");
    assert!(list.as_millis() <= 50, "{list:?}");
}

#[test]
fn a_list_that_breaks_off_takes_nothing_away() {
    let gone = event("ERROR", &status(410, "Expired", "too old"));
    check::<Service>(
        vec![
            Lines(vec![added("a", 1), added("b", 2), end(7), gone], Stay),
            Lines(vec![added("a", 1)], Close),
            Lines(vec![], Break),
            Lines(vec![added("a", 1), end(9)], Stay),
        ],
        "> list and watch
        + shop/a
        + shop/b
        all Service
        > list and watch
        + shop/a
        warn: the API server broke off its list of services; what is in force stays; trying again
        > list and watch
        warn: cannot reach the API server at https://api: reset by peer; what is in force stays; trying again
        > list and watch
        + shop/a
        - shop/b
        info: the API server at https://api tells of services again
        > watch from 9",
    );
}

/// What is told when 30 Services vanish from so many lists, and then `last` is
/// listed; changes only counted.
fn vanish(times: usize, last: usize) -> String {
    let many = |count: u32| (0..count).map(|number| added(&format!("s{number}"), 1));
    let gone = event("ERROR", &status(410, "Expired", "too old"));
    let mut script = vec![Lines(many(30).chain([end(7), gone]).collect(), Stay)];
    script.extend((0..times).map(|_| Lines(vec![end(9)], Stay)));
    script.push(Lines(many(u32::try_from(last).unwrap()).chain([end(9)]).collect(), Stay));
    let script = script.into_iter().map(|answer| ("services", answer)).collect();
    let text = play(script, |link| one::<Service>(&link, &wanted())).text();
    let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    let said = text.lines().filter(|line| line.starts_with("warn") || line.starts_with("info"));
    let said: Vec<&str> = said.map(|line| line.split(';').next().unwrap()).collect();
    format!("{} gone\n{}", count("- "), said.join("\n"))
}

#[test]
fn most_of_what_there_is_is_not_taken_away_at_once() {
    let doubted = "warn: the API server lists services without 30 of the 30 that were there";
    let returned = "info: the API server lists services again that were missing";
    assert_eq!(vanish(2, 30), format!("0 gone\n{doubted}\n{doubted}\n{returned}"));
    let believed = "warn: all lists agree: 30 services are gone, and are taken away now";
    let all = [doubted; 6].join("\n");
    assert_eq!(vanish(6, 0), format!("30 gone\n{all}\n{believed}"));
}

#[test]
fn each_kind_is_asked_for_what_a_proxy_needs() {
    let uris = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&uris);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let all = Arc::new(Notify::new());
        let done = Arc::clone(&all);
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let mut seen = seen.lock().unwrap();
            let accept = request.headers().get("accept").and_then(|accept| accept.to_str().ok());
            let is_part = accept.is_some_and(|accept| accept.contains("PartialObjectMetadata"));
            let part = if is_part { "metadata of " } else { "" };
            seen.push(format!("{part}{}", request.uri()));
            // Where all Nodes are is asked when somebody wants to know.
            if seen.len() == Kind::ALL.len() - 1 {
                done.notify_one();
            }
            futures::future::pending::<Result<Response<kube::client::Body>, BoxError>>()
        });
        let client = Client::new(service, "default");
        let (sender, _inbox) = unbounded_channel();
        let open: Open = Arc::new(|| Err(AccessError::Nowhere));
        let link = Rc::new(Link::new(open, opened(client), sender));
        let wanted = Wanted { by_locality: true, ..wanted() };
        select(Box::pin(follow_all(link, wanted)), Box::pin(all.notified())).await;
    });
    let mut uris = uris.lock().unwrap().clone();
    uris.sort();
    for uri in &mut uris {
        let at = uri.find("&timeoutSeconds=").unwrap();
        let seconds: String = uri[at + 16..].chars().take_while(char::is_ascii_digit).collect();
        assert!((300..600).contains(&seconds.parse::<u32>().unwrap()), "{uri}");
        *uri = uri.replace(&format!("&timeoutSeconds={seconds}"), "");
    }
    let rest = "&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                &resourceVersion=";
    let expected = [
        "/api/v1/nodes?&watch=true&fieldSelector=metadata.name%3Dnode-a",
        "/api/v1/services?&watch=true&fieldSelector=spec.clusterIP%21%3DNone\
         &labelSelector=%21service.kubernetes.io%2Fservice-proxy-name",
        "/apis/discovery.k8s.io/v1/endpointslices?&watch=true\
         &labelSelector=%21service.kubernetes.io%2Fheadless",
        "/apis/networking.istio.io/v1/serviceentries?&watch=true",
        "/apis/networking.k8s.io/v1/servicecidrs?&watch=true",
        "metadata of /api/v1/namespaces?&watch=true",
    ];
    assert_eq!(uris, expected.map(|uri| format!("{uri}{rest}")));
}

#[test]
fn a_proxy_of_a_name_asks_for_its_own() {
    let canary = "canary".parse().unwrap();
    let asked = super::super::objects::Service::labels(&canary);
    assert_eq!(asked.as_deref(), Some("service.kubernetes.io/service-proxy-name=canary"));
}

#[test]
fn one_trouble_of_all_kinds_is_told_once() {
    let lists = |plural| (plural, Lines(vec![end(7)], Break));
    let again = |plural| [(plural, page(&[], 7, "")), (plural, Lines(vec![], Stay))];
    let plurals = ["services", "endpointslices", "nodes", "servicecidrs"];
    let mut script: Script = plurals.map(lists).into();
    script.extend(plurals.map(|plural| (plural, Refuse)));
    script.extend(plurals.into_iter().flat_map(again));
    let text = play(script, |link| follow_all(link, wanted())).text();
    let is_nobodys = |line: &&str| {
        ["all Namespace", "all ServiceEntry", "all Node (where it is)"].contains(line)
    };
    let told = text.lines().filter(|line| !line.starts_with('>') && !is_nobodys(line));
    let mut told: Vec<&str> = told.collect();
    told[..5].sort_unstable();
    assert_eq!(told[..4], ["all EndpointSlice", "all Node", "all Service", "all ServiceCIDR"]);
    assert!(
        told[4].starts_with("warn: cannot reach the API server at https://api: reset"),
        "{text}"
    );
    assert!(told[5].starts_with("info: the API server at https://api tells of "), "{text}");
    assert_eq!(told.len(), 6, "{text}");
}

#[test]
fn what_is_ready_together_is_told_together() {
    let lines: String = (0..50).map(|number| added(&format!("s{number}"), 8)).collect();
    let batches = Arc::new(Mutex::new(Vec::new()));
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let done = Arc::new(Notify::new());
        let script = vec![("services", Lines(vec![end(7), lines], Stay))];
        let client = server(script, Log::default(), Arc::clone(&done));
        let (sender, inbox) = unbounded_channel();
        let open: Open = Arc::new(|| Err(AccessError::Nowhere));
        let link = Rc::new(Link::new(open, opened(client), sender));
        let batches = Arc::clone(&batches);
        let pass_on = pass_on(inbox, Recorder::silent(), move |batch| {
            batches.lock().unwrap().push(batch.len());
        });
        let all = Box::pin(join(one::<Service>(&link, &wanted()), pass_on));
        select(all, Box::pin(done.notified())).await;
    });
    let batches = batches.lock().unwrap().clone();
    assert_eq!(batches.iter().sum::<usize>(), 51);
    assert!(batches.len() <= 2, "{batches:?}");
}

/// Notes about Services of these names, and what is asked for because of them.
fn recorded(names: &[&str], script: Script) -> String {
    let notes = names.iter().map(|name| Note {
        object: ObjectRef { kind: "Service", name: format!("shop/{name}").into(), file: None },
        field: String::new(),
        problem: "is wrong".to_owned(),
    });
    let (recorder, incidents) = Recorder::new();
    notes.for_each(|note| recorder.note(&note));
    let log = play(script, async |link| {
        events::write(Rc::clone(&link), "node-a".into(), incidents).await;
        one::<Service>(&link, &wanted()).await;
    });
    drop(recorder);
    log.text()
}

fn found(uid: &str) -> Answer {
    Whole(200, json!({"items": [{"metadata": {"uid": uid}}]}).to_string())
}

#[test]
fn what_is_wrong_is_written_once() {
    let script = vec![
        ("services", found("1")),
        ("events", Whole(201, "{}".to_owned())),
        ("services", found("2")),
        ("events", refusal(409, "AlreadyExists", "another node was first")),
        ("services", page(&[], 7, "")),
    ];
    let expected = "\
> services: find metadata.name%3Da
> events: write
> services: find metadata.name%3Db
> events: write
> services: find metadata.name%3Dgone
> services: find metadata.name%3Dc
";
    assert_eq!(recorded(&["a", "a", "b", "b", "gone", "c"], script), expected);
}

#[test]
fn without_the_right_to_write_that_is_said_once() {
    let script =
        vec![("services", found("1")), ("events", refusal(403, "Forbidden", "you may not"))];
    let expected = "\
> services: find metadata.name%3Da
> events: write
warn: events are not written, for it is not allowed: you may not
> services: list and watch
";
    assert_eq!(recorded(&["a", "b"], script), expected);
}
