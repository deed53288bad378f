//! A session as saved on disk: the snapshot, and the journal beyond it.

use serde_json::{Map, Value};

use crate::formats::journal::{self, Damage, Event, EventKind};
use crate::formats::progress::Progress;
use crate::formats::result::ItemResult;
use crate::io::capabilities::Level;
use crate::io::host::{Failure, Host};
use crate::io::layout;
use crate::io::owner::Owner;
use crate::session::ledger::Ledger;
use crate::time::Timestamp;
use crate::workload::{self, results::Unwritten};

/// A session that was read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// The snapshot without its lists, which are the ledger's.
    pub progress: Progress,
    /// The state of every item.
    pub ledger: Ledger,
    /// Results that may not be in the files of their items yet.
    pub unapplied: Vec<ItemResult>,
    /// The last event that counts.
    pub last_event: u64,
    /// Damaged places in the journal.
    pub damage: Vec<Damage>,
    /// Why the snapshot's claims on the journal are not believed, if they are not.
    pub doubt: Option<String>,
    /// The directory of its journal and logs.
    pub directory: String,
    /// True if it ran a single item, without a progress file.
    pub single: bool,
    /// The feature whose phases it ran, if it was not a batch.
    pub feature: Option<String>,
}

impl Saved {
    /// The document that a snapshot of it would be.
    pub fn document(&self) -> Progress<&str> {
        let first = self.unapplied.iter().map(|result| result.seq).min();
        let mark = first.map_or(self.last_event, |seq| seq.saturating_sub(1));
        document(&self.progress, &self.ledger, mark)
    }

    /// `3 completed, 1 failed, 4 remaining`.
    pub fn describe(&self) -> String {
        let ledger = &self.ledger;
        let (completed, failed) = (ledger.completed().len(), ledger.failed().len());
        format!("{completed} completed, {failed} failed, {} remaining", ledger.remaining_count())
    }

    /// Applies the results that may not be in the files of their items. Those that cannot be written remain.
    ///
    /// Makes the journal durable first: the process that wrote it may have been killed before its sync, and from
    /// here on it counts.
    pub fn apply_results(&mut self, host: Host<'_>) -> Result<Vec<Unwritten>, Failure> {
        self.report_damage(host);
        let segments = journal::segments(host, &self.directory)?;
        let segments: Vec<String> =
            segments.into_iter().map(|number| layout::segment(&self.directory, number)).collect();
        host.sync(&segments)?;
        let unwritten = workload::apply_results(host, self.feature.as_deref(), &self.unapplied)?;
        self.unapplied = unwritten.iter().map(|it| it.result.clone()).collect();
        Ok(unwritten)
    }

    /// Warns about damage in the journal.
    fn report_damage(&self, host: Host<'_>) {
        if let Some(doubt) = &self.doubt {
            let words = "every result in the journal was checked against its item.json";
            host.log(Level::Warning, &format!("{doubt}: {words}"));
        }
        for damage in &self.damage {
            host.log(Level::Warning, &damage.to_string());
        }
    }
}

/// The document of a session.
pub fn document<'l>(head: &Progress, ledger: &'l Ledger, last_event: u64) -> Progress<&'l str> {
    let mut journal = head.journal.clone().unwrap_or_default();
    journal.events = last_event;
    journal.attempts = ledger.open_attempts();
    journal.workers =
        ledger.workers().map(|(item, worker)| (item.to_owned(), worker.clone())).collect();
    journal.workers.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut document = Progress {
        session_id: head.session_id.clone(),
        pid: head.pid,
        started_at: head.started_at,
        updated_at: head.updated_at,
        parallel: head.parallel,
        queued_items: Vec::new(),
        current_item: None,
        completed: Vec::new(),
        failed: Vec::new(),
        skipped: Vec::new(),
        healing_attempts: head.healing_attempts,
        last_healing_at: head.last_healing_at.clone(),
        in_flight: Vec::new(),
        errors: Map::new(),
        owner: head.owner.clone(),
        journal: Some(journal),
        unknown: head.unknown.clone(),
    };
    ledger.write_to(&mut document);
    document
}

/// Reads what the journal has beyond a snapshot; all of it, if the snapshot claims what cannot be so.
pub fn load(host: Host<'_>, progress: Progress) -> Result<Saved, Failure> {
    let ledger = Ledger::from_progress(&progress);
    let directory = host.layout().run_directory(&progress.session_id);
    let doubt = doubt(host, &progress, &directory)?;
    let mark = progress.journal.as_ref().map_or(0, |mark| mark.events);
    let mut saved = Saved {
        progress: head(progress),
        ledger,
        unapplied: Vec::new(),
        last_event: mark,
        damage: Vec::new(),
        doubt,
        directory: directory.clone(),
        single: false,
        feature: None,
    };
    let after = if saved.doubt.is_some() { 0 } else { mark };
    let reading = journal::read(host, &directory, after, |event| saved.replay(&event))?;
    // No number is given twice, whatever the snapshot says.
    saved.last_event = reading.last.max(mark);
    saved.damage = reading.damage;
    Ok(saved)
}

/// What is wrong with the part of the journal that a snapshot claims to include.
fn doubt(host: Host<'_>, progress: &Progress, directory: &str) -> Result<Option<String>, Failure> {
    let Some(mark) = &progress.journal else { return Ok(None) };
    if mark.is_damaged {
        return Ok(Some(format!("`journal` of {} does not match its checksum", layout::PROGRESS)));
    }
    let last = journal::last_event(host, directory)?.map_or(0, |event| event.seq);
    Ok((last < mark.events).then(|| {
        let end = if last == 0 { "is missing" } else { &format!("ends with event {last}") };
        let claim = format!("{} includes event {} of its journal", layout::PROGRESS, mark.events);
        format!("{claim}, which {end}")
    }))
}

/// Reads a session from its journal alone; `None` if there is nothing in it. One whose beginning is
/// damaged has no queue, and its results all the same.
pub fn rebuild(host: Host<'_>, directory: &str) -> Result<Option<Saved>, Failure> {
    let mut saved: Option<Saved> = None;
    let reading = journal::read(host, directory, 0, |event| {
        saved.get_or_insert_with(|| begin(&event, directory)).replay(&event);
    })?;
    Ok(saved.map(|saved| Saved { last_event: reading.last, damage: reading.damage, ..saved }))
}

impl Saved {
    fn replay(&mut self, event: &Event) {
        self.ledger.apply(event);
        self.unapplied.extend(ItemResult::of(event));
        self.progress.updated_at = self.progress.updated_at.max(event.time);
        match event.kind {
            Some(EventKind::BatchStarted | EventKind::JournalRecreated) => {
                take_owner(&mut self.progress, event);
            }
            // One writer appends in order: nothing that a `synced` covers follows it.
            Some(EventKind::Synced) => self.unapplied.clear(),
            Some(EventKind::BatchFinished) => {
                if let Some(owner) = &mut self.progress.owner {
                    owner.released = true;
                }
            }
            _ => {}
        }
    }
}

/// The head of a session that begins with this event.
fn begin(event: &Event, directory: &str) -> Saved {
    let progress = Progress {
        session_id: event.text("session_id").unwrap_or_else(|| name_of(directory)).to_owned(),
        pid: 1,
        started_at: event.time,
        updated_at: event.time,
        parallel: 1,
        queued_items: Vec::new(),
        current_item: None,
        completed: Vec::new(),
        failed: Vec::new(),
        skipped: Vec::new(),
        healing_attempts: 0,
        last_healing_at: None,
        in_flight: Vec::new(),
        errors: Map::new(),
        owner: None,
        journal: None,
        unknown: Map::new(),
    };
    Saved {
        progress,
        ledger: Ledger::default(),
        unapplied: Vec::new(),
        last_event: 0,
        damage: Vec::new(),
        doubt: None,
        directory: directory.to_owned(),
        single: event.is("single"),
        feature: event.text("feature").map(str::to_owned),
    }
}

/// The session of a directory, where nothing else says it.
fn name_of(directory: &str) -> &str {
    directory.rsplit('/').next().unwrap_or_default()
}

/// The owner that a `batch-started` names is that of the session from there on.
fn take_owner(progress: &mut Progress, event: &Event) {
    progress.pid = event.integer("pid").unwrap_or(progress.pid);
    progress.owner = event.more.get("owner").and_then(Owner::from_json);
    let parallel = event.integer("parallel").and_then(|count| u32::try_from(count).ok());
    progress.parallel = parallel.unwrap_or(progress.parallel);
}

/// A snapshot without its lists, which are in the ledger.
fn head(progress: Progress) -> Progress {
    Progress {
        queued_items: Vec::new(),
        current_item: None,
        completed: Vec::new(),
        failed: Vec::new(),
        skipped: Vec::new(),
        in_flight: Vec::new(),
        errors: Map::<String, Value>::new(),
        ..progress
    }
}

/// The snapshot of a new session.
pub fn new_snapshot(session_id: String, now: Timestamp) -> Progress {
    let event = Event::new(EventKind::BatchStarted, now).with("session_id", session_id);
    begin(&event, "").progress
}
