//! `wreckit-host doctor`

use std::collections::HashSet;

use serde_json::{Value, json};

use super::Context;
use super::backups::instances;
use super::error::{Error, Root};
use crate::engine::Instance;
use crate::exit_code::ExitCode;
use crate::report::counted;
use crate::report::output::{Tone, safe};
use crate::wit::doctor::{Diagnostic, FixReport, FixResult, RepairError, Severity};

/// Find damaged, stale or contradictory state, and fix it with --fix
///
/// Exits with 0 if no error remains, 1 if one does, 3 if --fix cannot start because a batch is running.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Fix what is fixable, after a backup that `backups restore` restores
    #[arg(long)]
    fix: bool,
    /// Fail on warnings as well
    #[arg(long)]
    strict: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// What was found and fixed.
#[derive(Default)]
struct Report {
    found: Vec<Diagnostic>,
    fixes: Vec<FixResult>,
    remaining: Vec<Diagnostic>,
    /// Of the batch, and of the features.
    backups: Vec<String>,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let mut report = Report::default();
    let mut errors = Vec::new();
    for (mut instance, root) in instances(context)? {
        let error = examine(&mut report, &mut instance, root, args.fix, context)?;
        errors.extend(error.map(|error| Error::of_repair(error, root, "")));
    }
    match args.json {
        true => print_json(&report, context),
        false => print(&report, args.fix, context),
    }
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(exit_code(&report.remaining, args.strict)),
    }
}

/// Examines the root of an instance, and fixes what it finds if asked to. Returns why nothing could be fixed.
fn examine(
    report: &mut Report,
    instance: &mut Instance,
    root: Root,
    fix: bool,
    context: &Context,
) -> Result<Option<RepairError>, Error> {
    let mut error = None;
    if fix {
        let fixed = context.call_retrying(instance, None, |it| it.fix(root.scope()))?;
        match fixed {
            Ok(FixReport { found, fixes, remaining, backup }) => {
                report.found.extend(found);
                report.fixes.extend(fixes);
                report.remaining.extend(remaining);
                report.backups.extend(backup);
                return Ok(None);
            }
            // Where nothing can be fixed, the findings are reported all the same.
            Err(why) => error = Some(why),
        }
    }
    let found = context.call(instance, |instance| instance.diagnose(root.scope()))?;
    report.remaining.extend(found.clone());
    report.found.extend(found);
    Ok(error)
}

fn exit_code(remaining: &[Diagnostic], strict: bool) -> ExitCode {
    let fails = |finding: &Diagnostic| match finding.severity {
        Severity::Error => true,
        Severity::Warning => strict,
        Severity::Info => false,
    };
    if remaining.iter().any(fails) { ExitCode::Failure } else { ExitCode::Success }
}

const SEVERITIES: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Info];

/// Prints the findings by severity, those of one kind together, each followed by what fixes them.
fn print(report: &Report, fix: bool, context: &Context) {
    let output = context.output;
    let mut found: Vec<&Diagnostic> = report.found.iter().collect();
    found.sort_by_key(|finding| {
        SEVERITIES.iter().position(|severity| *severity == finding.severity)
    });
    let mut groups: Vec<Vec<&Diagnostic>> = Vec::new();
    for finding in found {
        let kind = |it: &Diagnostic| (it.severity, it.code.clone(), it.advice.clone());
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
        let advice = match first.fixable {
            true => format!("`wreckit-host doctor --fix` {}", first.advice),
            false => first.advice.clone(),
        };
        if !(fix && first.fixable) {
            output.result(&format!("{:<8} {advice}", ""));
        }
    }
    for fix in &report.fixes {
        let word = if fix.fixed { "fixed" } else { "not fixed" };
        let finding = &fix.diagnostic;
        output.result(&line(word, &finding.code, finding, &fix.message));
    }
    for finding in new_findings(report) {
        output.result(&line(word(finding.severity), &finding.code, finding, &finding.message));
    }
    output.result(&summary(report, fix));
    if let Some(hint) = undo_hint(report) {
        output.line(Tone::Hint, &hint);
    }
}

/// Says how to undo the fixes; `None` if no file was changed.
fn undo_hint(report: &Report) -> Option<String> {
    let commands: Vec<String> = report
        .backups
        .iter()
        .map(|backup| format!("`wreckit-host backups restore {}`", safe::word(backup)))
        .collect();
    let undoes = if commands.len() == 1 { "undoes" } else { "undo" };
    let commands = Some(commands.join(" and ")).filter(|commands| !commands.is_empty())?;
    Some(match report.fixes.iter().any(|fix| fix.fixed) {
        true => format!("{commands} {undoes} all of this"),
        // A change that failed halfway has a backup as well.
        false => format!("if a file was changed, {commands} {undoes} it"),
    })
}

/// Returns the findings that appeared only after something else was fixed.
fn new_findings(report: &Report) -> impl Iterator<Item = &Diagnostic> {
    fn key(it: &Diagnostic) -> (&str, &Option<String>, &str) {
        (&it.code, &it.item_id, &it.message)
    }
    let found: HashSet<_> = report.found.iter().map(key).collect();
    report.remaining.iter().filter(move |finding| !found.contains(&key(finding)))
}

/// Returns `warning  INDEX_STALE 001-a: …`.
fn line(word: &str, code: &str, finding: &Diagnostic, message: &str) -> String {
    let item = finding.item_id.as_ref().map(|item| format!("{item}: ")).unwrap_or_default();
    format!("{word:<8} {code} {item}{message}")
}

/// Returns `2 errors, 1 warning found; 1 fixed, 2 errors remaining`.
fn summary(report: &Report, fix: bool) -> String {
    if report.found.is_empty() {
        return "nothing found".to_owned();
    }
    let found = counts(&report.found);
    if report.fixes.is_empty() {
        let fixable = report.remaining.iter().filter(|finding| finding.fixable).count();
        let some = if fixable < report.remaining.len() {
            format!("{fixable} of them ")
        } else {
            String::new()
        };
        return match fixable {
            0 => format!("{found}: to be fixed by hand"),
            _ if fix => format!("{found}: nothing was fixed"),
            _ => format!("{found}, {some}fixable with `wreckit-host doctor --fix`"),
        };
    }
    let fixed = report.fixes.iter().filter(|fix| fix.fixed).count();
    let remaining = match report.remaining.is_empty() {
        true => "nothing".to_owned(),
        false => counts(&report.remaining),
    };
    format!("{found} found; {fixed} fixed, {remaining} remaining")
}

/// Returns `2 errors, 1 warning`.
fn counts(findings: &[Diagnostic]) -> String {
    let count = |(severity, name)| {
        let count = findings.iter().filter(|finding| finding.severity == severity).count();
        (count > 0).then(|| counted(count, name))
    };
    let names = SEVERITIES.into_iter().zip(["error", "warning", "note"]);
    names.filter_map(count).collect::<Vec<_>>().join(", ")
}

fn print_json(report: &Report, context: &Context) {
    let document = json!({
        "diagnostics": report.found.iter().map(diagnostic).collect::<Vec<_>>(),
        "fixes": report.fixes.iter().map(|fix| json!({
            "diagnostic": diagnostic(&fix.diagnostic),
            "fixed": fix.fixed,
            "message": fix.message,
            "backup": fix.backup.as_ref().map(|backup| json!({
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
            advice: String::new(),
        };
        let result = |fixed: &bool| FixResult {
            diagnostic: diagnostic.clone(),
            fixed: *fixed,
            message: String::new(),
            backup: None,
        };
        Report {
            fixes: fixed.iter().map(result).collect(),
            backups: backups.iter().map(|id| (*id).to_owned()).collect(),
            ..Report::default()
        }
    }

    #[test]
    fn only_fixes_that_were_made_are_undone() {
        let hint = |fixed: &[bool], backups: &[&str]| undo_hint(&report(fixed, backups));
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

    #[test]
    fn the_summary_says_how_much_is_fixable() {
        let mut report = report(&[], &[]);
        let finding = |fixable| Diagnostic {
            item_id: None,
            severity: Severity::Info,
            code: String::new(),
            message: String::new(),
            fixable,
            advice: String::new(),
        };
        assert_eq!(summary(&report, false), "nothing found");
        for (findings, expected) in [
            (vec![true], "1 note, fixable with `wreckit-host doctor --fix`"),
            (vec![true, false], "2 notes, 1 of them fixable with `wreckit-host doctor --fix`"),
            (vec![false], "1 note: to be fixed by hand"),
        ] {
            report.found = findings.into_iter().map(finding).collect();
            report.remaining = report.found.clone();
            assert_eq!(summary(&report, false), expected);
        }
    }
}
