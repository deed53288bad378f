//! `wreckit-host doctor`

use serde_json::{Value, json};

use super::Context;
use super::error::Error;
use super::exit_code::ExitCode;
use crate::engine::Instance;
use crate::engine::doctor::{Diagnostic, Mended, RepairError, Severity, Treatment};
use crate::output::Tone;
use crate::run;

/// Find damaged or stale state, and mend it with --fix
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Mend what can be mended, each after a backup
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
    backup: Option<String>,
}

pub(super) fn main(args: &Args, context: &Context) -> Result<ExitCode, Error> {
    let repository = context.repository()?;
    let mut instance = context.instance(&repository)?;
    let treated = match args.fix {
        true => Some(context.call(&mut instance, |instance| {
            run::patiently(|| instance.fix(), run::holder_of_repair)
        })?),
        false => None,
    };
    let (report, busy) = match treated {
        Some(Ok(Treatment { found, fixes, left, backup })) => {
            (Report { found, fixes, left, backup }, None)
        }
        // While somebody else works here, it only looks.
        Some(Err(RepairError::Busy(holder))) => (Report::default(), Some(holder)),
        Some(Err(error)) => return Err(error.into()),
        None => (Report::default(), None),
    };
    let report = match args.fix && busy.is_none() {
        true => report,
        false => {
            let found = context.call(&mut instance, Instance::diagnose)??;
            Report { left: found.clone(), found, ..report }
        }
    };
    match args.json {
        true => print_json(&report, context),
        false => print(&report, context),
    }
    if let Some(holder) = busy {
        return Err(Error::Busy(Box::new(holder)));
    }
    let fails = |finding: &Diagnostic| match finding.severity {
        Severity::Error => true,
        Severity::Warning => args.strict,
        Severity::Info => false,
    };
    Ok(if report.left.iter().any(fails) { ExitCode::Failure } else { ExitCode::Success })
}

fn print(report: &Report, context: &Context) {
    let output = context.output;
    for severity in [Severity::Error, Severity::Warning, Severity::Info] {
        for finding in report.found.iter().filter(|finding| finding.severity == severity) {
            let item = finding.item_id.as_ref().map(|item| format!("{item}: ")).unwrap_or_default();
            output.result(&format!(
                "{:<8} {} {item}{}",
                word(severity),
                finding.code,
                finding.message
            ));
        }
    }
    for mended in &report.fixes {
        let word = if mended.fixed { "mended" } else { "not mended" };
        output.result(&format!("{word:<8} {} {}", mended.diagnostic.code, mended.message));
    }
    let fixable = report.left.iter().filter(|finding| finding.fixable).count();
    if report.found.is_empty() {
        output.result("nothing found");
    } else if fixable > 0 && report.fixes.is_empty() {
        output.line(
            Tone::Hint,
            &format!("`wreckit-host doctor --fix` mends {fixable} of them, after a backup"),
        );
    }
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
        "backup_session_id": report.backup,
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
