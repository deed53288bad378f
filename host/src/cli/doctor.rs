//! `wreckit-host doctor`

use std::collections::HashSet;

use serde_json::{Value, json};

use super::Context;
use super::error::Error;
use super::exit_code::ExitCode;
use crate::engine::doctor::{Diagnostic, Mended, RepairError, Severity, Treatment};
use crate::engine::{ComponentError, Instance};
use crate::features::FEATURES;
use crate::output::{self, Tone, safe};
use crate::repository::{RepositoryError, STATE};
use crate::run;

/// Find damaged, stale or contradictory state, and mend it with --fix
///
/// Ends with 0 if no error is left, 1 if one is, 3 if --fix cannot begin because a batch runs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Mend what can be mended, after a backup that `backups restore` brings back
    #[arg(long)]
    fix: bool,
    /// Fail on warnings, too
    #[arg(long)]
    strict: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// What was found and done.
#[derive(Default)]
struct Report {
    found: Vec<Diagnostic>,
    fixes: Vec<Mended>,
    left: Vec<Diagnostic>,
    /// Of the batch, and of the features.
    backups: Vec<String>,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    // Features may be all that there is.
    let features = context.features_if_usable();
    let repository = match (context.repository(), &features) {
        (Err(Error::Repository(RepositoryError::NotFound(_))), Some(_)) => None,
        (repository, _) => Some(repository?),
    };
    let mut report = Report::default();
    let mut errors = Vec::new();
    if let Some(repository) = repository {
        let mut instance = context.instance(&repository)?;
        let error = examine(
            &mut report,
            &mut instance,
            args.fix,
            (Instance::diagnose, Instance::fix),
            context,
        )?;
        errors.extend(error.map(|error| Error::of_repair(error, STATE)));
    }
    if let Some(features) = features {
        let mut instance = context.instance_over(&features.directory)?;
        let error = examine(
            &mut report,
            &mut instance,
            args.fix,
            (Instance::feature_diagnose, Instance::feature_fix),
            context,
        )?;
        errors.extend(error.map(|error| Error::of_repair(error, FEATURES)));
    }
    match args.json {
        true => print_json(&report, context),
        false => print(&report, args.fix, context),
    }
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(exit_code(&report.left, args.strict)),
    }
}

type Diagnose = fn(&mut Instance) -> Result<Vec<Diagnostic>, ComponentError>;
type Fix = fn(&mut Instance) -> Result<Result<Treatment, RepairError>, ComponentError>;

/// Looks at what an instance is over, and mends it if that is wanted; why it could not be mended.
fn examine(
    report: &mut Report,
    instance: &mut Instance,
    is_to_fix: bool,
    (diagnose, fix): (Diagnose, Fix),
    context: &Context,
) -> Result<Option<RepairError>, Error> {
    let mut error = None;
    if is_to_fix {
        let fixed = context
            .call(instance, |instance| run::patiently(|| fix(instance), run::holder_of_repair))?;
        match fixed {
            Ok(Treatment { found, fixes, left, backup }) => {
                report.found.extend(found);
                report.fixes.extend(fixes);
                report.left.extend(left);
                report.backups.extend(backup);
                return Ok(None);
            }
            // Where nothing can be mended, it still looks.
            Err(why) => error = Some(why),
        }
    }
    let found = context.call(instance, diagnose)?;
    report.left.extend(found.clone());
    report.found.extend(found);
    Ok(error)
}

fn exit_code(left: &[Diagnostic], strict: bool) -> ExitCode {
    let fails = |finding: &Diagnostic| match finding.severity {
        Severity::Error => true,
        Severity::Warning => strict,
        Severity::Info => false,
    };
    if left.iter().any(fails) { ExitCode::Failure } else { ExitCode::Success }
}

const SEVERITIES: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Info];

/// The findings by severity, those of a kind together, and behind them what mends them.
fn print(report: &Report, fix: bool, context: &Context) {
    let output = context.output;
    let mut found: Vec<&Diagnostic> = report.found.iter().collect();
    found.sort_by_key(|finding| {
        SEVERITIES.iter().position(|severity| *severity == finding.severity)
    });
    let mut groups: Vec<Vec<&Diagnostic>> = Vec::new();
    for finding in found {
        let kind = |it: &Diagnostic| (it.severity, it.code.clone(), it.remedy.clone());
        match groups.iter_mut().find(|group| kind(group[0]) == kind(finding)) {
            Some(group) => group.push(finding),
            None => groups.push(vec![finding]),
        }
    }
    for group in groups {
        for finding in &group {
            output.result(&line(word(finding.severity), &finding.code, finding, &finding.message));
        }
        let Some(first) = group.first() else { continue };
        let remedy = match first.fixable {
            true => format!("`wreckit-host doctor --fix` {}", first.remedy),
            false => first.remedy.clone(),
        };
        if !(fix && first.fixable) {
            output.result(&format!("{:<8} {remedy}", ""));
        }
    }
    for mended in &report.fixes {
        let word = if mended.fixed { "mended" } else { "not mended" };
        let finding = &mended.diagnostic;
        output.result(&line(word, &finding.code, finding, &mended.message));
    }
    for finding in came_up(report) {
        output.result(&line(word(finding.severity), &finding.code, finding, &finding.message));
    }
    output.result(&summary(report, fix));
    if let Some(hint) = undoing(report) {
        output.line(Tone::Hint, &hint);
    }
}

/// How to undo what was done; `None` if no file was changed.
fn undoing(report: &Report) -> Option<String> {
    let commands: Vec<String> = report
        .backups
        .iter()
        .map(|backup| format!("`wreckit-host backups restore {}`", safe::word(backup)))
        .collect();
    let undoes = if commands.len() == 1 { "undoes" } else { "undo" };
    let commands = Some(commands.join(" and ")).filter(|commands| !commands.is_empty())?;
    Some(match report.fixes.iter().any(|mended| mended.fixed) {
        true => format!("{commands} {undoes} all of this"),
        // A change that failed half-way has its backup all the same.
        false => format!("if a file was changed all the same, {commands} {undoes} it"),
    })
}

/// What is left and was not found before something else was mended.
fn came_up(report: &Report) -> impl Iterator<Item = &Diagnostic> {
    fn key(it: &Diagnostic) -> (&str, &Option<String>, &str) {
        (&it.code, &it.item_id, &it.message)
    }
    let found: HashSet<_> = report.found.iter().map(key).collect();
    report.left.iter().filter(move |finding| !found.contains(&key(finding)))
}

/// `warning  INDEX_STALE 001-a: …`
fn line(word: &str, code: &str, finding: &Diagnostic, message: &str) -> String {
    let item = finding.item_id.as_ref().map(|item| format!("{item}: ")).unwrap_or_default();
    format!("{word:<8} {code} {item}{message}")
}

/// `2 errors and 1 warning found; 1 mended, 2 left`.
fn summary(report: &Report, fix: bool) -> String {
    let count = |list: &[Diagnostic], severity, name: &str| {
        let count = list.iter().filter(|finding| finding.severity == severity).count();
        (count > 0).then(|| output::counted(count, name))
    };
    let counts = |list: &[Diagnostic]| {
        let names = ["error", "warning", "note"];
        let counted = SEVERITIES.iter().zip(names);
        counted.filter_map(|(severity, name)| count(list, *severity, name)).collect::<Vec<_>>()
    };
    if report.found.is_empty() {
        return "nothing found".to_owned();
    }
    let found = counts(&report.found).join(", ");
    if report.fixes.is_empty() {
        let fixable = report.left.iter().filter(|finding| finding.fixable).count();
        return match fixable {
            0 => format!("{found}: to be mended by hand"),
            _ if fix => format!("{found}: nothing was mended"),
            fixable => {
                format!(
                    "{found}: `wreckit-host doctor --fix` mends {fixable} of them, after a backup"
                )
            }
        };
    }
    let mended = report.fixes.iter().filter(|mended| mended.fixed).count();
    let left = match counts(&report.left) {
        left if left.is_empty() => "nothing".to_owned(),
        left => left.join(", "),
    };
    format!("{found} found; {mended} mended, {left} left")
}

fn print_json(report: &Report, context: &Context) {
    let document = json!({
        "diagnostics": report.found.iter().map(diagnostic).collect::<Vec<_>>(),
        "fixes": report.fixes.iter().map(|mended| json!({
            "diagnostic": diagnostic(&mended.diagnostic),
            "fixed": mended.fixed,
            "message": mended.message,
            "backup": mended.backup.as_ref().map(|backup| json!({
                "session_id": backup.id,
                "path": backup.path,
            })),
        })).collect::<Vec<_>>(),
        "backup_session_id": report.backups.first(),
    });
    context.output.json(&format!("{document:#}"));
}

fn diagnostic(finding: &Diagnostic) -> Value {
    json!({
        "item_id": finding.item_id,
        "severity": word(finding.severity),
        "code": finding.code,
        "message": finding.message,
        "fixable": finding.fixable,
    })
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(fixed: &[bool], backups: &[&str]) -> Report {
        let diagnostic = Diagnostic {
            item_id: None,
            severity: Severity::Warning,
            code: "INDEX_STALE".to_owned(),
            message: String::new(),
            fixable: true,
            remedy: String::new(),
        };
        let mended = |fixed: &bool| Mended {
            diagnostic: diagnostic.clone(),
            fixed: *fixed,
            message: String::new(),
            backup: None,
        };
        Report {
            fixes: fixed.iter().map(mended).collect(),
            backups: backups.iter().map(|id| (*id).to_owned()).collect(),
            ..Report::default()
        }
    }

    #[test]
    fn only_what_was_done_is_said_to_be_undone() {
        let hint = |fixed: &[bool], backups: &[&str]| undoing(&report(fixed, backups));
        assert_eq!(hint(&[true, false], &[]), None);
        assert_eq!(
            hint(&[true, false], &["a"]).unwrap(),
            "`wreckit-host backups restore a` undoes all of this"
        );
        assert_eq!(
            hint(&[true], &["a", "b"]).unwrap(),
            "`wreckit-host backups restore a` and `wreckit-host backups restore b` undo all of this"
        );
        assert!(!hint(&[false], &["a"]).unwrap().contains("all of this"));
    }
}
