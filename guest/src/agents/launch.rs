//! Launches: what is started for a call, with which environment.

use super::prompt::Values;
use super::{Agent, Kind, arguments};
use crate::bindings::exports::wreckit::batch::session::{
    CommandLaunch, ComponentLaunch, Launch, Worker, WorkingDirectory,
};
use crate::bindings::wreckit::batch::terminator::Variable;
use crate::formats::config::Placeholder;
use crate::io::host::Host;

/// Maximum size of a variable, in bytes: Linux refuses strings of 128 KiB.
const LONGEST_VARIABLE: usize = 64 << 10;

/// What a call is about.
#[derive(Clone, Copy)]
pub struct CallContext<'c> {
    /// The root of the instance: documents for the prompt are read from it.
    pub host: Host<'c>,
    /// The session.
    pub session: &'c str,
    /// The item; in a feature run, the phase.
    pub item: &'c str,
    /// The number of the attempt.
    pub attempt: u32,
    /// The number of the call in the attempt, from 1.
    pub number: u32,
    /// `run`, or the phase.
    pub phase: &'c str,
    /// The story to work on.
    pub story: Option<&'c str>,
    /// The title of the item or the feature.
    pub title: &'c str,
    /// The description of the item.
    pub overview: &'c str,
    /// The section of the item.
    pub section: Option<&'c str>,
    /// The branch of the item.
    pub branch: Option<&'c str>,
    /// The directory of the item or the feature, relative to the root of the instance.
    pub directory: &'c str,
    /// The log of the attempt, relative to the root of the instance.
    pub log: &'c str,
    /// The absolute path of the repository's root; may be empty for a mock or custom agent.
    pub repository: &'c str,
    /// The variables of `terminator.marker`.
    pub marker: &'c [Variable],
    /// The feature, in a feature run.
    pub feature: Option<FeatureContext<'c>>,
}

/// The feature whose phases are worked on.
#[derive(Clone, Copy)]
pub struct FeatureContext<'c> {
    /// Its id.
    pub id: &'c str,
    /// The absolute path of its worktree, if it has one.
    pub worktree: Option<&'c str>,
}

impl CallContext<'_> {
    /// The id that agents know: the item's or the feature's.
    pub(super) fn id(&self) -> &str {
        self.feature.map_or(self.item, |feature| feature.id)
    }

    /// The absolute path of the item's directory.
    pub(super) fn absolute_directory(&self) -> String {
        let prefix = self.host.layout().prefix;
        match self.repository {
            "" => format!("{prefix}{}", self.directory),
            root => format!("{}/{prefix}{}", root.trim_end_matches('/'), self.directory),
        }
    }

    fn value(&self, placeholder: Placeholder) -> String {
        match placeholder {
            Placeholder::Id => self.id().to_owned(),
            Placeholder::Title => self.title.to_owned(),
            Placeholder::Phase => self.phase.to_owned(),
            Placeholder::Directory => self.absolute_directory(),
            Placeholder::Root => self.repository.to_owned(),
        }
    }
}

impl Agent {
    /// Returns how to carry out a call; on failure, why the attempt fails.
    pub fn launch(&self, call: &CallContext<'_>) -> Result<Launch, String> {
        Ok(Launch {
            worker: self.worker(call)?,
            environment: self.environment(call),
            watch_output: self.watches(),
            timeout: self.timeout,
            log: call.log.to_owned(),
            append_log: call.number > 1,
        })
    }

    fn worker(&self, call: &CallContext<'_>) -> Result<Worker, String> {
        let expand = |args: &[String]| {
            let values = Placeholder::ALL.map(|name| (name.text(), call.value(name)));
            args.iter().map(|arg| arguments::expand(arg, &values)).collect()
        };
        // Agents of a feature work where its code is.
        let directory = |of_items| match call.feature {
            Some(_) => WorkingDirectory::Worktree,
            None => of_items,
        };
        Ok(match &self.kind {
            Kind::Command { program, args } => Worker::Command(CommandLaunch {
                program: program.clone(),
                arguments: expand(args),
                directory: directory(WorkingDirectory::Repository),
                input: None,
            }),
            Kind::Process { program, args, prompts, marker } => Worker::Command(CommandLaunch {
                program: program.clone(),
                arguments: args.clone(),
                directory: directory(WorkingDirectory::Item),
                input: Some(prompts.render(&Values { call, marker })?),
            }),
            Kind::Component { file, args } => {
                Worker::Component(ComponentLaunch { file: file.clone(), arguments: expand(args) })
            }
            Kind::Mock { delay } => Worker::Mock(*delay),
            Kind::Custom => Worker::Custom,
        })
    }

    fn environment(&self, call: &CallContext<'_>) -> Vec<Variable> {
        // A component has its item's directory as its root.
        let directory = match self.kind {
            Kind::Component { .. } => "/".to_owned(),
            _ => call.absolute_directory(),
        };
        let attempt = call.attempt.to_string();
        let variables = [
            ("WRECKIT_ITEM_ID", Some(call.item)),
            ("WRECKIT_ATTEMPT", Some(&attempt)),
            ("WRECKIT_ITEM_DIR", Some(&directory)),
            ("WRECKIT_SESSION_ID", Some(call.session)),
            ("WRECKIT_REPOSITORY", Some(call.repository)),
            ("WRECKIT_TITLE", Some(call.title)),
            ("WRECKIT_OVERVIEW", Some(call.overview)),
            ("WRECKIT_PHASE", Some(call.phase)),
            ("WRECKIT_STORY", Some(call.story.unwrap_or_default())),
            ("WRECKIT_FEATURE_ID", call.feature.map(|feature| feature.id)),
        ];
        let variables = variables.into_iter().filter_map(|(name, value)| {
            Some(Variable { name: name.to_owned(), value: variable(value?) })
        });
        call.marker.iter().cloned().chain(variables).collect()
    }
}

/// A text as the value of a variable: without NUL, which would end it, and of limited length.
fn variable(text: &str) -> String {
    let mut value = text[..text.floor_char_boundary(LONGEST_VARIABLE)].replace('\0', "\u{fffd}");
    value.truncate(value.floor_char_boundary(LONGEST_VARIABLE));
    value
}
