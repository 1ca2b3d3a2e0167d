//! Texts of files in, objects and notes out.

use super::*;

const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
";

const WEB_SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.244.1.5]}]
ports: [{port: 8080}]
";

fn file(text: &str, previous: Option<&FileContent>) -> FileContent {
    read_file(&"a.yaml".into(), text, Format::Yaml, &Admission::default(), previous)
}

fn world(files: &[(&str, &str)]) -> World {
    let read =
        |path: &str, text| read_file(&path.into(), text, Format::Yaml, &Admission::default(), None);
    let files = files.iter().map(|(path, text)| ((*path).into(), read(path, text).into()));
    assemble(&files.collect())
}

fn told(notes: &[Note]) -> String {
    notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn ids(world: &World) -> String {
    world.objects.keys().map(|id| format!("{id:?}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn lists_as_kubectl_writes_them() {
    let list = format!(
        "kind: List\napiVersion: v1\nitems:\n- {}- {}- apiVersion: v1\n  kind: List\n  items: null\n",
        WEB.trim_start().replace('\n', "\n  ").trim_end_matches(' '),
        WEB_SLICE.trim_start().replace('\n', "\n  ").trim_end_matches(' '),
    );
    let world = world(&[("a.yaml", &list)]);
    assert_eq!(told(&world.notes), "");
    assert_eq!(ids(&world), r#"Service("shop/web") Slice("shop/web-1")"#);
    let typed =
        r#"{"apiVersion": "v1", "kind": "NodeList", "items": [{"metadata": {"name": "n"}}]}"#;
    let content = read_file(&"n.json".into(), typed, Format::Json, &Admission::default(), None);
    assert_eq!(content.objects[0].id, Identity::Node("n".into()));
}

#[test]
fn what_is_no_object_is_told_once() {
    let text = "
- 1
---
kind: Service
---
{apiVersion: v1}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: apps/v1, kind: Deployment}
---
{apiVersion: apps/v1, kind: Deployment}
---
{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice}
---
{apiVersion: v1, kind: Service, metadata: {}}
---
{apiVersion: v1, kind: List, items: 3}
";
    assert_eq!(
        told(&world(&[("a.yaml", text)]).notes),
        r#"a.yaml: document 1: is no Kubernetes object: it is no mapping with apiVersion and kind
a.yaml: document 2: is no Kubernetes object: apiVersion is missing or no text
a.yaml: document 3: is no Kubernetes object: kind is missing or no text
file a.yaml: objects of kind "Deployment" and apiVersion "apps/v1" are not read here; they are ignored
file a.yaml: objects of kind "EndpointSlice" and apiVersion "discovery.k8s.io/v1beta1" are not read here; they are ignored
a.yaml: Service default/(without a name): metadata.name: is missing; the object is left out
a.yaml: document 9: is a List whose items are no list"#
    );
}

#[test]
fn of_two_the_first_is_taken() {
    let other = WEB.replace("port: 80", "port: 81");
    let twice = format!("{WEB}---{WEB}");
    let world = world(&[("a.yaml", &twice), ("b.yaml", &other)]);
    assert_eq!(
        told(&world.notes),
        "a.yaml: Service shop/web: appears twice in this file; the first is taken\n\
         b.yaml: Service shop/web: appears in a.yaml too; the one there is taken. Delete one of them"
    );
    let Change::Service(web) = &**world.objects.values().next().unwrap() else { panic!() };
    assert_eq!(web.ports[0].port.get(), 80);
}

#[test]
fn x06_files_are_shown_without_control_characters() {
    let odd = format!("{WEB}---\n- 1\n---\n{{apiVersion: v2, kind: Service}}\n");
    assert_eq!(
        told(&world(&[("a\n.yaml", &odd), ("b\u{1b}.yaml", WEB)]).notes),
        r#"a\n.yaml: document 2: is no Kubernetes object: it is no mapping with apiVersion and kind
file a\n.yaml: objects of kind "Service" and apiVersion "v2" are not read here; they are ignored
b\u{1b}.yaml: Service shop/web: appears in a\n.yaml too; the one there is taken. Delete one of them"#
    );
}

#[test]
fn x15_an_endpoint_that_is_a_services_address_is_noted() {
    let slice = WEB_SLICE.replace("10.244.1.5", "10.96.0.10");
    assert_ne!(slice, WEB_SLICE);
    let world = world(&[("a.yaml", WEB), ("b.yaml", &slice)]);
    assert_eq!(
        told(&world.notes),
        "b.yaml: EndpointSlice shop/web-1: endpoints: 10.96.0.10 is an address of Service \
         shop/web; whoever is sent there is not sent on to that Service's endpoints. Write those \
         instead"
    );
}

#[test]
fn service_cidrs_are_read_as_kubectl_writes_them() {
    let version = "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR";
    let rest = "metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.0/16]}";
    let one = format!("{version}\n{}\n", rest.replace(", spec", "\nspec"));
    let list = format!("{version}List\nitems: [{{{rest}}}]\n");
    for text in [list, one] {
        let world = world(&[("a.yaml", &text)]);
        assert_eq!(told(&world.notes), "");
        let Some(Change::ServiceCidr(cidr)) = world.objects.values().next().map(|it| &**it) else {
            panic!("{text}: {world:?}")
        };
        assert_eq!((cidr.name.as_str(), cidr.cidrs.len()), ("kubernetes", 1));
    }
}

#[test]
fn a_slice_without_its_service_is_noted() {
    assert_eq!(
        told(&world(&[("a.yaml", WEB_SLICE)]).notes),
        "a.yaml: EndpointSlice shop/web-1: metadata.labels[kubernetes.io/service-name]: there is \
         no Service shop/web; the slice has no effect until there is"
    );
    let headless = WEB.replace("10.96.0.10", "None");
    assert_eq!(told(&world(&[("a.yaml", WEB_SLICE), ("b.yaml", &headless)]).notes), "");
}

#[test]
fn a_typing_error_is_noted_and_costs_nothing() {
    let typo = WEB.replace("ports:", "port: 1, ports:");
    let world = world(&[("a.yaml", &typo)]);
    assert_eq!(
        told(&world.notes),
        "a.yaml: Service shop/web: spec.port: there is no field \"port\"; it is ignored. \
         Did you mean ports?"
    );
    assert_eq!(world.objects.len(), 1);
}

#[test]
fn what_cannot_be_read_keeps_what_it_gave() {
    let both = file(&format!("{WEB}---{WEB_SLICE}"), None);
    // The Service is edited well, the slice badly.
    let edited = format!("{}---{WEB_SLICE}  [", WEB.replace("port: 80", "port: 81"));
    let content = file(&edited, Some(&both));
    assert_eq!(content.objects.len(), 2);
    assert_ne!(content.objects[0], both.objects[0]);
    assert_eq!(content.objects[1], both.objects[1]);
    let lines = told(&content.notes);
    let (first, second) = lines.split_once('\n').unwrap();
    assert!(first.starts_with("a.yaml: document 2: cannot be read: "), "{first}");
    assert!(first.contains("line 13"), "{first}");
    assert_eq!(
        second,
        "file a.yaml: until all of it can be read, what it gave before stays: \
         EndpointSlice shop/web-1"
    );
    // The next good text ends that.
    assert_eq!(file(WEB, Some(&content)).objects, both.objects[..1]);
    let gone = unreadable_file(&"a.yaml".into(), "cannot be read: denied", Some(&both));
    assert_eq!(gone.objects, both.objects);
    assert_eq!(file("", Some(&both)), FileContent::default());
}

#[test]
fn one_world_follows_another() {
    let name = |change: &Change| match change {
        Change::Listed(kind) => format!("listed {kind}"),
        Change::ServiceGone(name) => format!("gone {name}"),
        Change::SliceGone(name) => format!("gone {name}"),
        other => format!("{:?}", Identity::of(other).unwrap()),
    };
    let told = |previous: Option<&World>, next: &World| {
        diff(previous, next).iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let empty = World::default();
    assert_eq!(
        told(None, &empty),
        "listed Service, listed EndpointSlice, listed Node, listed ServiceCIDR, listed Namespace, \
         listed ServiceEntry, listed Node (where it is)"
    );
    let one = world(&[("a.yaml", WEB), ("b.yaml", WEB_SLICE)]);
    assert_eq!(
        told(None, &one),
        "Service(\"shop/web\"), Slice(\"shop/web-1\"), \
         listed Service, listed EndpointSlice, listed Node, listed ServiceCIDR, listed Namespace, \
         listed ServiceEntry, listed Node (where it is)"
    );
    let moved = world(&[("c.yaml", WEB), ("b.yaml", WEB_SLICE)]);
    assert_eq!(told(Some(&one), &moved), "");
    let two = world(&[("b.yaml", &WEB_SLICE.replace("8080", "8081"))]);
    assert_eq!(told(Some(&one), &two), "gone shop/web, Slice(\"shop/web-1\")");
    assert_eq!(told(Some(&two), &empty), "gone shop/web-1");
}
