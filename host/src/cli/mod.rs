//! The command line: one module a command.

mod add;
mod agent_args;
mod backups;
mod completions;
mod component;
mod demo;
mod doctor;
mod error;
mod exit_code;
mod feature;
mod init;
mod next;
mod run;
mod status;
#[cfg(feature = "compile")]
mod wasm_agent;

use std::path::PathBuf;
use std::process::ExitCode as ProcessExitCode;

use cap_std::fs::Dir;
use clap::{Parser, Subcommand};
use serde_json::Value;

use self::error::Error;
use self::exit_code::ExitCode;
use crate::ambient;
use crate::engine::{Component, ComponentError, Instance, Limits};
use crate::features::Features;
use crate::output::{Color, Output, Tone, safe};
use crate::repository::Repository;
use crate::run::survive_file_size_limit;

/// Runs coding agents through a backlog and loses nothing: after Ctrl-C, a crash or a reboot the
/// next `run` goes on exactly where it stopped.
#[derive(Debug, Parser)]
#[command(
    name = "wreckit-host",
    version,
    disable_help_subcommand = true,
    after_help = "Main flags of `run`:\n  \
        --no-resume       Start fresh batch run, ignoring saved progress\n  \
        --retry-failed    Include previously failed items when resuming\n  \
        --parallel <N>    How many items run at once\n  \
        --timeout <SECS>  End an agent that takes longer\n  \
        --retries <N>     Try again what fails\n  \
        --dry-run         Only show what would run\n  \
        --mock-agent      Use an agent that does nothing\n  \
        --demo            Run a throw-away copy of the quickstart\n\n\
        `wreckit-host run --help` lists all of them."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Work as if started in DIR
    #[arg(long, global = true, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Show more, what agents put out for instance
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// Show only results, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    /// Use another component with the same WIT instead of the embedded one
    #[arg(long, global = true, value_name = "FILE")]
    component: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Next(next::Args),
    Status(status::Args),
    Doctor(doctor::Args),
    Backups(backups::Args),
    Init(init::Args),
    Add(add::Args),
    Feature(feature::Args),
    Component(component::Args),
    Completions(completions::Args),
    #[cfg(feature = "compile")]
    RunWasmAgent(wasm_agent::Args),
}

/// What every command is given.
struct Context {
    output: Output,
    /// Where the user is.
    directory: PathBuf,
    /// As it was given.
    cwd: Option<PathBuf>,
    component: Option<PathBuf>,
}

impl Context {
    /// This program as it was called, with what every command of it needs again.
    fn program(&self) -> String {
        let mut words = "wreckit-host".to_owned();
        for (flag, path) in [("--cwd", &self.cwd), ("--component", &self.component)] {
            if let Some(path) = path {
                words.push_str(&format!(" {flag} {}", safe::word(path)));
            }
        }
        words
    }

    /// The repository that the user is in.
    fn repository(&self) -> Result<Repository, Error> {
        Ok(Repository::find(&self.directory)?)
    }

    /// The features of the repository that the user is in, if there are any.
    fn features(&self) -> Result<Option<Features>, Error> {
        Features::find(&self.directory).map_err(|error| Error::of_features("open", error))
    }

    /// The same, for who has other things to look at as well: what cannot be opened is only told.
    fn features_if_usable(&self) -> Option<Features> {
        self.features().unwrap_or_else(|error| {
            self.output.line(Tone::Warning, &error.message());
            None
        })
    }

    /// An instance of the component over a repository's `.wreckit`.
    fn instance(&self, repository: &Repository) -> Result<Instance, Error> {
        self.instance_over(&repository.state)
    }

    /// An instance of the component over a directory.
    fn instance_over(&self, root: &Dir) -> Result<Instance, Error> {
        let component = match &self.component {
            None => Component::embedded()?,
            Some(path) => Component::from_file(path)?,
        };
        let root = root.try_clone().map_err(|error| Error::failed(&error))?;
        Ok(Instance::new(&component, root, Limits::default())?)
    }

    /// Prints JSON text that the component gave, if it is that.
    fn json(&self, text: &str) -> Result<(), Error> {
        parse(text)?;
        self.output.json(text.trim());
        Ok(())
    }

    /// Calls the component and shows what it has to say.
    fn call<R>(
        &self,
        instance: &mut Instance,
        call: impl FnOnce(&mut Instance) -> Result<R, ComponentError>,
    ) -> Result<R, Error> {
        let answer = call(instance);
        for (level, message) in instance.take_messages() {
            crate::run::print_message(self.output, level, &message);
        }
        Ok(answer?)
    }
}

/// The whole program: reads the arguments, does what they say, returns the exit code.
pub fn main() -> ProcessExitCode {
    // Without the handler a write over the limit ends the process: no reason not to start.
    let _ = survive_file_size_limit();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            return refuse(&error).into();
        }
    };
    let Global { cwd, verbose, quiet, color, component } = cli.global;
    let output = Output::new(quiet, verbose, color);
    let directory = match cwd.clone() {
        Some(directory) => Ok(directory),
        None => ambient::current_dir(),
    };
    let result = match directory {
        Ok(directory) => dispatch(cli.command, &Context { output, directory, cwd, component }),
        Err(error) => Err(Error::usage(format!("the current directory cannot be used: {error}"))),
    };
    let code = match result {
        Ok(code) => code,
        Err(error) => {
            output.line(Tone::Error, &error.message());
            if let Some(hint) = error.hint() {
                output.line(Tone::Hint, &hint);
            }
            error.exit_code()
        }
    };
    crate::output::finish(|| false);
    code.into()
}

/// Prints what is wrong with the arguments, or the help that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // That nobody reads it is no reason to fail.
        let _ = error.print();
        return ExitCode::Success;
    }
    // It quotes the arguments, which may come from anywhere: so it is not printed as it is.
    let output = Output::new(false, false, Color::Auto);
    let text = error.render().to_string();
    let (tone, text) = match text.strip_prefix("error: ") {
        Some(text) => (Tone::Error, text),
        None => (Tone::Plain, text.as_str()),
    };
    for (index, line) in text.lines().enumerate() {
        output.line(if index == 0 { tone } else { Tone::Plain }, line);
    }
    ExitCode::Usage
}

/// JSON text that the component gave.
fn parse(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|error| {
        Error::Component(ComponentError::Nonsense(format!("its JSON is invalid: {error}")))
    })
}

fn dispatch(command: Command, context: &Context) -> Result<ExitCode, Error> {
    match command {
        Command::Run(args) => run::main(&args, context),
        Command::Next(args) => next::main(&args, context),
        Command::Status(args) => status::main(&args, context),
        Command::Doctor(args) => doctor::main(&args, context),
        Command::Backups(args) => backups::main(&args, context),
        Command::Init(args) => init::main(&args, context),
        Command::Add(args) => add::main(&args, context),
        Command::Component(args) => component::main(&args, context),
        Command::Feature(args) => feature::main(&args, context),
        Command::Completions(args) => completions::main(&args, context),
        #[cfg(feature = "compile")]
        Command::RunWasmAgent(args) => Ok(ExitCode::Agent(wasm_agent::main(&args, context))),
    }
}
