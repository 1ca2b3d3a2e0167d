//! Every wait here has its event before it, so that none needs a sleep.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;

use super::*;

/// A watch and both ends of what stops it.
fn watch(path: &Path) -> (Watch, UnixStream, UnixStream) {
    let (stop, stopper) = UnixStream::pair().unwrap();
    (Watch::new(path).unwrap(), stop, stopper)
}

#[test]
fn a_written_file_wakes_it_and_a_stop_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut watch, stop, mut stopper) = watch(folder.path());
    fs::write(folder.path().join("a.yaml"), "a").unwrap();
    fs::write(folder.path().join("b.yaml"), "b").unwrap();
    assert_eq!(watch.wait(&stop).unwrap(), Woken::Changed);
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    assert_eq!(watch.wait(&stop).unwrap(), Woken::Changed);
    // Both writes were one change, and nothing is left over.
    stopper.write_all(b"x").unwrap();
    assert_eq!(watch.wait(&stop).unwrap(), Woken::Stopped);
}

#[test]
fn a_swapped_link_wakes_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name| folder.path().join(name);
    fs::create_dir(at("..1")).unwrap();
    symlink("..1", at("..data")).unwrap();
    fs::write(at("..1").join("a.yaml"), "a").unwrap();
    symlink("..data/a.yaml", at("a.yaml")).unwrap();
    let (mut whole, stop, _stopper) = watch(folder.path());
    let mut single = Watch::new(at("a.yaml")).unwrap();
    symlink("..2", at("..tmp")).unwrap();
    fs::rename(at("..tmp"), at("..data")).unwrap();
    assert_eq!(whole.wait(&stop).unwrap(), Woken::Changed);
    assert_eq!(single.wait(&stop).unwrap(), Woken::Changed);
}

#[test]
fn a_folder_may_vanish_and_come_again() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("manifests");
    fs::create_dir(&folder).unwrap();
    let (mut watch, stop, mut stopper) = watch(&folder);
    fs::rename(&folder, above.path().join("elsewhere")).unwrap();
    assert_eq!(watch.wait(&stop).unwrap(), Woken::Changed);
    fs::create_dir(&folder).unwrap();
    assert_eq!(watch.wait(&stop).unwrap(), Woken::Changed);
    fs::write(folder.join("a.yaml"), "a").unwrap();
    assert_eq!(watch.wait(&stop).unwrap(), Woken::Changed);
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(watch.wait(&stop).unwrap(), Woken::Changed);
    stopper.write_all(b"x").unwrap();
    assert_eq!(watch.wait(&stop).unwrap(), Woken::Stopped);
}

#[test]
fn beside_a_single_file_nothing_matters() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, "a").unwrap();
    let (mut watch, stop, mut stopper) = watch(&file);
    fs::write(folder.path().join("b.yaml"), "b").unwrap();
    stopper.write_all(b"x").unwrap();
    assert_eq!(watch.wait(&stop).unwrap(), Woken::Stopped);
    drop(stopper);
    let (stop, _stopper) = UnixStream::pair().unwrap();
    fs::write(folder.path().join("a.tmp"), "c").unwrap();
    fs::rename(folder.path().join("a.tmp"), &file).unwrap();
    assert_eq!(watch.wait(&stop).unwrap(), Woken::Changed);
}

#[test]
fn nothing_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = Watch::new(folder.path().join("none")).unwrap_err();
    assert!(
        error.to_string().ends_with("inotify_add_watch: No such file or directory (os error 2)")
    );
}
