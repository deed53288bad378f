//! The prompts of the phases: `.wreckit/prompts/{phase}.md`, or ours where there is none.
//!
//! The language is that of the existing tool, a part of Handlebars (`render.rs`). An unknown name is
//! empty.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Read};

use cap_std::fs::Dir;

use super::Place;
use super::render::Template;
use crate::engine::batch::Attempt;

/// The phases and our own words for them.
pub(crate) const DEFAULTS: [(&str, &str); 3] = [
    ("research", include_str!("../../prompts/research.md")),
    ("plan", include_str!("../../prompts/plan.md")),
    ("implement", include_str!("../../prompts/implement.md")),
];

/// Our own words for any phase of a feature.
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

/// More than this of a prompt or a document is not read.
const LIMIT: u64 = 4 << 20;

/// The longest prompt in bytes. A template that names documents again and again could ask for any
/// length; no agent takes one of this length.
const LONGEST: usize = 32 << 20;

/// The prompts, ready to be filled in.
#[derive(Debug, Clone)]
pub(crate) struct Prompts {
    templates: HashMap<String, Template>,
}

/// Why a prompt cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptError {
    #[error("cannot read .wreckit/{path}: {error}")]
    Unreadable { path: String, error: io::Error },
    #[error(".wreckit/{path} is no template: {reason}")]
    Invalid { path: String, reason: String },
}

/// What every prompt can name beside what is known of the item.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) base_branch: String,
    pub(crate) branch_prefix: String,
    pub(crate) completion_signal: String,
}

impl Prompts {
    /// Reads those of items from `.wreckit`.
    pub(crate) fn of_items(state: &Dir) -> Result<Self, PromptError> {
        Prompts::read(Some(state), DEFAULTS.into_iter())
    }

    /// Reads those of the phases of a feature from `.wreckit`, if there is one.
    pub(crate) fn of_feature(state: Option<&Dir>, phases: &[String]) -> Result<Self, PromptError> {
        Prompts::read(state, phases.iter().map(|phase| (phase.as_str(), FEATURE)))
    }

    fn read<'p>(
        state: Option<&Dir>,
        prompts: impl Iterator<Item = (&'p str, &'static str)>,
    ) -> Result<Self, PromptError> {
        let mut templates = HashMap::new();
        for (phase, default) in prompts {
            let path = format!("prompts/{phase}.md");
            let template = match state.map(|state| read(state, &path)) {
                None => default.to_owned(),
                Some(Ok(template)) => template,
                Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => default.to_owned(),
                Some(Err(error)) => return Err(PromptError::Unreadable { path, error }),
            };
            let template = Template::parse(&template)
                .map_err(|reason| PromptError::Invalid { path, reason })?;
            templates.insert(phase.to_owned(), template);
        }
        Ok(Prompts { templates })
    }

    /// The prompt of a call.
    pub(crate) fn fill(
        &self,
        attempt: &Attempt,
        surroundings: &Surroundings,
        place: &Place<'_>,
        directory: &str,
    ) -> io::Result<String> {
        let feature = place.feature;
        let worktree = feature.and_then(|feature| feature.worktree.as_ref());
        let branch = format!("{}{}", surroundings.branch_prefix, attempt.item);
        let mut values: HashMap<&str, Cow<'_, str>> = [
            ("id", feature.map_or(&attempt.item, |feature| &feature.id).into()),
            ("phase", attempt.phase.as_str().into()),
            ("worktree", worktree.map(|path| path.to_string_lossy()).unwrap_or_default()),
            ("title", attempt.title.as_str().into()),
            ("overview", attempt.overview.as_str().into()),
            ("section", attempt.section.as_deref().unwrap_or_default().into()),
            ("story", attempt.story.as_deref().unwrap_or_default().into()),
            ("item_path", directory.into()),
            ("root", place.root.to_string_lossy()),
            ("branch_name", attempt.branch.as_ref().unwrap_or(&branch).into()),
            ("base_branch", surroundings.base_branch.as_str().into()),
            ("completion_signal", surroundings.completion_signal.as_str().into()),
        ]
        .into();
        let documents: &[_] = if feature.is_some() { &FEATURE_DOCUMENTS } else { &DOCUMENTS };
        for (name, file) in documents {
            // What is not there yet, or cannot be read, is empty.
            let text = read(place.state, &format!("{}/{file}", attempt.directory));
            values.insert(name, text.unwrap_or_default().into());
        }
        let template = self.templates.get(&attempt.phase).ok_or_else(|| {
            io::Error::other(format!("there is no prompt for the phase {:?}", attempt.phase))
        })?;
        template.render(|name| values.get(name).map_or("", |value| value), LONGEST).ok_or_else(
            || io::Error::other(format!("its prompt is longer than {} MiB", LONGEST >> 20)),
        )
    }
}

fn read(state: &Dir, path: &str) -> io::Result<String> {
    if !state.metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    state.open(path)?.take(LIMIT).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(phase: &str) -> Attempt {
        Attempt {
            item: "001-a".to_owned(),
            number: 1,
            call: 1,
            phase: phase.to_owned(),
            story: Some("US-001".to_owned()),
            title: "<A> & \"B\"".to_owned(),
            overview: String::new(),
            section: None,
            branch: None,
            directory: "items/001-a".to_owned(),
            log: "log".to_owned(),
        }
    }

    fn place(state: &Dir) -> Place<'_> {
        Place {
            root: "/r".as_ref(),
            state,
            path: crate::repository::STATE,
            feature: None,
            session: "s",
            marker: "1:2".as_ref(),
            shows_output: false,
        }
    }

    fn fill(template: &str) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        let state = crate::ambient::open_dir(directory.path()).unwrap();
        state.create_dir_all("prompts").unwrap();
        state.create_dir_all("items/001-a").unwrap();
        state.write("items/001-a/research.md", "found {{id}}").unwrap();
        state.write("prompts/plan.md", template).unwrap();
        let prompts = Prompts::of_items(&state).map_err(|error| error.to_string())?;
        let surroundings = Surroundings {
            base_branch: "main".to_owned(),
            branch_prefix: "wreckit/".to_owned(),
            completion_signal: "DONE".to_owned(),
        };
        let filled =
            prompts.fill(&attempt("plan"), &surroundings, &place(&state), "/r/items/001-a");
        filled.map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_filled_in_as_they_are() {
        for (template, filled) in [
            ("{{id}}: {{title}}", "001-a: <A> & \"B\""),
            ("[{{nobody_knows_this}}]", "[]"),
            ("[{{len}}{{eq}}{{lookup}}{{if}}{{log}}]", "[]"),
            ("{{#if overview}}A{{else}}{{{id}}}{{/if}}", "001-a"),
            ("{{#if overview}}A {{overview}}{{/if}}B", "B"),
            ("{{#if story}}{{story}}{{/if}}", "US-001"),
            ("{{#if id}}{{#if section}}a{{else}}b{{/if}}c{{else}}d{{/if}}", "bc"),
            ("a\n  {{#if id}}\n{{id}}\n{{else}}\nx\n{{/if}} \nb", "a\n001-a\nb"),
            ("{{research}}", "found {{id}}"),
            ("{{branch_name}} {{base_branch}} {{completion_signal}}", "wreckit/001-a main DONE"),
            ("{\"a\": {\"b\": 1}}", "{\"a\": {\"b\": 1}}"),
        ] {
            assert_eq!(fill(template).as_deref(), Ok(filled), "{template}");
        }
    }

    #[test]
    fn a_template_that_is_none_is_named_with_the_line() {
        for (template, words) in [
            ("one\n{{#if title}}\ntwo".to_owned(), "line 2: `{{#if}}` without `{{/if}}`"),
            ("a\n{{#if id}}\n\n{{/if}}\n{{/if}}".to_owned(), "line 5: `{{/if}}` without"),
            ("{{else}}".to_owned(), "line 1: `{{else}}` without"),
            ("{{#if id}}{{else}}\n{{else}}{{/if}}".to_owned(), "line 2: `{{else}}` without"),
            ("one\n{{> plan}}".to_owned(), "line 2: `{{> plan}}` is neither"),
            ("{{lookup (a (b))}}".to_owned(), "line 1: `{{lookup (a (b))}}` is neither"),
            ("a\n\n{{id".to_owned(), "line 3: `{{` without `}}`"),
            ("{{#if id}}".repeat(20_000), "line 1: `{{#if}}` without `{{/if}}`"),
        ] {
            let error = fill(&template).unwrap_err();
            let start = format!(".wreckit/prompts/plan.md is no template: {words}");
            assert!(error.starts_with(&start), "{error}");
        }
    }

    #[test]
    fn a_template_as_long_as_allowed_is_rendered_at_once_however_its_blocks_are_arranged() {
        let started = std::time::Instant::now();
        let count = 150_000;
        let in_a_row = "{{#if overview}}x{{/if}}".repeat(count);
        let in_one_another = "{{#if id}}".repeat(count) + "y" + &"{{/if}}".repeat(count);
        assert_eq!(fill(&in_a_row).as_deref(), Ok(""));
        assert_eq!(fill(&in_one_another).as_deref(), Ok("y"));
        // Quadratic, either would take minutes.
        assert!(started.elapsed() < std::time::Duration::from_secs(20));
    }

    #[test]
    fn a_prompt_that_grows_without_bound_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let state = crate::ambient::open_dir(directory.path()).unwrap();
        state.create_dir_all("prompts").unwrap();
        state.create_dir_all("items/001-a").unwrap();
        state.write("items/001-a/research.md", "x".repeat(1 << 20)).unwrap();
        state.write("prompts/plan.md", "{{research}}".repeat(1 << 16)).unwrap();
        let prompts = Prompts::of_items(&state).unwrap();
        let surroundings = Surroundings {
            base_branch: String::new(),
            branch_prefix: String::new(),
            completion_signal: String::new(),
        };
        let filled = prompts.fill(&attempt("plan"), &surroundings, &place(&state), "/r");
        assert_eq!(filled.unwrap_err().to_string(), "its prompt is longer than 32 MiB");
    }

    #[test]
    fn our_own_prompts_name_the_signal_and_the_item() {
        let directory = tempfile::tempdir().unwrap();
        let state = crate::ambient::open_dir(directory.path()).unwrap();
        let prompts = Prompts::of_items(&state).unwrap();
        let surroundings = Surroundings {
            base_branch: "main".to_owned(),
            branch_prefix: String::new(),
            completion_signal: "<promise>COMPLETE</promise>".to_owned(),
        };
        for (phase, _) in DEFAULTS {
            let text = prompts
                .fill(&attempt(phase), &surroundings, &place(&state), "/r/items/001-a")
                .unwrap();
            assert!(text.contains("<promise>COMPLETE</promise>"), "{phase}: {text}");
            assert!(text.contains("001-a") && !text.contains("{{"), "{phase}: {text}");
        }
    }
}
