//! What the user sees: results on standard output, everything else on standard error.
//!
//! Text from files, agents and components never reaches the terminal raw, and a reader that goes
//! away (`| head`) ends nothing.

mod stream;

pub(crate) use stream::{Stream, do_not_wait, finish, settle};

use std::borrow::Cow;

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

/// The word that a line begins with.
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
    /// Nothing.
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

    /// A line of the result.
    pub(crate) fn result(&self, text: &str) {
        Stream::Out.write(format!("{}\n", plain(text)).as_bytes());
    }

    /// JSON as the result, on lines of its own.
    pub(crate) fn json(&self, text: &str) {
        Stream::Out.write(format!("{}\n", plain_json(text)).as_bytes());
    }

    /// Bytes of the result, as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        Stream::Out.write(bytes);
    }

    /// A line on the way to the result; not with `--quiet`.
    pub(crate) fn note(&self, tone: Tone, text: &str) {
        if !self.quiet {
            self.line(tone, text);
        }
    }

    /// A line that only `--verbose` shows.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose {
            self.line(Tone::Plain, text);
        }
    }

    /// A line that is shown whatever was asked for. Further lines of it are indented.
    pub(crate) fn line(&self, tone: Tone, text: &str) {
        let (word, style) = tone.prefix();
        let text = plain(text).replace('\n', "\n  ");
        let line = match self.color && !word.is_empty() {
            true => format!("{style}{word}{style:#}{text}\n"),
            false => format!("{word}{text}\n"),
        };
        Stream::Err.write(line.as_bytes());
    }
}

/// Text without control characters other than line breaks: they are shown, not obeyed.
pub(crate) fn plain(text: &str) -> String {
    let is_harmless = |c: char| c == '\n' || !c.is_control();
    if text.chars().all(is_harmless) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| if is_harmless(c) { c.to_string() } else { c.escape_default().to_string() })
        .collect()
}

/// `1 error`, `2 errors`.
pub(crate) fn counted(count: usize, name: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

/// The same JSON, with nothing in it that a terminal would obey: serialising leaves some control
/// characters as they are.
fn plain_json(json: &str) -> Cow<'_, str> {
    let is_harmless = |c: char| c == '\n' || !c.is_control();
    if json.chars().all(is_harmless) {
        return json.into();
    }
    let escape = |c: char| match is_harmless(c) {
        true => c.to_string(),
        false => format!("\\u{:04x}", u32::from(c)),
    };
    json.chars().map(escape).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_and_is_not_obeyed_either() {
        let json = "{\"a\":\"\u{9b}31m\u{7f}\"}";
        assert_eq!(plain_json(json), "{\"a\":\"\\u009b31m\\u007f\"}");
        let parsed: serde_json::Value = serde_json::from_str(&plain_json(json)).unwrap();
        assert_eq!(parsed, serde_json::from_str::<serde_json::Value>(json).unwrap());
        assert_eq!(plain_json("{\n\"a\":\"ü\"}"), "{\n\"a\":\"ü\"}");
    }

    #[test]
    fn escapes_are_shown_and_not_obeyed() {
        assert_eq!(plain("a\u{1b}[31mb\r\u{9b}c\nd"), "a\\u{1b}[31mb\\r\\u{9b}c\nd");
        assert_eq!(plain("müde ✓"), "müde ✓");
    }
}
