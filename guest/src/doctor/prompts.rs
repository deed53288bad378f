//! MISSING_PROMPTS.

use super::finding::{Code, Diagnostic};
use crate::io::capabilities::{Capabilities, FsError, Kind};
use crate::io::host::{Failure, Host};

/// Where the prompts are.
pub(super) const DIRECTORY: &str = "prompts";

/// The prompts of the phases, as `wreckit-host init` writes them and as they are used where there
/// are none.
const DEFAULTS: [(&str, &str); 3] = [
    ("research", include_str!("../../prompts/research.md")),
    ("plan", include_str!("../../prompts/plan.md")),
    ("implement", include_str!("../../prompts/implement.md")),
];

pub(super) fn examine(host: Host<'_>) -> Vec<Diagnostic> {
    let by_hand = "the defaults are used: make it a directory that can be read";
    let unusable =
        |message: String| vec![Diagnostic::new(Code::MissingPrompts, message).by_hand(by_hand)];
    match host.stat(DIRECTORY) {
        Ok(None) => vec![Diagnostic::new(
            Code::MissingPrompts,
            "prompts directory is missing (the defaults are used)",
        )],
        Ok(Some(found)) if matches!(found.kind, Kind::File | Kind::Other) => {
            unusable(format!("prompts is {}", found.kind.describe()))
        }
        Ok(Some(_)) => match host.files().list(DIRECTORY) {
            Ok(_) => Vec::new(),
            Err(FsError::NotFound) => unusable("prompts is a link that leads nowhere".to_owned()),
            Err(error) => unusable(host.failed("list", DIRECTORY)(error).to_string()),
        },
        Err(failure) => unusable(failure.to_string()),
    }
}

/// True if the directory lacks one of the defaults.
pub(super) fn any_missing(host: Host<'_>) -> bool {
    DEFAULTS.iter().any(|(phase, _)| matches!(host.stat(&path(phase)), Ok(None)))
}

/// Writes the defaults. A file that exists stays as it is.
pub(super) fn mend(host: Host<'_>) -> Result<String, Failure> {
    host.create_directory(DIRECTORY)?;
    for (phase, text) in DEFAULTS {
        if host.stat(&path(phase))?.is_none() {
            host.write(&path(phase), text.as_bytes().to_vec())?;
        }
    }
    Ok("Created default prompt templates".to_owned())
}

fn path(phase: &str) -> String {
    format!("{DIRECTORY}/{phase}.md")
}
