//! Prompts: `.wreckit/prompts/{phase}.md`, or the default if it does not exist.
//!
//! The language is a part of Handlebars, as in the existing tool (`template.rs`). An unknown name is
//! empty.

use std::borrow::Cow;
use std::collections::HashMap;

use super::launch::CallContext;
use super::template::Template;
use crate::bindings::exports::wreckit::batch::batch::ConfigurationProblem;
use crate::formats::config::Source;
use crate::io::layout;

/// The phases of an item and their default prompts.
pub const DEFAULTS: [(&str, &str); 3] = [
    ("research", include_str!("../../prompts/research.md")),
    ("plan", include_str!("../../prompts/plan.md")),
    ("implement", include_str!("../../prompts/implement.md")),
];

/// The default prompt for any phase of a feature.
const FEATURE: &str = include_str!("../../prompts/feature.md");

/// Documents of a feature whose text a prompt can include.
const FEATURE_DOCUMENTS: [(&str, &str); 3] =
    [("design", "design.md"), ("plan", "plan.md"), ("architecture", "architecture.md")];

/// Documents of an item whose text a prompt can include.
const DOCUMENTS: [(&str, &str); 4] = [
    ("research", "research.md"),
    ("plan", "plan.md"),
    ("prd", "prd.json"),
    ("progress", "progress.log"),
];

/// Maximum size of a template in bytes, and how much of a document is read.
const LIMIT: u64 = 4 << 20;

/// Maximum length of a prompt in bytes. A template that names documents again and again could become
/// arbitrarily long; no agent takes a prompt of this length.
const LONGEST: usize = 32 << 20;

/// Which prompts a session needs.
#[derive(Debug, Clone, Copy)]
pub enum PromptSet<'p> {
    /// Those of the phases of items.
    Items,
    /// Those of these phases of a feature.
    Feature(&'p [String]),
}

/// The file of a prompt, relative to `.wreckit`.
pub fn file(phase: &str) -> String {
    format!("{}/{phase}.md", layout::PROMPTS)
}

/// The prompts of a session.
#[derive(Debug)]
pub(super) struct Prompts {
    templates: HashMap<String, Template>,
    base_branch: String,
    branch_prefix: String,
}

/// What a prompt is rendered for.
pub(super) struct Values<'v> {
    pub(super) call: &'v CallContext<'v>,
    /// The completion marker.
    pub(super) marker: &'v str,
}

impl Prompts {
    /// Reads the prompts of the phases. On failure, everything that is wrong with them.
    pub(super) fn read(
        source: Source<'_>,
        set: PromptSet<'_>,
        base_branch: String,
        branch_prefix: String,
    ) -> Result<Self, Vec<ConfigurationProblem>> {
        let phases: Vec<(&str, &str)> = match set {
            PromptSet::Items => DEFAULTS.to_vec(),
            PromptSet::Feature(phases) => {
                phases.iter().map(|phase| (phase.as_str(), FEATURE)).collect()
            }
        };
        let (mut templates, mut problems) = (HashMap::new(), Vec::new());
        for (phase, default) in phases {
            match read_template(source, phase, default) {
                Ok(template) => drop(templates.insert(phase.to_owned(), template)),
                Err(problem) => problems.push(problem),
            }
        }
        match problems.is_empty() {
            true => Ok(Prompts { templates, base_branch, branch_prefix }),
            false => Err(problems),
        }
    }

    /// Renders the prompt of a call.
    pub(super) fn render(&self, values: &Values<'_>) -> Result<String, String> {
        let Values { call, marker } = *values;
        let template = self
            .templates
            .get(call.phase)
            .ok_or_else(|| format!("there is no prompt for the phase {:?}", call.phase))?;
        let branch = call
            .branch
            .map_or_else(|| format!("{}{}", self.branch_prefix, call.item).into(), Cow::from);
        let worktree = call.feature.and_then(|feature| feature.worktree);
        let mut known: HashMap<&str, Cow<'_, str>> = [
            ("id", call.id().into()),
            ("phase", call.phase.into()),
            ("worktree", worktree.unwrap_or_default().into()),
            ("title", call.title.into()),
            ("overview", call.overview.into()),
            ("section", call.section.unwrap_or_default().into()),
            ("story", call.story.unwrap_or_default().into()),
            ("item_path", call.absolute_directory().into()),
            ("root", call.repository.into()),
            ("branch_name", branch),
            ("base_branch", self.base_branch.as_str().into()),
            ("completion_signal", marker.into()),
        ]
        .into();
        let documents: &[_] = if call.feature.is_some() { &FEATURE_DOCUMENTS } else { &DOCUMENTS };
        for (name, file) in documents.iter().filter(|(name, _)| template.names(name)) {
            // A document that does not exist yet, or cannot be read, is empty.
            let path = format!("{}/{file}", call.directory);
            let bytes = call.host.read_at(&path, 0, LIMIT).unwrap_or_default();
            known.insert(name, String::from_utf8_lossy(&bytes).into_owned().into());
        }
        template
            .render(|name| known.get(name).map_or("", |value| value), LONGEST)
            .ok_or_else(|| format!("its prompt is longer than {} MiB", LONGEST >> 20))
    }
}

fn read_template(
    source: Source<'_>,
    phase: &str,
    default: &str,
) -> Result<Template, ConfigurationProblem> {
    let path = file(phase);
    let full = format!("{}{path}", layout::PREFIX);
    let problem = |message: String| ConfigurationProblem {
        file: full.clone(),
        key: String::new(),
        message,
        hint: None,
    };
    let bytes = source.read(&path, LIMIT);
    let bytes = bytes.map_err(|error| problem(format!("cannot read {full}: {error}")))?;
    let text = bytes.as_deref().map_or(default.into(), String::from_utf8_lossy);
    Template::parse(&text)
        .map_err(|reason| problem(format!("{full} has a template error: {reason}")))
}
