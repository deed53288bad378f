//! `wreckit-host status`

mod watch;

use serde_json::{Value, json};

use super::error::Error;
use super::exit_code::ExitCode;
use super::{Context, parse};
use crate::engine::Instance;
use crate::engine::batch::{ItemStanding, ItemStatus, Overview};
use crate::engine::process::Liveness;
use crate::output::Tone;

/// Show the session and every item
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// Follow a running batch to its end
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
    let overview = context.call(&mut instance, Instance::status)??;
    match args.json {
        true => context.output.json(&format!("{:#}", document(&overview)?)),
        false => print(&overview, context),
    }
    Ok(ExitCode::Success)
}

fn document(overview: &Overview) -> Result<Value, Error> {
    let session: Value = match &overview.session {
        None => Value::Null,
        Some(text) => parse(text)?,
    };
    let counts = overview.counts;
    Ok(json!({
        "session": session,
        "owner": overview.owner.map(liveness),
        "stale": overview.stale,
        "counts": {
            "queued": counts.queued,
            "completed": counts.completed,
            "failed": counts.failed,
            "skipped": counts.skipped,
            "in_flight": counts.in_flight,
            "left": counts.left,
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
        "status": word(item.standing),
    });
    if item.standing == ItemStanding::Invalid {
        object["title"] = json!("");
        object["error"] = json!(item.title);
    }
    object
}

fn print(overview: &Overview, context: &Context) {
    let output = context.output;
    if let Some(damage) = &overview.damage {
        output.line(Tone::Warning, damage);
        output
            .line(Tone::Hint, "`wreckit-host doctor` says more, `wreckit-host run` deals with it");
    }
    let session =
        overview.session.as_ref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(session) = session {
        let text = |key: &str| session.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        let owner = match overview.owner {
            Some(Liveness::Running) => "running",
            Some(Liveness::Exited) => "interrupted: `wreckit-host run` goes on with it",
            Some(Liveness::Unknown) | None => "its process cannot be seen from here",
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
        "{} queued: {} completed, {} failed, {} left ({} in flight); {} done before",
        counts.queued,
        counts.completed,
        counts.failed,
        counts.left,
        counts.in_flight,
        counts.skipped
    ));
}

/// `ready     001-a  Write the parser (failed last: the agent exited with code 3)`.
fn line(item: &ItemStatus) -> String {
    let is_left =
        matches!(item.standing, ItemStanding::Ready | ItemStanding::Blocked | ItemStanding::Failed);
    let error = item.last_error.as_deref().filter(|_| is_left).and_then(|it| it.lines().next());
    let error = error.map(|error| match item.standing {
        ItemStanding::Failed => format!(" ({error})"),
        _ => format!(" (failed last: {error})"),
    });
    let (word, error) = (word(item.standing), error.unwrap_or_default());
    format!("{word:<10}{}  {}{error}", item.id, item.title)
}

fn liveness(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Running => "running",
        Liveness::Exited => "exited",
        Liveness::Unknown => "unknown",
    }
}

fn word(standing: ItemStanding) -> &'static str {
    match standing {
        ItemStanding::Ready => "ready",
        ItemStanding::Blocked => "blocked",
        ItemStanding::Running => "running",
        ItemStanding::Completed => "completed",
        ItemStanding::Failed => "failed",
        ItemStanding::Skipped => "skipped",
        ItemStanding::Invalid => "invalid",
    }
}
