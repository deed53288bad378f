//! MISSING_PROMPTS.

use super::finding::{Code, Finding};
use crate::agents::{DEFAULT_PROMPTS, prompt_file};
use crate::io::capabilities::{FsError, Kind};
use crate::io::host::{Failure, Host};
use crate::io::layout::PROMPTS as DIRECTORY;

pub(super) fn examine(host: Host<'_>) -> Vec<Finding> {
    let by_hand = "the defaults are used: make it a directory that can be read";
    let unusable =
        |message: String| vec![Finding::new(Code::MissingPrompts, message).by_hand(by_hand)];
    match host.stat(DIRECTORY) {
        Ok(None) => vec![Finding::new(
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

/// Whether the directory lacks one of the defaults.
pub(super) fn any_missing(host: Host<'_>) -> bool {
    DEFAULT_PROMPTS.iter().any(|(phase, _)| matches!(host.stat(&prompt_file(phase)), Ok(None)))
}

/// Writes the defaults. Existing files are not changed.
pub(super) fn write_defaults(host: Host<'_>) -> Result<String, Failure> {
    host.create_directory(DIRECTORY)?;
    for (phase, text) in DEFAULT_PROMPTS {
        if host.stat(&prompt_file(phase))?.is_none() {
            host.write(&prompt_file(phase), text.as_bytes().to_vec())?;
        }
    }
    Ok("Created default prompt templates".to_owned())
}
