//! The command line: one module per command.

mod add;
mod agent_args;
mod backups;
mod completions;
mod component;
mod demo;
mod doctor;
mod error;
mod feature;
mod init;
mod next;
mod run;
mod session;
mod status;
#[cfg(feature = "compile")]
mod wasm_agent;

use std::path::PathBuf;
use std::process::ExitCode as ProcessExitCode;

use cap_std::fs::Dir;
use clap::{Parser, Subcommand};

use self::error::Error;
use crate::ambient;
use crate::engine::{Component, ComponentError, Instance, Limits};
use crate::exit_code::ExitCode;
use crate::report::output::{self, Color, Output, Tone, safe};
use crate::report::print_message;
use crate::repository::{Features, Repository};
use crate::run::{Signals, Transient, retry_while_busy, survive_file_size_limit};

/// Run coding agents through a backlog, crash-safe
///
/// After Ctrl-C, a crash or a reboot, the next `run` continues exactly where the last one stopped.
#[derive(Debug, Parser)]
#[command(
    name = "wreckit-host",
    version,
    disable_help_subcommand = true,
    after_help = "Main flags of `run`:\n  \
        --no-resume       Start fresh batch run, ignoring saved progress\n  \
        --retry-failed    Include previously failed items when resuming\n  \
        --parallel <N>    Run up to N items at the same time\n  \
        --timeout <SECS>  Stop an agent that takes longer\n  \
        --retries <N>     Retry failed items up to N times\n  \
        --dry-run         Show what would run, and run nothing\n  \
        --mock-agent      Use an agent that does nothing\n  \
        --demo            Run a temporary copy of the quickstart\n\n\
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
    /// Run as if started in DIR
    #[arg(long, global = true, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Show more, including agent output
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// Show only results, warnings and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// When to use color
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
    /// The directory that the command works in.
    directory: PathBuf,
    /// `--cwd`, as given.
    cwd: Option<PathBuf>,
    component: Option<PathBuf>,
}

impl Context {
    /// Returns this program as it was called, with the options that every command of it needs again.
    fn program(&self) -> String {
        let mut words = "wreckit-host".to_owned();
        for (flag, path) in [("--cwd", &self.cwd), ("--component", &self.component)] {
            if let Some(path) = path {
                words.push_str(&format!(" {flag} {}", safe::word(path)));
            }
        }
        words
    }

    /// Finds the repository around the current directory.
    fn repository(&self) -> Result<Repository, Error> {
        Ok(Repository::find(&self.directory)?)
    }

    /// Finds the features of the repository around the current directory, if it has any.
    fn features(&self) -> Result<Option<Features>, Error> {
        Features::find(&self.directory).map_err(|error| Error::of_features("open", error))
    }

    /// Finds the features for a command that can do without: if they cannot be opened, warns.
    fn features_if_usable(&self) -> Option<Features> {
        self.features().unwrap_or_else(|error| {
            self.output.line(Tone::Warning, &error.message());
            None
        })
    }

    /// Creates an instance of the component over a repository's `.wreckit`.
    fn instance(&self, repository: &Repository) -> Result<Instance, Error> {
        self.instance_over(&repository.state)
    }

    /// Creates an instance of the component over a directory.
    fn instance_over(&self, root: &Dir) -> Result<Instance, Error> {
        let component = match &self.component {
            None => Component::embedded()?,
            Some(path) => Component::from_file(path)?,
        };
        let root =
            root.try_clone().map_err(Error::unexpected("cannot open the directory again"))?;
        Ok(Instance::new(&component, root, Limits::default())?)
    }

    /// Prints JSON text of the component, if it is JSON.
    fn json(&self, text: &str) -> Result<(), Error> {
        parse(text)?;
        self.output.json(text.trim());
        Ok(())
    }

    /// Calls the component and prints its messages.
    fn call<R>(
        &self,
        instance: &mut Instance,
        call: impl FnOnce(&mut Instance) -> Result<R, ComponentError>,
    ) -> Result<R, Error> {
        let answer = call(instance);
        self.print_messages(instance);
        Ok(answer?)
    }

    /// Calls the component and prints its messages. Repeats the call while another process is in the way for
    /// a moment, or leftover processes are being ended. With `signals`, one that asks to stop ends the wait.
    fn call_retrying<T, E: Transient>(
        &self,
        instance: &mut Instance,
        signals: Option<&mut Signals>,
        mut call: impl FnMut(&mut Instance) -> Result<Result<T, E>, ComponentError>,
    ) -> Result<Result<T, E>, Error> {
        let call = || {
            let answer = call(instance);
            self.print_messages(instance);
            answer
        };
        Ok(retry_while_busy(call, signals)?)
    }

    fn print_messages(&self, instance: &mut Instance) {
        for (level, message) in instance.take_messages() {
            print_message(self.output, level, &message);
        }
    }
}

/// Runs the program: parses the arguments, carries out the command, and returns the exit code.
pub fn main() -> ProcessExitCode {
    // Without the handler, a write over the file size limit ends the process. That is no reason not to start.
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
            error.print(output);
            error.exit_code()
        }
    };
    output::finish(|| false);
    code.into()
}

/// Prints what is wrong with the arguments, or the help that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // That no one reads it is not a failure.
        let _ = error.print();
        return ExitCode::Success;
    }
    // The message quotes the arguments, which may come from anywhere, so it is not printed unchanged.
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

/// Parses JSON text of the component.
fn parse(text: &str) -> Result<serde_json::Value, Error> {
    serde_json::from_str(text).map_err(|error| {
        Error::Component(ComponentError::Protocol(format!("invalid JSON: {error}")))
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
