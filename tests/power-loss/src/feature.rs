//! A feature goes through its phases.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::campaign::Case;
use crate::disk::Interruption;
use crate::oracle;

const PHASES: [&str; 4] = ["planning", "architecture", "implementation", "testing"];
/// A command that changes a feature makes fewer changes and syncs than this.
const LONG: u64 = 40;

/// Plays the scenario: the feature exists if that was said, and what is complete stays complete and
/// is not worked on again.
pub(crate) fn play(case: &mut Case, losses: usize) -> Result<(), String> {
    case.world.sync();
    let mut feature = None;
    // The phases that were complete, and the length of the ledger when that was read.
    let mut complete: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..losses {
        let is_told = advance(case, &mut feature)?;
        if let (Some(id), true) = (&feature, is_told) {
            read(case, id, &mut complete)?;
        }
        case.lose_power()?;
        oracle::diagnose(&mut case.world, &|_| false)?;
        if let Some(id) = &feature {
            read(case, id, &mut complete)?;
        }
        let ledger = case.world.ledger();
        for (phase, length) in &complete {
            if ledger.iter().skip(*length).any(|started| started.ends_with(phase)) {
                return Err(format!("{phase} was complete and was worked on again"));
            }
        }
    }
    Ok(())
}

/// Makes the feature, or takes it a few moves further. Returns whether the last one succeeded.
fn advance(case: &mut Case, feature: &mut Option<String>) -> Result<bool, String> {
    let id = match feature {
        Some(id) => id.clone(),
        None => {
            let mut arguments = vec!["feature", "new", "Asset Export"];
            arguments.extend(PHASES.iter().flat_map(|phase| ["--phase", *phase]));
            if case.random.once_in(3) {
                let kill = Some(Interruption::Kill(case.random.below(14)));
                case.command(&arguments, kill)?;
            }
            let interruption = if case.random.once_in(2) { case.cut_before(LONG) } else { None };
            let ran = case.command(&arguments, interruption)?;
            if ran.code != Some(0) {
                return Ok(false);
            }
            let id = ran.stdout.trim().to_owned();
            *feature = Some(id.clone());
            if interruption.is_some() {
                return Ok(true);
            }
            id
        }
    };
    if case.random.once_in(2) {
        let cut = case.cut_before(3 * LONG);
        return Ok(case.command(&["feature", "run", &id, "--yes"], cut)?.code == Some(0));
    }
    for _ in 0..case.random.below(4) {
        move_on(case, &id, None)?;
    }
    let cut = case.cut_before(LONG);
    move_on(case, &id, cut)
}

/// Starts or completes the first phase that is not complete.
fn move_on(case: &mut Case, id: &str, interruption: Option<Interruption>) -> Result<bool, String> {
    let document = show(case, id)?;
    let status = |phase: &&&str| document["phases"][**phase]["status"].as_str();
    let Some(phase) = PHASES.iter().find(|phase| status(phase) != Some("complete")) else {
        return Ok(true);
    };
    let verb = if status(&phase) == Some("in_progress") { "complete" } else { "start" };
    let mut arguments = vec!["feature", verb, id, phase];
    if verb == "complete" {
        arguments.extend(["--set", "approved=true"]);
    }
    Ok(case.command(&arguments, interruption)?.code == Some(0))
}

fn show(case: &mut Case, id: &str) -> Result<Value, String> {
    let ran = case.world.run(&["feature", "show", id, "--json"], None)?;
    serde_json::from_str(&ran.stdout)
        .map_err(|_| format!("feature {id} cannot be read: {:?} {}", ran.code, ran.stderr))
}

/// Reads which phases are complete; those that were have to be.
fn read(case: &mut Case, id: &str, complete: &mut BTreeMap<String, usize>) -> Result<(), String> {
    // The power may be off: then there is nothing to read.
    if case.world.is_off() {
        return Ok(());
    }
    let document = show(case, id)?;
    let length = case.world.ledger().len();
    for phase in PHASES {
        let is_complete = document["phases"][phase]["status"] == "complete";
        if is_complete {
            complete.entry(phase.to_owned()).or_insert(length);
        } else if complete.contains_key(phase) {
            return Err(format!("{phase} was complete and is not: {document}"));
        }
    }
    Ok(())
}
