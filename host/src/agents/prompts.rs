//! The prompts of the phases: `.wreckit/prompts/{phase}.md`, or ours where there is none.
//!
//! The language is that of the existing tool, a part of Handlebars: `{{name}}` and
//! `{{#if name}}…{{/if}}`. A name that nobody knows is empty.

use std::io::{self, Read};

use cap_std::fs::Dir;
use handlebars::Handlebars;
use serde_json::{Map, Value, json};

use super::Place;
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

/// So many `{{#if}}` may stand in one another.
const DEEPEST: usize = 32;

/// More than this of a prompt or a document is not read.
const LIMIT: u64 = 4 << 20;

/// The prompts, ready to be filled in.
#[derive(Debug, Clone)]
pub(crate) struct Prompts {
    templates: Handlebars<'static>,
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
        let mut templates = Handlebars::new();
        templates.register_escape_fn(handlebars::no_escape);
        for (phase, default) in prompts {
            let path = format!("prompts/{phase}.md");
            let template = match state.map(|state| read(state, &path)) {
                None => default.to_owned(),
                Some(Ok(template)) => template,
                Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => default.to_owned(),
                Some(Err(error)) => return Err(PromptError::Unreadable { path, error }),
            };
            normalised(&template)
                .and_then(|template| {
                    let registered = templates.register_template_string(phase, template);
                    registered.map_err(|error| error.to_string())
                })
                .map_err(|reason| PromptError::Invalid { path, reason })?;
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
        let mut values = json!({
            "id": feature.map_or(&attempt.item, |feature| &feature.id),
            "phase": attempt.phase,
            "worktree": worktree.map(|path| path.to_string_lossy()),
            "title": attempt.title,
            "overview": attempt.overview,
            "section": attempt.section,
            "story": attempt.story,
            "item_path": directory,
            "root": place.root.to_string_lossy(),
            "branch_name": attempt.branch.as_ref().unwrap_or(&branch),
            "base_branch": surroundings.base_branch,
            "completion_signal": surroundings.completion_signal,
        });
        if let Value::Object(values) = &mut values {
            let documents: &[_] = if feature.is_some() { &FEATURE_DOCUMENTS } else { &DOCUMENTS };
            add_documents(values, documents, place.state, &attempt.directory);
        }
        self.templates.render(&attempt.phase, &values).map_err(io::Error::other)
    }
}

/// The same template in words that the library cannot take for anything else: a name is always that
/// of a value, never that of one of its helpers. What the library can do beyond the language of
/// prompts is refused: it can include templates in one another for ever, and follows any depth until
/// the stack is used up.
fn normalised(template: &str) -> Result<String, String> {
    let mut normalised = String::new();
    let mut depth: usize = 0;
    let mut line = 1;
    let mut rest = template;
    while let Some(open) = rest.find("{{") {
        line += rest[..open].matches('\n').count();
        normalised.push_str(&rest[..open]);
        rest = &rest[open + 2..];
        let Some(close) = rest.find("}}") else {
            return Err(format!("line {line}: `{{{{` without `}}}}`"));
        };
        let tag = rest[..close].trim_start_matches('{').trim();
        rest = rest[close + 2..].trim_start_matches('}');
        let tag = match (tag, tag.strip_prefix("#if ").map(str::trim)) {
            (_, Some(name)) if is_name(name) => {
                depth += 1;
                format!("#if this.{name}")
            }
            ("/if", _) => {
                depth = depth.saturating_sub(1);
                "/if".to_owned()
            }
            ("else", _) => "else".to_owned(),
            (name, None) if is_name(name) => format!("this.{name}"),
            _ => {
                return Err(format!(
                    "line {line}: `{{{{{tag}}}}}` is neither `{{{{name}}}}` nor `{{{{#if name}}}}`"
                ));
            }
        };
        if depth > DEEPEST {
            return Err(format!("line {line}: more than {DEEPEST} `{{{{#if}}}}` in one another"));
        }
        normalised.push_str(&format!("{{{{{tag}}}}}"));
    }
    normalised.push_str(rest);
    Ok(normalised)
}

fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && text.chars().all(is_letter)
}

fn add_documents(
    values: &mut Map<String, Value>,
    documents: &[(&str, &str)],
    state: &Dir,
    directory: &str,
) {
    for (name, file) in documents {
        // What is not there yet, or cannot be read, is empty.
        let text = read(state, &format!("{directory}/{file}")).unwrap_or_default();
        values.insert((*name).to_owned(), json!(text));
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
            ("one\n{{#if title}}\ntwo".to_owned(), ""),
            ("one\n{{> plan}}".to_owned(), "line 2: `{{> plan}}` is neither"),
            ("{{lookup (a (b))}}".to_owned(), "line 1: `{{lookup (a (b))}}` is neither"),
            ("a\n\n{{id".to_owned(), "line 3: `{{` without `}}`"),
            ("{{#if id}}".repeat(20_000), "line 1: more than 32 `{{#if}}` in one another"),
        ] {
            let error = fill(&template).unwrap_err();
            let start = format!(".wreckit/prompts/plan.md is no template: {words}");
            assert!(error.starts_with(&start), "{error}");
        }
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
