//! Text from files, agents, components and git, made safe for a line of a terminal or of a CI log.
//!
//! Three things are refused: characters that a terminal obeys or that a reader cannot see (controls,
//! bidirectional overrides, separators of lines, invisible format characters), line breaks, which
//! would let a title forge a line of ours, and what CI systems take for a command: GitHub Actions
//! looks for `::` at the beginning of a line, white space aside, and for `##[` anywhere; Azure
//! Pipelines looks for `##[` and `##vso[`. Both read standard output and standard error.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;
use std::sync::LazyLock;

use regex::Regex;

/// What a tab is shown as.
const TAB: &str = "    ";

/// Characters that are never printed as they are.
static HIDDEN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"[[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]--\p{Prepended_Concatenation_Mark}]",
    )
    .ok()
});

/// Returns the text as one line that is shown as it reads, wherever it is printed: what is hidden is
/// escaped as in Rust (`\n`, `\u{202e}`), and a backslash breaks what CI would obey (`\::error::`,
/// `##\[error]`).
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    let shown = escape(text, |c, escaped| match c {
        '\t' => escaped.push_str(TAB),
        c => escaped.extend(c.escape_default()),
    });
    let visible = shown.trim_start();
    let is_command = visible.starts_with("::");
    if !is_command && !shown.contains("##") {
        return shown;
    }
    let margin = shown.len() - visible.len();
    let broken = if is_command { "\\" } else { "" };
    let rest = visible.replace("##[", r"##\[").replace("##vso[", r"##vso\[");
    Cow::Owned(format!("{}{broken}{rest}", &shown[..margin]))
}

/// Returns the same JSON, in which no string holds what a terminal or CI would obey. Lines are kept:
/// in JSON they separate tokens and are part of no string.
pub(crate) fn json(json: &str) -> Cow<'_, str> {
    let escaped = escape(json, |c, escaped| match c {
        '\n' => escaped.push(c),
        // Only between tokens as well: in a string it would be invalid JSON.
        '\t' | '\r' => escaped.push(' '),
        c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }),
    });
    match escaped.contains("##") {
        true => Cow::Owned(escaped.replace("##[", r"#\u0023[").replace("##vso[", r"#\u0023vso[")),
        false => escaped,
    }
}

/// Returns a word of a command that a reader can copy into a shell: quoted where that is needed, and
/// in `$'…'` where it holds what would not be printed.
pub(crate) fn word(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_encoded_bytes();
    let text = String::from_utf8_lossy(bytes);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,@+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into_owned();
    }
    let is_shown = |text: &str| !text.contains('\t') && line(text) == text;
    if std::str::from_utf8(bytes).is_ok_and(is_shown) {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    let mut quoted = "$'".to_owned();
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => quoted.extend(['\\', char::from(*byte)]),
            b' '..=b'~' if !b":#".contains(byte) => quoted.push(char::from(*byte)),
            _ => {
                let _ = write!(quoted, "\\x{byte:02x}");
            }
        }
    }
    quoted.push('\'');
    quoted
}

/// Escapes every hidden character. A joiner or variation selector behind a character that it can
/// shape stays: scripts and emoji need it there.
fn escape(text: &str, mut write: impl FnMut(char, &mut String)) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    // A pattern that does not compile would be noticed by every test; then everything is hidden.
    let is_hidden = |c: char| {
        let mut bytes = [0; 4];
        let c: &str = c.encode_utf8(&mut bytes);
        HIDDEN.as_ref().is_none_or(|hidden| hidden.is_match(c))
    };
    let mut escaped = String::with_capacity(text.len());
    let mut before = None;
    for c in text.chars() {
        let is_shown = matches!(c, ' '..='~') || shapes(c, before) || !is_hidden(c);
        match is_shown {
            true => escaped.push(c),
            false => write(c, &mut escaped),
        }
        before = is_shown.then_some(c);
    }
    Cow::Owned(escaped)
}

/// Whether a joiner or variation selector changes how the character before it looks.
fn shapes(c: char, before: Option<char>) -> bool {
    let is_letter_or_symbol = before.is_some_and(|c| !c.is_ascii() && !c.is_whitespace());
    match c {
        // Zero-width non-joiner and joiner, Mongolian variation selectors.
        '\u{200c}' | '\u{200d}' | '\u{180b}'..='\u{180d}' | '\u{180f}' => is_letter_or_symbol,
        // Of digits there are emoji as well.
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {
            is_letter_or_symbol || before.is_some_and(|c| c.is_ascii_digit())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_types, reason = "a shell reads what is quoted for it")]

    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What the runners of CI look for, by their rules: `TrimStart().StartsWith("::")` and `IndexOf`.
    fn is_command(line: &str) -> bool {
        line.trim_start().starts_with("::") || line.contains("##[") || line.contains("##vso[")
    }

    fn is_forbidden(c: char) -> bool {
        c.is_control()
            || matches!(
                c,
                '\u{ad}'
                    | '\u{61c}'
                    | '\u{200b}'
                    | '\u{200e}'
                    | '\u{200f}'
                    | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}'
                    | '\u{feff}'
                    | '\u{fff9}'..='\u{fffb}'
                    | '\u{e0000}'..='\u{e007f}'
            )
    }

    /// Everything that matters here more often than chance has it.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            proptest::sample::select(vec![
                ":",
                "::",
                "::error::",
                "##[",
                "#",
                "[",
                "vso[",
                " ",
                "\u{a0}",
                "\n",
                "\r\n",
                "\t",
                "\u{1b}[31m",
                "\u{9b}",
                "\u{7f}",
                "\u{202e}",
                "\u{2028}",
                "\u{2066}",
                "\u{feff}",
                "\u{200d}",
                "\u{200c}",
                "\u{fe0f}",
                "\u{e0041}",
                "\u{1f469}",
                "é",
                "م",
                "\\",
            ])
            .prop_map(str::to_owned),
            any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_without_commands(text in hostile()) {
            let shown = line(&text);
            prop_assert!(!shown.chars().any(is_forbidden), "{shown:?}");
            prop_assert!(!is_command(&shown), "{shown:?}");
            let unseen: String = shown
                .chars()
                .filter(|c| !matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}'))
                .collect();
            prop_assert!(!is_command(&unseen), "a comparison may pass over joiners: {shown:?}");
            prop_assert_eq!(line(&shown).into_owned(), shown.clone().into_owned());
        }

        #[test]
        fn json_says_the_same(text in hostile()) {
            let value = serde_json::json!({ text.clone(): [text] });
            for written in [value.to_string(), format!("{value:#}")] {
                let shown = json(&written);
                prop_assert!(!shown.chars().any(|c| c != '\n' && is_forbidden(c)), "{shown:?}");
                prop_assert!(!shown.lines().any(is_command), "{shown:?}");
                let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
                prop_assert_eq!(&read, &value);
            }
        }

        #[test]
        fn a_word_is_not_changed_by_what_makes_it_safe(text in hostile()) {
            let command = format!("wreckit-host {}", word(&text));
            prop_assert_eq!(line(&command).into_owned(), command);
        }
    }

    #[test]
    fn what_is_hidden_is_shown_and_what_ci_would_obey_is_broken() {
        for (text, shown) in [
            ("a\u{1b}[31mb\r\u{9b}c\nd\te", "a\\u{1b}[31mb\\r\\u{9b}c\\nd    e"),
            ("  ::error file=x::y", "  \\::error file=x::y"),
            ("\u{a0}\u{200d}::error::y", "\u{a0}\\u{200d}::error::y"),
            ("a::b", "a::b"),
            ("see ##[error]x and ##vso[task.x]", "see ##\\[error]x and ##vso\\[task.x]"),
            ("#\u{200d}#[error]", "#\\u{200d}#[error]"),
            ("## heading", "## heading"),
            ("invoice \u{202e}fdp.exe", "invoice \\u{202e}fdp.exe"),
            ("one\u{2028}two\u{feff}", "one\\u{2028}two\\u{feff}"),
        ] {
            assert_eq!(line(text), shown, "{text:?}");
        }
    }

    #[test]
    fn what_scripts_and_emoji_are_made_of_stays() {
        for text in [
            "müde ✓ 日本語 عربي Ελληνικά",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "\u{1f469}\u{200d}\u{1f680}",
            "\u{2764}\u{fe0f}\u{200d}\u{1f525}",
            "1\u{fe0f}\u{20e3}",
        ] {
            assert_eq!(line(text), text);
        }
    }

    #[test]
    fn a_word_is_read_by_a_shell_as_it_was() {
        for text in
            ["001-a", "", "a b", "it's", "$(touch x)", "a\nb\t\u{202e}\\'c", "##[error]", "~"]
        {
            let script = format!("printf %s {}", word(text));
            let printed = Command::new("bash").args(["-c", &script]).output().unwrap().stdout;
            assert_eq!(String::from_utf8(printed).unwrap(), text, "{script}");
        }
        assert_eq!(word("items/001-a_b.c"), "items/001-a_b.c");
        assert_eq!(word("001-$(x)"), "'001-$(x)'");
        assert_eq!(word("a\nb"), r"$'a\x0ab'");
    }
}
