//! Folders as people, editors and the kubelet leave them.

use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{clusterIP: 10.96.0.10, ports: [{{port: 80}}]}}\n"
    )
}

fn names(world: &World) -> String {
    world.objects.keys().map(|id| format!("{id:?}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn reads_manifests_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, file) in [
        ("a", "a.yaml"),
        ("b", "b.yml"),
        ("x1", ".a.yaml.swp"),
        ("x2", ".hidden.yaml"),
        ("x3", "a.yaml~"),
        ("x4", "#a.yaml#"),
        ("x5", "a.yaml.bak"),
        ("x6", "README"),
    ] {
        fs::write(at(file), service(name)).unwrap();
    }
    fs::write(at("c.json"), r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}"#)
        .unwrap();
    fs::create_dir(at("folder.yaml")).unwrap();
    mkfifo(&at("pipe.yaml"), Mode::S_IRWXU).unwrap();
    symlink("nowhere", at("dangling.yaml")).unwrap();
    let world = Folder::open(folder.path(), Admission::default()).unwrap().read().unwrap();
    assert_eq!(names(&world), r#"Service("default/a") Service("default/b") Node("n")"#);
    assert_eq!(world.notes, []);
    let world = Folder::open(at("README"), Admission::default()).unwrap().read().unwrap();
    assert_eq!(names(&world), r#"Service("default/x6")"#);
}

#[test]
fn follows_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    let mut manifests = Folder::open(folder.path(), Admission::default()).unwrap();
    assert_eq!(manifests.read().unwrap(), World::default());
    fs::write(&file, service("a")).unwrap();
    assert_eq!(names(&manifests.read().unwrap()), r#"Service("default/a")"#);
    // The same size, and likely the same tick of the clock.
    fs::write(&file, service("b")).unwrap();
    assert_eq!(names(&manifests.read().unwrap()), r#"Service("default/b")"#);
    fs::write(&file, b"\xff\xfe").unwrap();
    let world = manifests.read().unwrap();
    assert_eq!(names(&world), r#"Service("default/b")"#);
    assert_eq!(world.notes.len(), 2);
    assert!(world.notes[0].to_string().ends_with("cannot be read: it is no text in UTF-8"));
    assert_eq!(manifests.read().unwrap(), world, "it stays so, however often it is read");
    fs::remove_file(&file).unwrap();
    assert_eq!(manifests.read().unwrap(), World::default());
}

#[test]
fn a_folder_that_is_gone_is_an_error_until_it_is_back() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("manifests");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.yaml"), service("a")).unwrap();
    let mut manifests = Folder::open(&folder, Admission::default()).unwrap();
    let world = manifests.read().unwrap();
    fs::rename(&folder, above.path().join("away")).unwrap();
    let error = manifests.read().unwrap_err().to_string();
    assert!(error.ends_with("manifests: No such file or directory (os error 2)"), "{error}");
    fs::rename(above.path().join("away"), &folder).unwrap();
    assert_eq!(manifests.read().unwrap(), world);
    assert!(Folder::open(above.path().join("none"), Admission::default()).is_err());
}

#[test]
fn a_file_beyond_the_limit_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("a.yaml")).unwrap();
    file.set_len(u64::try_from(FILE_MAX_BYTES).unwrap() + 1).unwrap();
    let world = Folder::open(folder.path(), Admission::default()).unwrap().read().unwrap();
    let note = world.notes[0].to_string();
    assert!(note.ends_with("cannot be read: it is larger than 64 MiB; split it"), "{note}");
}
