//! Features against a disk in memory.

mod foreign_documents;
mod views;
mod working;

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::*;
use crate::bindings::exports::wreckit::batch::feature::{
    AbortReason, Cleanup, Details, Field, Iteration, Measurements, NewFeature, PhaseMove, Snapshot,
    Tokens, Validation, Verdict, View, WorktreeAction,
};
use crate::doctor::features;
use crate::io::host::Host;
use crate::io::layout::FEATURES;
use crate::io::memory::{Machine, Process};

const ID: &str = "asset-export_20260301_081500";
const FILE: &str = "asset-export_20260301_081500/progress.json";

fn host(process: &Process) -> Host<'_> {
    Host::with_layout(process, &FEATURES)
}

/// A machine whose disk has this document.
fn with(document: &Value) -> Rc<Machine> {
    let machine = Machine::new();
    machine.clock.set(1_900_000_000_000);
    machine.put(FILE, document.to_string());
    machine
}

fn document(machine: &Machine) -> Value {
    serde_json::from_str(&machine.text(FILE).expect("a file")).expect("JSON")
}

/// A document with nothing but the required fields.
fn least(phases: &[(&str, &str)]) -> Value {
    let phases: Map<String, Value> = phases
        .iter()
        .map(|(name, status)| ((*name).to_owned(), json!({"status": status})))
        .collect();
    json!({
        "feature_id": ID, "feature_name": "Asset Export", "created": "2026-03-01T08:15:00Z",
        "updated": "2026-03-01T08:15:00Z", "current_phase": "planning", "status": "in_progress",
        "phases": phases,
    })
}

fn step(machine: &Rc<Machine>, step: PhaseMove, phase: &str) -> Result<Snapshot, FeatureError> {
    move_phase(host(&machine.process(1)), ID, phase, step, &Details::default())
}

fn illegal(result: Result<Snapshot, FeatureError>) -> Vec<String> {
    match result {
        Err(FeatureError::Illegal(illegal)) => illegal.legal,
        other => panic!("{other:?}"),
    }
}

fn iteration(review: Verdict, test: Verdict) -> Iteration {
    Iteration { implementation: "it".to_owned(), review, test, test_failures: Vec::new() }
}

fn field(name: &str, value: &str) -> Field {
    Field { name: name.to_owned(), value: value.to_owned() }
}

/// The JSON of a view.
fn json(view: View) -> Value {
    serde_json::from_str(&view.json).expect("JSON")
}
