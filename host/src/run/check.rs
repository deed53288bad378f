//! Checks what the component asks for before anything is started: it ends up in paths, arguments and
//! environments.

use std::collections::HashSet;

use crate::engine::ComponentError;
use crate::wit::session::{Call, CommandLaunch, ComponentLaunch, Step, Worker};

/// Checks a step of a session with these items in flight and this number of free slots.
pub(super) fn check<'i>(
    step: &Step,
    in_flight: impl Iterator<Item = &'i str>,
    slots: usize,
) -> Result<(), ComponentError> {
    if step.start.len() > slots {
        return Err(violation("it starts more agents than there are free slots"));
    }
    let mut items: HashSet<&str> = in_flight.collect();
    if step.finished && !(step.start.is_empty() && items.is_empty()) {
        return Err(violation("it has finished although agents are running"));
    }
    for call in &step.start {
        check_call(call)?;
        if !items.insert(&call.item) {
            return Err(violation("it starts an item that is already running"));
        }
    }
    Ok(())
}

fn check_call(call: &Call) -> Result<(), ComponentError> {
    let launch = &call.launch;
    if !is_name(&call.item) {
        return Err(violation("invalid item name"));
    }
    if !is_path(&call.directory) || !is_path(&launch.log) {
        return Err(violation("invalid path"));
    }
    let is_variable = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    if !launch.environment.iter().all(|it| is_variable(&it.name) && !it.value.contains('\0')) {
        return Err(violation("invalid environment variable"));
    }
    let (file, arguments) = match &launch.worker {
        Worker::Command(CommandLaunch { program, arguments, .. }) => (program, arguments),
        Worker::Component(ComponentLaunch { file, arguments }) => (file, arguments),
        Worker::Mock(_) => return Ok(()),
        Worker::Custom => {
            return Err(violation("it asks for a custom agent, which this host does not have"));
        }
    };
    match file.is_empty() || file.contains('\0') || arguments.iter().any(|it| it.contains('\0')) {
        true => Err(violation("invalid command line")),
        false => Ok(()),
    }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_name)
}

/// Describes a violation of the protocol.
pub(super) fn violation(what: &str) -> ComponentError {
    ComponentError::Protocol(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wit::session::{Counts, Launch, WorkingDirectory};
    use crate::wit::terminator::Variable;

    fn call(item: &str) -> Call {
        Call {
            item: item.to_owned(),
            attempt: 1,
            number: 1,
            phase: "run".to_owned(),
            story: None,
            title: String::new(),
            overview: String::new(),
            directory: format!("items/{item}"),
            launch: Launch {
                worker: Worker::Command(CommandLaunch {
                    program: "true".to_owned(),
                    arguments: vec!["a".to_owned()],
                    directory: WorkingDirectory::Repository,
                    input: None,
                }),
                environment: vec![Variable { name: "A".to_owned(), value: "=".to_owned() }],
                watch_output: false,
                timeout: None,
                log: "logs/a.log".to_owned(),
                append_log: false,
            },
        }
    }

    fn step(start: Vec<Call>) -> Step {
        let counts =
            Counts { queued: 0, completed: 0, failed: 0, skipped: 0, in_flight: 0, remaining: 0 };
        Step {
            start,
            events: Vec::new(),
            wake_after: 0,
            finished: false,
            paused_until: None,
            counts,
        }
    }

    fn reason(step: &Step, in_flight: &[&str], slots: usize) -> Option<String> {
        check(step, in_flight.iter().copied(), slots).err().map(|error| error.to_string())
    }

    #[test]
    fn a_valid_step_is_accepted() {
        assert_eq!(reason(&step(vec![call("001-a"), call("002-b")]), &["003-c"], 2), None);
        assert_eq!(reason(&Step { finished: true, ..step(Vec::new()) }, &[], 0), None);
    }

    #[test]
    fn a_step_that_contradicts_the_session_is_refused() {
        for (step, in_flight, slots, expected) in [
            (step(vec![call("a"), call("b")]), &[][..], 1, "more agents than there are free slots"),
            (step(vec![call("a"), call("a")]), &[][..], 2, "already running"),
            (step(vec![call("a")]), &["a"][..], 2, "already running"),
            (Step { finished: true, ..step(Vec::new()) }, &["a"][..], 2, "agents are running"),
        ] {
            let reason = reason(&step, in_flight, slots).unwrap();
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn a_call_with_an_unusable_text_is_refused() {
        let mut calls: Vec<(Call, &str)> =
            ["", ".", "..", "a/b", "a\0b"].map(|item| (call(item), "invalid item name")).into();
        let mut add = |expected, change: &dyn Fn(&mut Call)| {
            let mut call = call("001-a");
            change(&mut call);
            calls.push((call, expected));
        };
        add("invalid path", &|call| call.directory = "../001-a".to_owned());
        add("invalid path", &|call| call.launch.log = "/etc/passwd".to_owned());
        for (name, value) in [("", ""), ("A=B", ""), ("A\0", ""), ("A", "\0")] {
            add("invalid environment variable", &|call| {
                let variable = Variable { name: name.to_owned(), value: value.to_owned() };
                call.launch.environment.push(variable);
            });
        }
        for (program, argument) in [("", ""), ("a\0", ""), ("a", "\0")] {
            add("invalid command line", &|call| {
                call.launch.worker = Worker::Component(ComponentLaunch {
                    file: program.to_owned(),
                    arguments: vec![argument.to_owned()],
                });
            });
        }
        add("custom agent", &|call| call.launch.worker = Worker::Custom);
        for (call, expected) in calls {
            let reason = reason(&step(vec![call]), &[], 1).unwrap();
            assert!(reason.contains(expected), "{expected}: {reason}");
        }
    }
}
