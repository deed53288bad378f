//! What has to hold after a power loss.

use serde_json::Value;

use crate::world::World;

/// Checks a repository as it is after a power loss, in a copy of it: what was acknowledged is done
/// after a plain `run` and does not run again, and `doctor` finds nothing that it cannot fix.
///
/// With `agents_write` the file of an item may be damaged as long as it was not said that the result is
/// in it: its agent wrote the file.
pub fn check(world: &World, agents_write: bool) -> Result<(), String> {
    let mut copy = world.copy().map_err(|error| format!("the copy: {error}"))?;
    let is_synced = |id: &str| world.acknowledged.get(id).is_some_and(|it| it.is_synced);
    let is_excused = |id: &str| agents_write && !is_synced(id);
    for (id, document) in copy.items() {
        if document.is_none() && !is_excused(&id) {
            return Err(format!("item.json of {id} is not whole"));
        }
    }
    diagnose(&mut copy, &is_excused)?;
    for (id, title) in &world.added {
        let document = copy.items().remove(id).flatten().unwrap_or_default();
        if document["title"] != title.as_str() {
            return Err(format!("{id} was added and is lost"));
        }
    }
    let ran = copy.run(&["run", "--format", "json"], None)?;
    for (id, acknowledged) in &world.acknowledged {
        if copy.ledger().iter().skip(acknowledged.ledger).any(|started| started == id) {
            return Err(format!("{id} was acknowledged and ran again"));
        }
        let document = copy.items().remove(id).flatten().unwrap_or_default();
        if document["state"] != "done" && !is_excused(id) {
            return Err(format!(
                "{id} was acknowledged and is {}: {}",
                document["state"], ran.stderr
            ));
        }
    }
    for (id, document) in copy.items() {
        if document.unwrap_or_default()["state"] != "done" && !is_excused(&id) {
            return Err(format!("{id} is not done after a plain run: {}", ran.stderr));
        }
    }
    diagnose(&mut copy, &is_excused)
}

/// Fails if `doctor` finds an error or warning that it cannot fix.
pub(crate) fn diagnose(world: &mut World, is_excused: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let ran = world.run(&["doctor", "--json"], None)?;
    let report: Value = serde_json::from_str(&ran.stdout)
        .map_err(|_| format!("doctor fails: {:?} {}", ran.code, ran.stderr))?;
    let found = report["diagnostics"].as_array().into_iter().flatten();
    for diagnostic in found.filter(|it| it["severity"] != "info" && it["fixable"] == false) {
        if !diagnostic["item_id"].as_str().is_some_and(is_excused) {
            return Err(format!("doctor cannot fix {diagnostic}"));
        }
    }
    Ok(())
}
