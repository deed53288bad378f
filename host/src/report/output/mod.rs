//! What the user sees: results on standard output, everything else on standard error.
//!
//! Text from files, agents and components never reaches a terminal or a CI log raw: every function that
//! prints text makes it [`safe`], line by line, and nothing outside of this module can write to a [`Stream`].
//! A reader that goes away (`| head`) does not end the program.

pub(crate) mod safe;
mod stream;
mod terminal;

pub(crate) use stream::{Stream, finish, flush, start_writer};
pub(crate) use terminal::Terminal;

use anstyle::{AnsiColor, Style};

use crate::ambient;

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The prefix of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// `error:`
    Error,
    /// `warning:`
    Warning,
    /// `hint:`
    Hint,
    /// `ok`
    Good,
    /// `failed`
    Bad,
    /// No prefix.
    Plain,
}

impl Tone {
    fn prefix(self) -> (&'static str, Style) {
        match self {
            Tone::Error => ("error: ", AnsiColor::Red.on_default().bold()),
            Tone::Warning => ("warning: ", AnsiColor::Yellow.on_default().bold()),
            Tone::Hint => ("hint: ", AnsiColor::Cyan.on_default().bold()),
            Tone::Good => ("ok      ", AnsiColor::Green.on_default()),
            Tone::Bad => ("failed  ", AnsiColor::Red.on_default()),
            Tone::Plain => ("", Style::new()),
        }
    }
}

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    color: bool,
}

impl Output {
    pub(crate) fn new(quiet: bool, verbose: bool, color: Color) -> Self {
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                Stream::Err.terminal().is_some() && ambient::variable("NO_COLOR").is_none()
            }
        };
        Output { quiet, verbose, color }
    }

    /// Prints a line of the result.
    pub(crate) fn result(&self, text: &str) {
        Stream::Out.write(format!("{}\n", safe::line(text)).as_bytes());
    }

    /// Prints a text of several lines as part of the result.
    pub(crate) fn document(&self, text: &str) {
        text.lines().for_each(|line| self.result(line));
    }

    /// Prints valid JSON as the result, on lines of its own.
    pub(crate) fn json(&self, json: &str) {
        Stream::Out.write(format!("{}\n", safe::json(json)).as_bytes());
    }

    /// Prints bytes of the result unchanged. They must not contain text that others wrote, unless they are
    /// not text at all.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        Stream::Out.write(bytes);
    }

    /// Prints a line about progress; not with `--quiet`.
    pub(crate) fn note(&self, tone: Tone, text: &str) {
        if !self.quiet {
            self.line(tone, text);
        }
    }

    /// Prints a line that only `--verbose` shows.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose {
            self.line(Tone::Plain, text);
        }
    }

    /// Prints a line that is always shown.
    pub(crate) fn line(&self, tone: Tone, text: &str) {
        self.lines(tone, &[text]);
    }

    /// Prints a line that is always shown, and further lines below it, indented.
    pub(crate) fn lines(&self, tone: Tone, lines: &[impl AsRef<str>]) {
        let (word, style) = tone.prefix();
        let mut text = match self.color && !word.is_empty() {
            true => format!("{style}{word}{style:#}"),
            false => word.to_owned(),
        };
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                text.push_str("  ");
            }
            text.push_str(&safe::line(line.as_ref()));
            text.push('\n');
        }
        Stream::Err.write(text.as_bytes());
    }

    /// Prints a question, to be answered on the same line.
    pub(crate) fn prompt(&self, text: &str) {
        Stream::Err.write(format!("{} ", safe::line(text)).as_bytes());
    }
}

/// Returns `1 error`, `2 errors`.
pub(crate) fn counted(count: usize, name: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}
