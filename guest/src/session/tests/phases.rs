//! Items with phases.

use serde_json::json;

use super::*;

/// Options for an agent that is called once per phase; its configuration is on the machine.
pub(super) fn phased(machine: &Machine) -> Options {
    if machine.text("config.json").is_none() {
        let config = json!({"agent": {"kind": "process", "command": "agent"}});
        machine.put("config.json", config.to_string());
    }
    Options { agent: AgentChoice::Configured, max_iterations: Some(10), ..options() }
}

fn put_prd(machine: &Machine, id: &str, stories: &[(&str, &str)]) {
    let stories: Vec<Value> = stories
        .iter()
        .map(|(id, status)| {
            json!({"id": id, "title": "t", "acceptance_criteria": ["a", "b"], "priority": 1,
                   "status": status, "notes": ""})
        })
        .collect();
    let prd = json!({"schema_version": 1, "id": id, "branch_name": "b", "user_stories": stories});
    machine.put(&layout::prd_file(id), prd.to_string());
}

/// Does the work of a phase.
pub(super) fn work(machine: &Machine, attempt: &Call) -> Outcome {
    let directory = &attempt.directory;
    match attempt.phase.as_str() {
        "research" => machine.put(&format!("{directory}/research.md"), "found"),
        "plan" => {
            machine.put(&format!("{directory}/plan.md"), "planned");
            put_prd(machine, &attempt.item, &[("US-001", "pending"), ("US-002", "pending")]);
        }
        _ => {
            let second =
                if attempt.story.as_deref() == Some("US-001") { "pending" } else { "done" };
            put_prd(machine, &attempt.item, &[("US-001", "done"), ("US-002", second)]);
        }
    }
    Outcome::Completed
}

#[test]
fn an_item_goes_through_its_phases_and_its_stories_one_by_one() {
    let machine = machine(&THREE[..1]);
    let process = machine.process(1);
    let mut seen = Vec::new();
    let summary = run(&process, &phased(&machine), |attempt| {
        let state = machine.state_of(&attempt.item);
        let phase = attempt.phase.clone();
        seen.push((attempt.attempt, attempt.number, phase, attempt.story.clone(), state));
        work(&machine, attempt)
    });
    let story = |id: &str| Some(id.to_owned());
    assert_eq!(
        seen,
        [
            (1, 1, "research".to_owned(), None, "idea".to_owned()),
            (1, 2, "plan".to_owned(), None, "researched".to_owned()),
            (1, 3, "implement".to_owned(), story("US-001"), "planned".to_owned()),
            (1, 4, "implement".to_owned(), story("US-002"), "implementing".to_owned()),
        ]
    );
    assert_eq!(summary.completed, ["001-a"]);
    assert_eq!(machine.state_of("001-a"), "done");
}

#[test]
fn an_interrupted_item_resumes_at_its_phase() {
    let machine = machine(&THREE[..1]);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &phased(&machine)).unwrap();
    let step = session.advance(host(&process), &[], 1).unwrap();
    let done = ended_in(&mut session, &step.start[0], work(&machine, &step.start[0]));
    let step = session.advance(host(&process), &[done], 1).unwrap();
    assert_eq!(step.start[0].phase, "plan");
    machine.kill(1);
    let process = machine.process(2);
    let mut seen = Vec::new();
    run(&process, &phased(&machine), |attempt| {
        seen.push((attempt.attempt, attempt.phase.clone()));
        work(&machine, attempt)
    });
    let call = |phase: &str| (2, phase.to_owned());
    assert_eq!(seen, [call("plan"), call("implement"), call("implement")]);
    assert_eq!(machine.state_of("001-a"), "done");
}

#[test]
fn a_phase_without_its_artifacts_fails() {
    type Write = fn(&Machine);
    let cases: [(&str, Write, &str); 7] = [
        ("idea", |_| {}, "research.md is missing"),
        ("idea", |m| m.put("items/001-a/research.md", ""), "research.md is empty (0 bytes)"),
        ("idea", |m| m.put("items/001-a/research.md", "x"), "research.md is empty (1 bytes)"),
        ("researched", |_| {}, "plan.md is missing"),
        ("researched", |m| m.put("items/001-a/plan.md", "plan"), "prd.json is missing"),
        (
            "researched",
            |m| {
                m.put("items/001-a/plan.md", "plan");
                m.put("items/001-a/prd.json", "{}");
            },
            "prd.json is invalid: `schema_version` must be 1, it is missing",
        ),
        (
            "researched",
            |m| {
                m.put("items/001-a/plan.md", "plan");
                put_prd(m, "001-a", &[]);
            },
            "prd.json has no stories",
        ),
    ];
    for (state, write, error) in cases {
        let machine = Machine::new();
        machine.item("001-a", state, &[]);
        if state == "researched" {
            machine.put("items/001-a/research.md", "found");
        }
        let process = machine.process(1);
        let summary = run(&process, &phased(&machine), |_| {
            write(&machine);
            Outcome::Completed
        });
        assert!(summary.failed[0].error.starts_with(error), "{error}: {:?}", summary.failed);
        assert_eq!(machine.state_of("001-a"), state);
    }
}

#[test]
fn missing_artifacts_that_a_state_implies_are_produced_first() {
    for (state, first) in
        [("researched", "research"), ("planned", "research"), ("idea", "research")]
    {
        let machine = Machine::new();
        machine.item("001-a", state, &[]);
        let process = machine.process(1);
        let mut phases = Vec::new();
        let summary = run(&process, &phased(&machine), |attempt| {
            phases.push(attempt.phase.clone());
            work(&machine, attempt)
        });
        assert_eq!(phases[0], first, "{state}");
        assert_eq!(summary.completed, ["001-a"], "{state}: {:?}", summary.failed);
        assert_eq!(machine.state_of("001-a"), "done", "{state}");
    }
}

#[test]
fn pending_stories_fail_the_item_after_the_maximum_number_of_calls() {
    let machine = Machine::new();
    machine.item("001-a", "implementing", &[]);
    machine.put("items/001-a/plan.md", "plan");
    put_prd(&machine, "001-a", &[("US-001", "pending")]);
    let process = machine.process(1);
    let mut calls = 0;
    let options = Options { max_iterations: Some(3), ..phased(&machine) };
    let summary = run(&process, &options, |_| {
        calls += 1;
        Outcome::Completed
    });
    assert_eq!(calls, 3);
    assert!(summary.failed[0].error.contains("after 3 calls"), "{:?}", summary.failed);
}

#[test]
fn no_agent_is_called_for_an_item_without_work() {
    let machine = Machine::new();
    machine.item("001-a", "planned", &[]);
    machine.put("items/001-a/plan.md", "plan");
    put_prd(&machine, "001-a", &[("US-001", "done")]);
    machine.item("002-b", "in_pr", &[]);
    let process = machine.process(1);
    let summary = run(&process, &phased(&machine), |attempt| panic!("{attempt:?}"));
    assert_eq!(summary.completed, ["001-a", "002-b"]);
    assert_eq!(machine.state_of("001-a"), "done");
    assert_eq!(machine.state_of("002-b"), "in_pr", "a run does not end a review");
}

#[test]
fn an_agent_that_changes_the_state_is_not_overruled_and_not_called_forever() {
    let machine = machine(&THREE[..1]);
    let process = machine.process(1);
    let mut calls = 0;
    let summary = run(&process, &phased(&machine), |attempt| {
        calls += 1;
        assert!(calls < 10, "it is called forever");
        let outcome = work(&machine, attempt);
        machine.item("001-a", if attempt.phase == "implement" { "in_pr" } else { "idea" }, &[]);
        outcome
    });
    assert_eq!((calls, summary.completed.len()), (3, 1), "{:?}", summary.failed);
    assert_eq!(machine.state_of("001-a"), "in_pr");
}

#[test]
fn a_stopping_batch_and_a_paused_one_make_no_further_call() {
    let machine = machine(&THREE[..2]);
    let process = machine.process(1);
    let options = Options { parallel: 2, ..phased(&machine) };
    let (mut session, _) = open(host(&process), &options).unwrap();
    let step = session.advance(host(&process), &[], 2).unwrap();
    let paused = ended(&step.start[1], Outcome::Paused);
    let done = ended_in(&mut session, &step.start[0], work(&machine, &step.start[0]));
    let step = session.advance(host(&process), &[paused, done], 2).unwrap();
    assert!(step.start.is_empty() && !step.finished && step.paused_until.is_some());
    machine.clock.set(machine.clock.get() + 60_000);
    let step = session.advance(host(&process), &[], 0).unwrap();
    assert!(step.start.is_empty() && !step.finished, "no slots: the batch is being stopped");
    let step = session.advance(host(&process), &[], 2).unwrap();
    let phases: Vec<_> =
        step.start.iter().map(|attempt| (&*attempt.item, &*attempt.phase)).collect();
    assert_eq!(phases, [("001-a", "plan"), ("002-b", "research")]);
    let summary = session.close(host(&process), CloseReason::Interrupted).unwrap();
    assert_eq!(summary.remaining, ["001-a", "002-b"]);
}

#[test]
fn a_full_disk_between_two_phases_loses_nothing() {
    let machine = machine(&THREE[..1]);
    let process = machine.process(1);
    let (mut session, _) = open(host(&process), &phased(&machine)).unwrap();
    let step = session.advance(host(&process), &[], 1).unwrap();
    let done = ended_in(&mut session, &step.start[0], work(&machine, &step.start[0]));
    machine.full.set(true);
    session.advance(host(&process), &[done], 1).unwrap_err();
    machine.full.set(false);
    let step = session.advance(host(&process), &[], 1).unwrap();
    assert_eq!((&*step.start[0].phase, step.start[0].number), ("plan", 2));
    assert_eq!(machine.state_of("001-a"), "researched");
}
