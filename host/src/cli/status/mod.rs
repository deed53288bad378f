//! `wreckit-host status`

mod watch;

use serde_json::{Value, json};

use super::error::{Error, Root};
use super::{Context, parse};
use crate::engine::Instance;
use crate::exit_code::ExitCode;
use crate::report::output::Tone;
use crate::wit::batch::{ItemState, ItemStatus, Overview};
use crate::wit::processes::ProcessStatus;

/// Show the session and every item
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
    /// Follow a running batch until it ends
    #[arg(long)]
    watch: bool,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let repository = context.repository()?;
    let mut instance = context.instance(&repository)?;
    if args.watch {
        watch::watch(&mut instance, args.json, context)?;
        return Ok(ExitCode::Success);
    }
    let overview = overview(&mut instance, context)?;
    match args.json {
        true => context.output.json(&format!("{:#}", document(&overview)?)),
        false => print(&overview, context),
    }
    Ok(ExitCode::Success)
}

fn overview(instance: &mut Instance, context: &Context) -> Result<Overview, Error> {
    let overview = context.call(instance, Instance::status)?;
    overview.map_err(|failure| Error::Storage(Root::Batch, failure))
}

fn document(overview: &Overview) -> Result<Value, Error> {
    let session: Value = match &overview.session {
        None => Value::Null,
        Some(text) => parse(text)?,
    };
    let counts = overview.counts;
    Ok(json!({
        "session": session,
        "owner": overview.owner.map(owner_word),
        "stale": overview.stale,
        "counts": {
            "queued": counts.queued,
            "completed": counts.completed,
            "failed": counts.failed,
            "skipped": counts.skipped,
            "in_flight": counts.in_flight,
            "left": counts.remaining,
        },
        "items": overview.items.iter().map(item).collect::<Vec<_>>(),
    }))
}

fn item(item: &ItemStatus) -> Value {
    let mut object = json!({
        "id": item.id,
        "state": item.state,
        "title": item.title,
        "depends_on": item.depends_on,
        "status": state_word(item.batch_state),
    });
    if item.batch_state == ItemState::Invalid {
        object["title"] = json!("");
        object["error"] = json!(item.title);
    }
    object
}

fn print(overview: &Overview, context: &Context) {
    let output = context.output;
    if let Some(damage) = &overview.damage {
        output.line(Tone::Warning, damage);
        output.line(
            Tone::Hint,
            "`wreckit-host doctor` shows details, `wreckit-host run` rebuilds it",
        );
    }
    let session =
        overview.session.as_ref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(session) = session {
        let text = |key: &str| session.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        let owner = match overview.owner {
            Some(ProcessStatus::Running) => "running",
            Some(ProcessStatus::Exited) => "interrupted: `wreckit-host run` continues it",
            Some(ProcessStatus::Unknown) | None => "its process is not visible from here",
        };
        let owner =
            if overview.stale { "stale: not written to for more than 24 hours" } else { owner };
        output.result(&format!("session {} ({owner})", text("session_id")));
        output.result(&format!("started {}, updated {}", text("started_at"), text("updated_at")));
    }
    for item in &overview.items {
        output.result(&line(item));
    }
    let counts = overview.counts;
    output.result(&format!(
        "{} queued: {} completed, {} failed, {} remaining ({} in flight); {} already done",
        counts.queued,
        counts.completed,
        counts.failed,
        counts.remaining,
        counts.in_flight,
        counts.skipped
    ));
}

/// Returns `ready     001-a  Write the parser (last failure: the agent exited with code 3)`.
fn line(item: &ItemStatus) -> String {
    let remains =
        matches!(item.batch_state, ItemState::Ready | ItemState::Blocked | ItemState::Failed);
    let error = item.last_error.as_deref().filter(|_| remains).and_then(|it| it.lines().next());
    let error = error.map(|error| match item.batch_state {
        ItemState::Failed => format!(" ({error})"),
        _ => format!(" (last failure: {error})"),
    });
    let (word, error) = (state_word(item.batch_state), error.unwrap_or_default());
    format!("{word:<10}{}  {}{error}", item.id, item.title)
}

fn owner_word(status: ProcessStatus) -> &'static str {
    match status {
        ProcessStatus::Running => "running",
        ProcessStatus::Exited => "exited",
        ProcessStatus::Unknown => "unknown",
    }
}

fn state_word(state: ItemState) -> &'static str {
    match state {
        ItemState::Ready => "ready",
        ItemState::Blocked => "blocked",
        ItemState::Running => "running",
        ItemState::Completed => "completed",
        ItemState::Failed => "failed",
        ItemState::Skipped => "skipped",
        ItemState::Invalid => "invalid",
    }
}
