#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test creates its own files and processes"
)]

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef";
const WITNESS: &str = "batch.owner.1";

/// The leader of a group, which is killed with the group.
struct Leader(Child);

impl Drop for Leader {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// Starts the leader of a group in a directory, with this mark in its environment.
fn leader(mark: Option<&OsStr>, place: &Path, script: &str) -> Leader {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).env_clear().env("PATH", "/usr/bin:/bin").process_group(0);
    if let Some(mark) = mark {
        command.env(marker::ROOT, mark);
    }
    // Whatever goes wrong, no one waits for their output.
    command.current_dir(place).stdout(Stdio::null()).stderr(Stdio::null());
    Leader(command.spawn().unwrap())
}

fn token(leader: &Leader) -> String {
    Identity::of(Pid::from_child(&leader.0)).token()
}

/// Creates a root with this id. Tests run at the same time, so each has its own id.
fn root(place: &Path, id: &str) -> Leftovers {
    std::fs::write(place.join(".repository-id"), id).unwrap();
    std::fs::write(place.join(WITNESS), "a claim").unwrap();
    Leftovers::new(ambient::open_dir(place).unwrap())
}

fn witness() -> Option<String> {
    Some(WITNESS.to_owned())
}

/// Waits until a file exists.
fn wait_for(file: &Path) {
    let since = Instant::now();
    while !file.exists() {
        assert!(since.elapsed() < Duration::from_secs(10), "{}", file.display());
        sleep(Duration::from_millis(5));
    }
}

fn exits(leader: &mut Leader) -> bool {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(10) {
        if leader.0.try_wait().unwrap().is_some() {
            return true;
        }
        sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn only_processes_whose_marker_proves_that_they_belong_to_this_root_are_ended() {
    let (place, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut leftovers = root(place.path(), ID);
    let mark = OsString::from(leftovers.marker().unwrap().value);
    let at = |path: &Path| OsString::from(format!("{ID}:1:2:{}", path.display()));
    let start = |mark: Option<&OsStr>| leader(mark, place.path(), "exec sleep 1000");
    let mut ours = start(Some(&mark));
    let mut same_place = start(Some(&at(place.path())));
    let mut of_copy = start(Some(&at(copy.path())));
    let mut nowhere = start(Some(&at(Path::new("/nowhere/at/all"))));
    let mut foreign = start(Some(OsStr::new(&format!("{}:1:2:/", ID.replace('0', "1")))));
    let mut bare = start(None);
    let tokens = [&ours, &same_place, &of_copy, &nowhere, &foreign, &bare].map(token);
    let reused = Identity { start_time: Some(1), ..Identity::parse(&tokens[0]).unwrap() }.token();
    let recorded = [&tokens[..], &[reused]].concat();

    let list = |leftovers: &mut Leftovers, witness| {
        let listed = leftovers.list(&recorded, witness).unwrap();
        let index = |it: &Leftover| tokens.iter().position(|token| *token == it.process.token);
        let mut listed: Vec<(usize, bool)> =
            listed.iter().filter_map(|it| Some((index(it)?, it.proven))).collect();
        listed.sort_unstable();
        listed
    };
    let expected = [(0, true), (1, true), (3, false), (5, false)];
    assert_eq!(list(&mut leftovers, witness()), expected);
    // Without a witness only id, device and inode prove anything.
    let expected = [(0, true), (1, false), (2, false), (3, false), (5, false)];
    assert_eq!(list(&mut leftovers, None), expected);

    for signal in [StopSignal::Terminate, StopSignal::Kill] {
        leftovers.signal(&recorded, signal, witness()).unwrap();
    }
    assert!(exits(&mut ours) && exits(&mut same_place));
    let listed = list(&mut leftovers, witness());
    assert_eq!(listed, [(3, false), (5, false)], "what has exited is not listed");
    for other in [&mut of_copy, &mut nowhere, &mut foreign, &mut bare] {
        assert!(other.0.try_wait().unwrap().is_none());
    }
}

#[test]
fn the_rest_of_a_group_without_a_marker_is_ended_although_its_leader_has_exited() {
    let place = tempfile::tempdir().unwrap();
    let mut leftovers = root(place.path(), &ID.replace('0', "2"));
    let mark = OsString::from(leftovers.marker().unwrap().value);
    // The child clears its environment and ignores SIGTERM; the leader does not.
    let script = "env -i /bin/sh -c 'trap \"\" TERM; : > ready; while :; do sleep 1; done' & wait";
    let mut leader = leader(Some(&mark), place.path(), script);
    wait_for(&place.path().join("ready"));
    let tokens = [token(&leader)];

    leftovers.signal(&tokens, StopSignal::Terminate, witness()).unwrap();
    assert!(exits(&mut leader));
    let listed = leftovers.list(&[], witness()).unwrap();
    let listed: Vec<&str> = listed.iter().map(|it| it.process.token.as_str()).collect();
    assert_eq!(listed, [&tokens[0]], "its group still exists");

    leftovers.signal(&tokens, StopSignal::Kill, witness()).unwrap();
    let since = Instant::now();
    while !leftovers.list(&tokens, witness()).unwrap().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_group_is_ended_although_the_member_that_proves_it_exits_first() {
    let place = tempfile::tempdir().unwrap();
    let mut leftovers = root(place.path(), &ID.replace('0', "3"));
    let mark = OsString::from(leftovers.marker().unwrap().value);
    // The leader has no marker, its child has one.
    let script = "sleep 1000 & echo $! > member; exec env -i /bin/sh -c ': > ready; sleep 1000'";
    let mut leader = leader(Some(&mark), place.path(), script);
    wait_for(&place.path().join("ready"));
    let member = std::fs::read_to_string(place.path().join("member")).unwrap();
    let member = Pid::from_raw(member.trim().parse().unwrap()).unwrap();
    let tokens = [Identity::of(member).token(), token(&leader)];

    let listed = leftovers.list(&tokens[1..], witness()).unwrap();
    let is_leader = |it: &&Leftover| it.process.token == tokens[1];
    assert!(listed.iter().find(is_leader).is_some_and(|leader| leader.proven));
    leftovers.signal(&tokens, StopSignal::Kill, witness()).unwrap();
    assert!(exits(&mut leader));
}
