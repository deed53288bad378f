//! Commands that show features.

use serde_json::{Value, json};

use super::open;
use crate::cli::Context;
use crate::cli::error::{Error, Root};
use crate::engine::Instance;
use crate::exit_code::ExitCode;
use crate::wit::feature::{Entry, View};

/// List every feature
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

/// Show the document of a feature
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The feature: its id, or an unambiguous prefix
    id: String,
    /// Print the document as JSON
    #[arg(long)]
    json: bool,
}

/// Show everything that a new session needs to continue
#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    /// The feature: its id, or an unambiguous prefix
    id: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Show the time, agents, tokens and cost of a feature
#[derive(Debug, clap::Args)]
pub(super) struct Summary {
    /// The feature: its id, or an unambiguous prefix
    id: String,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &List, context: &Context) -> Result<ExitCode, Error> {
    let entries = match context.features()? {
        None => Vec::new(),
        Some(features) => entries(&mut context.instance_over(&features.directory)?, context)?,
    };
    if args.json {
        let rows: Vec<Value> = entries.iter().map(row).collect();
        context.output.json(&format!("{:#}", Value::from(rows)));
        return Ok(ExitCode::Success);
    }
    for entry in &entries {
        context.output.result(&line(entry));
    }
    if entries.is_empty() {
        context.output.result("no features");
    }
    Ok(ExitCode::Success)
}

/// Returns every feature.
pub(super) fn entries(instance: &mut Instance, context: &Context) -> Result<Vec<Entry>, Error> {
    let listed = context.call(instance, Instance::feature_list)?;
    listed.map_err(|failure| Error::Storage(Root::Features, failure))
}

fn row(entry: &Entry) -> Value {
    json!({
        "feature_id": entry.id,
        "feature_name": entry.name,
        "status": entry.status,
        "current_phase": entry.current_phase,
        "updated": entry.updated,
        "damage": entry.damage,
    })
}

/// Returns `in_progress  export-csv-20261124-1200  Export CSV (planning)`.
fn line(entry: &Entry) -> String {
    if let Some(damage) = &entry.damage {
        return format!("{:<12} {}  {damage}", "damaged", entry.id);
    }
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let (status, name) = (text(&entry.status), text(&entry.name));
    format!("{status:<12} {}  {name} ({})", entry.id, text(&entry.current_phase))
}

pub(super) fn show(args: &Show, context: &Context) -> Result<ExitCode, Error> {
    let (_, mut instance) = open(context)?;
    let read = context.call(&mut instance, |instance| instance.feature_read(&args.id))??;
    print(&View { json: read.document, text: read.text }, args.json, context)
}

pub(super) fn resume(args: &Resume, context: &Context) -> Result<ExitCode, Error> {
    let (_, mut instance) = open(context)?;
    let view = context.call(&mut instance, |instance| instance.feature_resume(&args.id))??;
    print(&view, args.json, context)
}

pub(super) fn summary(args: &Summary, context: &Context) -> Result<ExitCode, Error> {
    let (_, mut instance) = open(context)?;
    let view = context.call(&mut instance, |instance| instance.feature_summarize(&args.id))??;
    print(&view, args.json, context)
}

fn print(view: &View, json: bool, context: &Context) -> Result<ExitCode, Error> {
    match json {
        true => context.json(&view.json)?,
        false => context.output.document(view.text.trim_end()),
    }
    Ok(ExitCode::Success)
}
