//! The `batch` interface.

use super::{Component, SESSION, host, wit};
use crate::formats::journal::Event;
use crate::session::{
    self, AddError, CloseReason, ItemStanding, OpenError, Origin, Report, SessionError,
};

impl wit::Guest for Component {
    fn open(options: wit::Options) -> Result<wit::Opening, wit::OpenError> {
        SESSION.with_borrow_mut(|slot| {
            if slot.is_some() {
                return Err(wit::OpenError::AlreadyOpen);
            }
            let (session, opened) = batch::open(host(), &options.into())?;
            *slot = Some(session);
            Ok(opening(opened))
        })
    }

    fn advance(reports: Vec<wit::Report>, slots: u32) -> Result<wit::Step, wit::SessionError> {
        let reports: Vec<Report> = reports.into_iter().map(Into::into).collect();
        SESSION.with_borrow_mut(|slot| {
            let session = slot.as_mut().ok_or(wit::SessionError::NotOpen)?;
            Ok(step(session.advance(host(), &reports, slots as usize)?))
        })
    }

    fn close(reason: wit::CloseReason) -> Result<wit::Summary, wit::SessionError> {
        let reason = match reason {
            wit::CloseReason::Ended => CloseReason::Ended,
            wit::CloseReason::Interrupted => CloseReason::Interrupted,
        };
        SESSION.with_borrow_mut(|slot| {
            let session = slot.as_mut().ok_or(wit::SessionError::NotOpen)?;
            let closed = session.close(host(), reason)?;
            *slot = None;
            Ok(summary(closed))
        })
    }

    fn preview(options: wit::Options) -> Result<wit::Forecast, wit::OpenError> {
        let preview = batch::preview(host(), &options.into())?;
        Ok(wit::Forecast {
            resumes: preview.resumes,
            queue: preview.queue,
            blocked: blocked(preview.blocked),
            invalid: failures(preview.invalid),
            settled: count(preview.settled),
        })
    }

    fn status() -> Result<wit::Overview, wit::StorageFailure> {
        let status = batch::status(host())?;
        Ok(wit::Overview {
            session: status.session,
            owner: status.owner.map(Into::into),
            stale: status.stale,
            damage: status.damage,
            counts: status.counts.into(),
            items: status.items.into_iter().map(Into::into).collect(),
        })
    }

    fn read_progress() -> Option<wit::Json> {
        batch::read_progress(host())
    }

    fn clear_progress() -> Result<(), wit::StorageFailure> {
        Ok(batch::clear_progress(host())?)
    }

    fn add(titles: Vec<String>) -> Result<Vec<wit::ItemId>, wit::AddError> {
        Ok(batch::add(host(), &titles)?)
    }
}

pub(super) fn opening(opening: batch::Opening) -> wit::Opening {
    wit::Opening {
        session: opening.session,
        origin: match opening.origin {
            Origin::Fresh => wit::Origin::Fresh,
            Origin::Resumed => wit::Origin::Resumed,
            Origin::Rebuilt => wit::Origin::Rebuilt,
        },
        counts: opening.counts.into(),
        events: lines(&opening.events),
    }
}

pub(super) fn step(step: batch::Step) -> wit::Step {
    wit::Step {
        start: step.start.into_iter().map(Into::into).collect(),
        events: lines(&step.events),
        wake_after: step.wake_after,
        finished: step.finished,
        paused_until: step.paused_until,
        counts: step.counts.into(),
    }
}

pub(super) fn summary(summary: batch::Summary) -> wit::Summary {
    wit::Summary {
        session: summary.session,
        completed: summary.completed,
        failed: failures(summary.failed),
        skipped: summary.skipped,
        remaining: summary.remaining,
        blocked: blocked(summary.blocked),
        invalid: failures(summary.invalid),
        resumable: summary.resumable,
        awaits: summary.awaits,
        events: lines(&summary.events),
    }
}

fn lines(events: &[Event]) -> Vec<wit::Json> {
    events.iter().filter_map(|event| serde_json::to_string(event).ok()).collect()
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn failures(list: Vec<(String, String)>) -> Vec<wit::FailedItem> {
    list.into_iter().map(|(item, error)| wit::FailedItem { item, error }).collect()
}

fn blocked(list: Vec<(String, String)>) -> Vec<wit::BlockedItem> {
    list.into_iter().map(|(item, reason)| wit::BlockedItem { item, reason }).collect()
}

impl From<wit::Options> for batch::Options {
    fn from(options: wit::Options) -> Self {
        batch::Options {
            items: options.items,
            no_resume: options.no_resume,
            retry_failed: options.retry_failed,
            take_over: options.take_over,
            parallel: options.parallel.max(1),
            mock: options.mock,
            single: options.single,
            limit_wait: options.limit_wait,
            retries: options.retries,
            max_failures: options.max_failures,
            phases: options.phases,
            max_iterations: options.max_iterations,
        }
    }
}

impl From<OpenError> for wit::OpenError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Busy(holder) => wit::OpenError::Busy((*holder).into()),
            OpenError::Unresolved(words) => {
                let ambiguous = words.ambiguous;
                let words = wit::Unresolved { given: words.given, candidates: words.candidates };
                if ambiguous {
                    wit::OpenError::AmbiguousItem(words)
                } else {
                    wit::OpenError::UnknownItem(words)
                }
            }
            OpenError::Orphaned(workers) => {
                wit::OpenError::Orphaned(workers.into_iter().map(Into::into).collect())
            }
            OpenError::Storage(failure) => wit::OpenError::Storage(failure.into()),
        }
    }
}

impl From<SessionError> for wit::SessionError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::UnknownAttempt { .. } => {
                wit::SessionError::UnknownAttempt(error.to_string())
            }
            SessionError::Storage(failure) => wit::SessionError::Storage(failure.into()),
        }
    }
}

impl From<batch::Counts> for wit::Counts {
    fn from(counts: batch::Counts) -> Self {
        wit::Counts {
            queued: count(counts.queued),
            completed: count(counts.completed),
            failed: count(counts.failed),
            skipped: count(counts.skipped),
            in_flight: count(counts.in_flight),
            left: count(counts.left),
        }
    }
}

impl From<batch::Attempt> for wit::Attempt {
    fn from(attempt: batch::Attempt) -> Self {
        wit::Attempt {
            item: attempt.item,
            number: attempt.number,
            call: attempt.call,
            phase: attempt.phase,
            story: attempt.story,
            title: attempt.title,
            overview: attempt.overview,
            section: attempt.section,
            branch: attempt.branch,
            directory: attempt.directory,
            log: attempt.log,
        }
    }
}

impl From<wit::Report> for Report {
    fn from(report: wit::Report) -> Self {
        match report {
            wit::Report::Started(started) => Report::Started(batch::Started {
                item: started.item,
                attempt: started.attempt,
                phase: started.phase,
                pid: started.pid,
                start_time: started.start_time,
            }),
            wit::Report::Ended(ended) => Report::Ended(batch::Ended {
                item: ended.item,
                attempt: ended.attempt,
                outcome: match ended.outcome {
                    wit::Outcome::Completed => batch::Outcome::Completed,
                    wit::Outcome::Failed(error) => batch::Outcome::Failed(error),
                    wit::Outcome::TimedOut(seconds) => batch::Outcome::TimedOut(seconds),
                    wit::Outcome::Interrupted => batch::Outcome::Interrupted,
                    wit::Outcome::Paused(reason) => batch::Outcome::Paused(reason),
                    wit::Outcome::NotStarted(reason) => batch::Outcome::NotStarted(reason),
                    wit::Outcome::Lost(reason) => batch::Outcome::Lost(reason),
                },
                exit_code: ended.exit_code,
                signal: ended.signal,
                duration: ended.duration,
                output: ended.output,
            }),
        }
    }
}

impl From<batch::ItemStatus> for wit::ItemStatus {
    fn from(item: batch::ItemStatus) -> Self {
        wit::ItemStatus {
            id: item.id,
            state: item.state,
            title: item.title,
            depends_on: item.depends_on,
            last_error: item.last_error,
            standing: match item.standing {
                ItemStanding::Ready => wit::ItemStanding::Ready,
                ItemStanding::Blocked => wit::ItemStanding::Blocked,
                ItemStanding::Running => wit::ItemStanding::Running,
                ItemStanding::Completed => wit::ItemStanding::Completed,
                ItemStanding::Failed => wit::ItemStanding::Failed,
                ItemStanding::Skipped => wit::ItemStanding::Skipped,
                ItemStanding::Invalid => wit::ItemStanding::Invalid,
            },
        }
    }
}

impl From<AddError> for wit::AddError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Busy => wit::AddError::Busy,
            AddError::Storage(failure) => wit::AddError::Storage(failure.into()),
        }
    }
}
