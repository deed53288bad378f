//! Problems in the configuration files.

use crate::bindings::exports::wreckit::batch::batch::ConfigurationProblem;
use crate::io::layout;

/// A configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// `config.json`.
    Shared,
    /// `config.local.json`, merged into it.
    Local,
}

impl File {
    /// Its name in `.wreckit`.
    pub fn name(self) -> &'static str {
        match self {
            File::Shared => "config.json",
            File::Local => "config.local.json",
        }
    }
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `config.json` does not exist.
    Missing,
    /// The file cannot be read.
    Unreadable,
    /// The file has invalid JSON.
    InvalidJson,
    /// The document or one of its values is invalid.
    Invalid,
    /// The agent is valid, but only the existing tool can run it.
    UnsupportedAgent,
    /// Something that does not prevent a run.
    Warning,
    /// Like `Warning`: a placeholder whose value a shell would execute.
    UnsafePlaceholder,
}

/// A problem in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: Kind,
    /// The file that has the value.
    pub file: File,
    /// The key, as a path; empty if the whole file is concerned.
    pub key: String,
    /// What is wrong, without the name of the file.
    pub text: String,
}

impl Problem {
    /// The problem as a complete sentence. `prefix` precedes the name of the file.
    pub fn sentence(&self, prefix: &str) -> String {
        let (file, text) = (format!("{prefix}{}", self.file.name()), &self.text);
        match self.kind {
            Kind::Missing => format!("{file} does not exist, so no agent is configured"),
            Kind::Unreadable => format!("cannot read {file}: {text}"),
            Kind::InvalidJson => format!("{file} has invalid JSON: {text}"),
            Kind::Invalid => format!("{file} is invalid: {text}"),
            Kind::UnsupportedAgent | Kind::Warning | Kind::UnsafePlaceholder => {
                format!("{file}: {text}")
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self.kind {
            Kind::Missing => {
                Some("`wreckit-host init` makes one; `--mock-agent` needs none".to_owned())
            }
            Kind::UnsupportedAgent => Some(format!(
                "set agent.kind to `command` and let it start your agent's command line, for instance\n\
                 {{\"kind\": \"command\", \"command\": \"{}\", \"args\": [\"-p\", \"Work on {{id}}: {{title}}\"]}}\n\
                 (`wreckit run {{id}}` works as well); in {}{} it applies to you alone",
                if self.text.contains("`claude") { "claude" } else { "your-agent" },
                layout::PREFIX,
                File::Local.name(),
            )),
            Kind::Unreadable | Kind::InvalidJson | Kind::Invalid => {
                Some("Fix the file. (`--mock-agent` ignores it, and does no work.)".to_owned())
            }
            Kind::Warning | Kind::UnsafePlaceholder => None,
        }
    }
}

impl From<Problem> for ConfigurationProblem {
    fn from(problem: Problem) -> Self {
        ConfigurationProblem {
            file: format!("{}{}", layout::PREFIX, problem.file.name()),
            message: problem.sentence(layout::PREFIX),
            hint: problem.hint(),
            key: problem.key,
        }
    }
}
