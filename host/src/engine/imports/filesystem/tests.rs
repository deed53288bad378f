#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "a test makes its own files, and says why it is skipped"
)]

use super::*;
use crate::ambient;
use std::os::unix::fs::symlink;
use std::path::Path;

fn imports(directory: &Path) -> Imports {
    Imports::new(ambient::open_dir(directory).unwrap())
}

fn text(path: &str) -> String {
    path.to_owned()
}

fn replacement(path: &str, contents: &str) -> Replacement {
    Replacement { path: text(path), contents: contents.into(), modified: None, like: None }
}

#[test]
fn malformed_paths_are_refused_whatever_the_call() {
    let directory = tempfile::tempdir().unwrap();
    let mut imports = imports(directory.path());
    let long = "x".repeat(256);
    for path in
        ["", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "a/./b", "a\0b", long.as_str(), "a/"]
    {
        assert!(matches!(imports.read(text(path), 10), Err(Error::Outside)), "{path:?}");
        assert!(
            matches!(imports.append(text(path), vec![], true), Err(Error::Outside)),
            "{path:?}"
        );
        assert!(
            matches!(imports.replace(vec![replacement(path, "")], true), Err(Error::Outside)),
            "{path:?}"
        );
        assert!(matches!(imports.remove(text(path)), Err(Error::Outside)), "{path:?}");
        assert!(matches!(imports.create_directory(text(path)), Err(Error::Outside)), "{path:?}");
        assert!(matches!(imports.list(text(path)), Err(Error::Outside)), "{path:?}");
        assert!(matches!(imports.stat(text(path)), Err(Error::Outside)), "{path:?}");
        assert!(matches!(imports.lock(text(path), vec![]), Err(Error::Outside)), "{path:?}");
        assert!(matches!(imports.rename(text("a"), text(path)), Err(Error::Outside)), "{path:?}");
    }
}

#[test]
fn links_that_lead_out_are_refused_and_those_inside_are_followed() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    symlink(outside.path().join("secret"), root.join("file")).unwrap();
    symlink(outside.path(), root.join("directory")).unwrap();
    symlink("../..", root.join("up")).unwrap();
    std::fs::write(root.join("inside"), "inside").unwrap();
    symlink("inside", root.join("link")).unwrap();
    let mut imports = imports(root);

    assert!(matches!(imports.read(text("file"), 100), Err(Error::Outside)));
    assert!(matches!(imports.read(text("directory/secret"), 100), Err(Error::Outside)));
    assert!(matches!(imports.append(text("file"), vec![1], true), Err(Error::Outside)));
    assert!(matches!(imports.replace(vec![replacement("file", "x")], true), Err(Error::Outside)));
    assert!(matches!(
        imports.replace(vec![replacement("directory/new", "x")], true),
        Err(Error::Outside)
    ));
    assert!(matches!(imports.create_directory(text("up/new")), Err(Error::Outside)));
    assert!(matches!(imports.list(text("directory")), Err(Error::Outside)));
    assert!(matches!(imports.lock(text("file"), vec![]), Err(Error::WrongKind(Kind::Link))));
    assert!(matches!(imports.lock(text("link"), vec![]), Err(Error::WrongKind(Kind::Link))));
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);

    imports.replace(vec![replacement("link", "new")], true).unwrap();
    assert_eq!(std::fs::read(root.join("inside")).unwrap(), b"new");
    assert!(root.join("link").is_symlink(), "the link is still one");
    imports.remove(text("file")).unwrap();
    assert!(outside.path().join("secret").exists(), "the link went, not what it led to");
}

#[test]
fn only_regular_files_are_read_and_nothing_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::fs::create_dir(root.join("d")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(root.join("fifo")).status();
    assert!(made.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let mut imports = imports(root);
    assert!(matches!(imports.read(text("d"), 10), Err(Error::WrongKind(Kind::Directory))));
    for path in ["fifo", "socket"] {
        assert!(
            matches!(imports.read(text(path), 10), Err(Error::WrongKind(Kind::Other))),
            "{path}"
        );
    }
    assert!(imports.append(text("fifo"), vec![1], true).is_err());
    assert!(imports.append(text("d"), vec![1], true).is_err());
    assert!(imports.replace(vec![replacement("d", "")], true).is_err());
    assert!(matches!(imports.list(text("fifo")), Err(Error::WrongKind(Kind::Other))));
}

#[test]
fn a_file_over_the_limit_is_too_large() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("f"), "12345").unwrap();
    let mut imports = imports(directory.path());
    assert!(matches!(imports.read(text("f"), 4), Err(Error::TooLarge(5))));
    assert_eq!(imports.read(text("f"), 5).unwrap(), b"12345");
    assert_eq!(imports.read_at(text("f"), 1, 3).unwrap(), b"234");
    assert_eq!(imports.read_at(text("f"), 4, 30).unwrap(), b"5");
    assert_eq!(imports.read_at(text("f"), 40, u64::MAX).unwrap(), b"");
}

#[test]
fn a_replaced_file_keeps_its_mode_and_no_temporary_is_left() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f");
    std::fs::write(&file, "old").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    let mut imports = imports(directory.path());
    imports.replace(vec![replacement("f", "new")], true).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
    let failed = imports.replace(vec![replacement("g", "1"), replacement("missing/h", "2")], true);
    assert!(matches!(failed, Err(Error::NotFound)));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// As root a program of another user can be made; else only one of our own.
#[test]
fn a_copy_is_never_setuid_and_takes_only_restrictions_from_another_users_file() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f");
    let copy = directory.path().join("copy");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let make = |owner: Option<u32>, mode: u32| {
        let _ = std::fs::remove_file(&copy);
        std::fs::write(&file, "program").unwrap();
        let made = std::os::unix::fs::chown(&file, owner, None).is_ok();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        made
    };
    let mut imports = imports(directory.path());
    let mut replace = |path: &str| {
        let file = Replacement { like: Some(text("f")), ..replacement(path, "content") };
        imports.replace(vec![file], true).unwrap();
    };

    make(None, 0o6755);
    replace("copy");
    assert_eq!(mode(&copy), 0o755, "our own file's permissions, without the set-ID bits");
    replace("f");
    assert_eq!(mode(&file), 0o755);

    if !make(Some(12345), 0o4755) {
        eprintln!("only root can make files of other users: not tested");
        return;
    }
    replace("copy");
    assert_eq!(mode(&copy), 0o644, "a new file");
    replace("f");
    assert_eq!(mode(&file), 0o644, "it is ours now, and new");
    make(Some(12345), 0o1600);
    replace("copy");
    assert_eq!(mode(&copy), 0o600, "what others could not read they still cannot");
    make(Some(12345), 0o4444);
    replace("copy");
    assert_eq!(mode(&copy), 0o644, "our copy can be changed");
}

#[test]
fn many_files_are_replaced_together() {
    let directory = tempfile::tempdir().unwrap();
    let mut imports = imports(directory.path());
    let names: Vec<String> = (0..50).map(|n| format!("d{n}/f")).collect();
    for name in &names {
        imports.create_directory(text(parent(name))).unwrap();
    }
    imports.replace(names.iter().map(|name| replacement(name, name)).collect(), true).unwrap();
    for name in &names {
        assert_eq!(imports.read(name.clone(), 100).unwrap(), name.as_bytes());
    }
}

#[test]
fn a_lock_is_held_by_one_instance_and_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (imports(directory.path()), imports(directory.path()));
    assert!(matches!(two.lock_holder(text("l")), Ok(LockState { held: false, .. })));
    assert!(!directory.path().join("l").exists(), "looking makes nothing");
    assert!(matches!(one.lock(text("l"), b"one".to_vec()), Ok(LockState { held: false, .. })));
    assert!(matches!(one.lock(text("l"), b"ONE".to_vec()), Ok(LockState { held: false, .. })));
    assert!(
        matches!(two.lock(text("l"), b"two".to_vec()), Ok(LockState { held: true, note }) if note == b"ONE")
    );
    assert!(
        matches!(two.lock_holder(text("l")), Ok(LockState { held: true, note }) if note == b"ONE")
    );
    drop(one);
    assert!(matches!(two.lock_holder(text("l")), Ok(LockState { held: false, .. })));
    assert!(matches!(two.lock(text("l"), b"two".to_vec()), Ok(LockState { held: false, .. })));
    two.unlock(text("l")).unwrap();
    assert!(directory.path().join("l").exists(), "a lock file is never removed");
}

#[test]
fn nothing_is_renamed_over_something() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a"), "a").unwrap();
    std::fs::write(directory.path().join("b"), "b").unwrap();
    let mut imports = imports(directory.path());
    assert!(matches!(imports.rename(text("a"), text("b")), Err(Error::Exists)));
    assert!(matches!(imports.rename(text("c"), text("d")), Err(Error::NotFound)));
    imports.rename(text("a"), text("c")).unwrap();
    assert_eq!(imports.read(text("c"), 10).unwrap(), b"a");
}

/// What `rename` falls back to where the system refuses: the new name is not on the same file system.
#[test]
fn a_move_by_copy_keeps_content_time_and_permissions_and_replaces_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("a"), "a").unwrap();
    std::fs::set_permissions(path("a"), PermissionsExt::from_mode(0o4710)).unwrap();
    std::fs::write(path("taken"), "taken").unwrap();
    std::fs::create_dir(path("d")).unwrap();
    symlink("nowhere", path("link")).unwrap();
    let mut imports = imports(directory.path());
    let modified = imports.stat(text("a")).unwrap().modified;

    assert!(matches!(imports.tree.move_by_copy("a", "taken"), Err(Error::Exists)));
    assert!(matches!(imports.tree.move_by_copy("d", "taken"), Err(Error::Exists)));
    assert!(matches!(imports.tree.move_by_copy("d", "e"), Err(Error::CrossesDevices)));
    assert!(matches!(imports.tree.move_by_copy("missing", "e"), Err(Error::NotFound)));
    imports.tree.move_by_copy("a", "d/a").unwrap();
    imports.tree.move_by_copy("link", "d/link").unwrap();

    assert_eq!(std::fs::read_to_string(path("taken")).unwrap(), "taken");
    assert_eq!(std::fs::read_to_string(path("d/a")).unwrap(), "a");
    assert_eq!(imports.stat(text("d/a")).unwrap().modified, modified);
    let mode = std::fs::metadata(path("d/a")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o710);
    assert_eq!(std::fs::read_link(path("d/link")).unwrap().to_str(), Some("nowhere"));
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 2, "neither the originals nor a temporary file");
}

#[test]
fn of_many_who_want_one_name_one_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..200 {
        let target = format!("target.{round}");
        let got = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|racer| {
                    let source = format!("source.{round}.{racer}");
                    std::fs::write(directory.path().join(&source), "x").unwrap();
                    let (mut imports, target) = (imports(directory.path()), target.clone());
                    scope.spawn(move || imports.rename(source, target))
                })
                .collect();
            let results = racers.into_iter().map(|racer| racer.join().unwrap());
            let (got, others): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
            assert!(others.iter().all(|other| matches!(other, Err(Error::Exists))), "{others:?}");
            got.len()
        });
        assert_eq!(got, 1, "round {round}");
    }
}

#[test]
fn no_call_reads_more_than_the_host_should_hold() {
    let directory = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(directory.path().join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    let mut imports = imports(directory.path());
    let size = 1 << 40;
    assert!(
        matches!(imports.read(text("sparse"), u64::MAX), Err(Error::TooLarge(it)) if it == size)
    );
    let read = imports.read_at(text("sparse"), 1 << 30, u64::MAX);
    assert!(matches!(read, Err(Error::TooLarge(_))));
    assert_eq!(imports.read_at(text("sparse"), size - 3, 10).unwrap(), [0, 0, 0]);
}

#[test]
fn a_path_below_a_file_does_not_exist() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let mut imports = imports(directory.path());
    let path = "file/name";
    assert!(matches!(imports.read(text(path), 1), Err(Error::NotFound)));
    assert!(matches!(imports.stat(text(path)), Err(Error::NotFound)));
    assert!(matches!(imports.list(text(path)), Err(Error::NotFound)));
    assert!(matches!(imports.remove(text(path)), Err(Error::NotFound)));
    assert!(matches!(imports.replace(vec![replacement(path, "")], true), Err(Error::NotFound)));
    assert!(matches!(imports.list(text("file")), Err(Error::WrongKind(Kind::File))));
}
