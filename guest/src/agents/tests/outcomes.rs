//! What the end of a call means.

use proptest::prelude::*;

use super::*;

fn ended(ending: Ending, stopped: Option<StopCause>) -> Ended {
    let item = "001-a".to_owned();
    Ended { item, attempt: 1, ending, stopped, duration: 1, output: None }
}

fn outcome(agent_json: &str, output: &str, ending: Ending) -> Outcome {
    let agent = agent(agent_json);
    let mut watcher = agent.watcher();
    if let Some(watcher) = &mut watcher {
        watcher.feed(output.as_bytes());
    }
    agent.outcome(&ended(ending, None), watcher.as_ref())
}

#[test]
fn exit_codes_markers_and_limits_decide() {
    let failed = |error: &str| Outcome::Failed(error.to_owned());
    let paused = |reason: &str| Outcome::Paused(reason.to_owned());
    let later = paused("the agent asked to be retried later (exit code 75)");
    let limit = paused("the agent reached a limit: Usage limit reached");
    let unproven = failed("the agent exited without printing its completion marker, DONE");
    let output = "Usage limit reached\n";
    for (agent, output, code, expected) in [
        (COMMAND, "", 0, Outcome::Completed),
        (COMMAND, "", 3, failed("the agent exited with code 3")),
        (COMMAND, output, 1, failed("the agent exited with code 1")),
        (COMMAND, "", 75, later.clone()),
        (PROCESS, "DONE", 75, later),
        (PROCESS, "DONE", 0, Outcome::Completed),
        (PROCESS, "DONE", 1, failed("the agent exited with code 1")),
        (PROCESS, "", 0, unproven.clone()),
        (PATTERN, output, 1, limit.clone()),
        (PATTERN, "fine\n", 1, failed("the agent exited with code 1")),
        // An agent that succeeds has not hit a limit, whatever it printed.
        (PATTERN, output, 0, Outcome::Completed),
        (BOTH, "Usage limit reached\nDONE", 0, Outcome::Completed),
        (BOTH, output, 0, limit.clone()),
        (BOTH, "Usage limit reached\nDONE", 1, limit.clone()),
        (BOTH, "", 0, unproven),
    ] {
        assert_eq!(
            outcome(agent, output, Ending::Exited(code)),
            expected,
            "{agent} {output} {code}"
        );
    }
    assert_eq!(outcome(PATTERN, output, Ending::Signaled(9)), limit);
}

#[test]
fn signals_are_named() {
    for (signal, error) in [
        (9, "the agent was ended by signal 9 (SIGKILL)"),
        (15, "the agent was ended by signal 15 (SIGTERM)"),
        (64, "the agent was ended by signal 64"),
    ] {
        let expected = Outcome::Failed(error.to_owned());
        assert_eq!(outcome(COMMAND, "", Ending::Signaled(signal)), expected);
    }
}

#[test]
fn a_stop_cause_takes_precedence_over_how_the_process_ended() {
    let config = r#"{"agent": {"kind": "command", "command": "a"}, "timeout_seconds": 5}"#;
    let fields = [field("config.json", config)];
    let options = options(AgentChoice::Configured);
    let agent = Agent::new(Source::Contents(&fields), &options, PromptSet::Items).unwrap();
    let of = |ending, cause| agent.outcome(&ended(ending, Some(cause)), None);
    for ending in [Ending::Exited(0), Ending::Exited(75), Ending::Signaled(15)] {
        assert_eq!(of(ending.clone(), StopCause::Interrupt), Outcome::Interrupted);
        let timed_out = Outcome::TimedOut("timed out after 5 s".to_owned());
        assert_eq!(of(ending.clone(), StopCause::Timeout), timed_out);
        let Outcome::Failed(error) = of(ending, StopCause::Terminal) else { panic!("failed") };
        assert!(error.contains("at the terminal"), "{error}");
    }
    let lost = || Ending::Lost("it hangs".to_owned());
    assert_eq!(of(lost(), StopCause::Interrupt), Outcome::Interrupted);
    let expected = Outcome::Lost("timed out after 5 s, and it hangs".to_owned());
    assert_eq!(of(lost(), StopCause::Timeout), expected);
    let expected = Outcome::Lost("it hangs".to_owned());
    assert_eq!(agent.outcome(&ended(lost(), None), None), expected);
}

#[test]
fn fractions_of_a_second_are_shown() {
    let timed_out = |timeout| {
        let options = Options { timeout: Some(timeout), ..options(AgentChoice::Custom) };
        let agent = Agent::new(Source::Contents(&[]), &options, PromptSet::Items).unwrap();
        agent.outcome(&ended(Ending::Exited(0), Some(StopCause::Timeout)), None)
    };
    for (timeout, error) in [
        (1000, "timed out after 1 s"),
        (1500, "timed out after 1.5 s"),
        (5, "timed out after 0.005 s"),
        (10_000, "timed out after 10 s"),
    ] {
        assert_eq!(timed_out(timeout), Outcome::TimedOut(error.to_owned()));
    }
}

#[test]
fn a_call_that_did_not_start_fails_or_pauses() {
    let of = |failure| {
        let ending = Ending::NotStarted(NotStarted { failure, reason: "no room".to_owned() });
        outcome(PROCESS, "", ending)
    };
    let error = || "the agent could not be started: no room".to_owned();
    assert_eq!(of(StartFailure::OutOfResources), Outcome::OutOfResources(error()));
    assert_eq!(of(StartFailure::Failed), Outcome::Failed(error()));
    assert_eq!(of(StartFailure::HandedBack), Outcome::HandedBack);
}

#[test]
fn mock_and_custom_agents_succeed_with_exit_code_0() {
    for choice in [AgentChoice::Mock(0), AgentChoice::Custom] {
        let options = options(choice);
        let agent = Agent::new(Source::Contents(&[]), &options, PromptSet::Items).unwrap();
        let of = |ending, stopped| agent.outcome(&ended(ending, stopped), None);
        assert_eq!(of(Ending::Exited(0), None), Outcome::Completed);
        assert_eq!(of(Ending::Exited(0), Some(StopCause::Interrupt)), Outcome::Interrupted);
        assert!(matches!(of(Ending::Exited(75), None), Outcome::Paused(_)));
        assert!(matches!(of(Ending::Exited(1), None), Outcome::Failed(_)));
    }
}

fn endings() -> impl Strategy<Value = Ending> {
    let failure = prop_oneof![
        Just(StartFailure::OutOfResources),
        Just(StartFailure::Failed),
        Just(StartFailure::HandedBack)
    ];
    prop_oneof![
        prop_oneof![Just(0), Just(75), any::<i32>()].prop_map(Ending::Exited),
        any::<i32>().prop_map(Ending::Signaled),
        failure
            .prop_map(|failure| Ending::NotStarted(NotStarted { failure, reason: String::new() })),
        Just(Ending::Lost(String::new())),
    ]
}

proptest! {
    /// An item completes only if its agent exited with 0, was not stopped and printed its marker.
    #[test]
    fn nothing_but_a_proven_success_completes(
        ending in endings(),
        stopped in proptest::option::of(prop_oneof![
            Just(StopCause::Timeout), Just(StopCause::Interrupt), Just(StopCause::Terminal)
        ]),
        output in "(DONE|usage limit|\\n| ){0,4}",
        has_marker in any::<bool>(),
    ) {
        let agent = agent(if has_marker { BOTH } else { PATTERN });
        let mut watcher = agent.watcher();
        if let Some(watcher) = &mut watcher {
            watcher.feed(output.as_bytes());
        }
        let outcome = agent.outcome(&ended(ending.clone(), stopped), watcher.as_ref());
        let is_success = ending == Ending::Exited(0)
            && stopped.is_none()
            && (!has_marker || output.contains("DONE"));
        prop_assert_eq!(outcome == Outcome::Completed, is_success);
        let is_started = !matches!(ending, Ending::NotStarted(_));
        if is_started && stopped == Some(StopCause::Interrupt) {
            prop_assert_eq!(&outcome, &Outcome::Interrupted);
        }
        let is_limit = Regex::new("usage limit").unwrap().is_match(&output);
        let is_exit = matches!(ending, Ending::Exited(_) | Ending::Signaled(_));
        let pauses = stopped.is_none()
            && (ending == Ending::Exited(75) || (is_exit && is_limit && !is_success));
        prop_assert_eq!(matches!(outcome, Outcome::Paused(_)), pauses);
    }
}
