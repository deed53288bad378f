//! Sessions with nothing to do, and roots that are not used.

use super::*;
use crate::io::capabilities::FsError;

#[test]
fn a_run_with_nothing_to_do_creates_no_session_and_removes_no_log() {
    let machine = Machine::new();
    machine.item("001-a", "done", &[]);
    machine.item("002-b", "idea", &["009-gone"]);
    machine.put("items/003-c/item.json", "{");
    machine.put("runs/earlier/001-a.1.log", "the work of a night");
    let before = machine.paths();
    for pid in 1..30 {
        let process = machine.process(pid);
        let summary = run(&process, &options(), |call| panic!("{call:?}"));
        assert_eq!((summary.skipped.len(), summary.resumable), (1, true));
        assert_eq!(blocked_ids(&summary.blocked), ["002-b"]);
        assert_eq!(ids(&summary.invalid), ["003-c"]);
        assert_eq!(line(summary.events.last().unwrap())["event"], "batch-finished");
        machine.kill(pid);
    }
    let is_of_session = |path: &&String| path.starts_with("runs") || path.contains("progress");
    let sessions =
        |paths: &[String]| paths.iter().filter(is_of_session).cloned().collect::<Vec<_>>();
    assert_eq!(sessions(&machine.paths()), sessions(&before));
}

#[test]
fn the_root_of_a_repository_is_refused_and_nothing_is_written() {
    let machine = Machine::new();
    machine.put("src/main.rs", "fn main() {}");
    machine.put(".wreckit/config.json", "{}");
    let process = machine.process(1);
    assert!(matches!(open(host(&process), &options()), Err(OpenError::WrongRoot(_))));
    let added = add(host(&process), &["x".to_owned()]);
    assert!(matches!(added, Err(AddError::WrongRoot(_))), "{added:?}");
    assert!(matches!(fix(host(&process)), Err(doctor::RepairError::WrongRoot(_))));
    assert_eq!(machine.operations(), []);
}

#[test]
fn too_few_random_bytes_are_an_error() {
    let machine = machine(&THREE);
    machine.randomness.set(5);
    let process = machine.process(1);
    let Err(OpenError::Storage(failure)) = open(host(&process), &options()) else { panic!() };
    assert!(matches!(failure.error, FsError::Failed(why) if why.contains("random")));
}
