//! Placeholders in the arguments of an agent: their names, and mistakes in their use.

use super::{AgentConfig, File, Kind, Problem};

/// A placeholder, `{name}` in an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// `{id}`: the item or the feature.
    Id,
    /// `{title}`: its title.
    Title,
    /// `{phase}`: the phase.
    Phase,
    /// `{dir}`: its directory, absolute.
    Directory,
    /// `{root}`: the root of the repository, absolute.
    Root,
}

impl Placeholder {
    /// Every placeholder.
    pub const ALL: [Placeholder; 5] = [
        Placeholder::Id,
        Placeholder::Title,
        Placeholder::Phase,
        Placeholder::Directory,
        Placeholder::Root,
    ];

    /// The placeholder as it is written: `{id}`.
    pub fn text(self) -> &'static str {
        match self {
            Placeholder::Id => "{id}",
            Placeholder::Title => "{title}",
            Placeholder::Phase => "{phase}",
            Placeholder::Directory => "{dir}",
            Placeholder::Root => "{root}",
        }
    }

    /// The environment variable with the same value.
    pub fn variable(self) -> &'static str {
        match self {
            Placeholder::Id => "WRECKIT_ITEM_ID",
            Placeholder::Title => "WRECKIT_TITLE",
            Placeholder::Phase => "WRECKIT_PHASE",
            Placeholder::Directory => "WRECKIT_ITEM_DIR",
            Placeholder::Root => "WRECKIT_REPOSITORY",
        }
    }
}

/// Warns if the arguments of an agent name the feature but not the phase that it is called for. Matters only for
/// an agent that works on the phases of a feature.
pub fn missing_phase_argument(agent: &AgentConfig) -> Option<Problem> {
    let AgentConfig::Command { args, .. } = agent else { return None };
    let uses = |name: Placeholder| args.iter().any(|arg| arg.contains(name.text()));
    let names_feature = [Placeholder::Id, Placeholder::Title, Placeholder::Directory];
    if uses(Placeholder::Phase) || !names_feature.into_iter().any(uses) {
        return None;
    }
    Some(Problem {
        kind: Kind::Warning,
        file: File::Shared,
        key: "agent.args".to_owned(),
        text:
            "the agent does not receive its phase: add {phase} to agent.args, or use WRECKIT_PHASE"
                .to_owned(),
    })
}

/// Returns words in braces that look like a misspelled placeholder, each with the likely one.
pub(super) fn misspelled(args: &[String]) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for arg in args {
        for (open, _) in arg.match_indices('{') {
            // `${name}` belongs to a shell.
            let rest = match arg[..open].ends_with('$') {
                true => "",
                false => &arg[open + 1..],
            };
            let Some((word, _)) = rest.split_once('}') else { continue };
            if let Some(placeholder) = likely(word) {
                let misspelled = (format!("{{{word}}}"), placeholder);
                if !found.contains(&misspelled) {
                    found.push(misspelled);
                }
            }
        }
    }
    found
}

fn likely(word: &str) -> Option<&'static str> {
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let names = Placeholder::ALL.map(Placeholder::text);
    let is_exact = names.iter().any(|name| name[1..name.len() - 1] == *word);
    let nearest = (!is_exact).then(|| {
        let names = names.into_iter().map(|name| &name[1..name.len() - 1]);
        super::checks::nearest(&word.to_ascii_lowercase(), names)
    });
    let nearest = nearest.flatten()?;
    names.into_iter().find(|name| name[1..name.len() - 1] == *nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_placeholders_get_a_suggestion_and_other_braces_do_not() {
        for (arg, expected) in [
            ("work on {titel}", Some("{title}")),
            ("{Title}", Some("{title}")),
            ("{ids}", Some("{id}")),
            ("a {x} {phse}", Some("{phase}")),
            ("{title} {id} {dir}", None),
            ("${titel}", None),
            ("{}{print $1}{\"id\": 1}{id", None),
            ("{in} {it} {item} {name}", None),
            ("{é}", None),
        ] {
            let found = misspelled(&[arg.to_owned()]);
            assert_eq!(found.first().map(|(_, likely)| *likely), expected, "{arg}: {found:?}");
        }
    }

    #[test]
    fn an_agent_that_names_its_feature_must_name_its_phase() {
        for (args, is_warned) in [
            (vec!["work on {id}"], true),
            (vec!["{title}"], true),
            (vec!["{id}", "{phase}"], false),
            (vec!["work"], false),
            (vec!["{root}"], false),
        ] {
            let args = args.into_iter().map(str::to_owned).collect();
            let agent = AgentConfig::Command { program: "a".to_owned(), args };
            assert_eq!(missing_phase_argument(&agent).is_some(), is_warned, "{agent:?}");
        }
        let file = "a.wasm".to_owned();
        let agent = AgentConfig::Component { file, args: vec!["{id}".to_owned()] };
        assert_eq!(missing_phase_argument(&agent), None);
    }
}
