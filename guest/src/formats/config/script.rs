//! Placeholders in the script of a shell, where their values would be executed.

use super::Placeholder;

/// Programs that take a script with `-c`.
const SHELLS: [&str; 10] =
    ["sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "fish", "csh", "tcsh"];

/// Returns a warning about placeholders in the script of a shell that this command starts, directly or
/// through another program such as `env`.
pub(super) fn warning(program: &str, args: &[String]) -> Option<String> {
    let words: Vec<&str> =
        std::iter::once(program).chain(args.iter().map(String::as_str)).collect();
    let (shell, used) = (0..words.len()).find_map(|index| {
        let script = script(&words[index..])?;
        let is_used = |name: &Placeholder| script.contains(name.text());
        let used: Vec<Placeholder> = Placeholder::ALL.into_iter().filter(is_used).collect();
        (!used.is_empty()).then_some((words[index], used))
    })?;
    let placeholders: Vec<String> = used.iter().map(|name| format!("`{}`", name.text())).collect();
    let variables: Vec<String> =
        used.iter().map(|name| format!("\"${}\"", name.variable())).collect();
    Some(format!(
        "`agent.args`: {} in the script of `{shell} -c` is run as code, whatever it contains; write {} instead",
        placeholders.join(", "),
        variables.join(", "),
    ))
}

/// Returns the script that is passed to the shell at the beginning of `words`.
fn script<'w>(words: &[&'w str]) -> Option<&'w str> {
    let (shell, rest) = words.split_first()?;
    let name = shell.rsplit('/').next().unwrap_or_default();
    if !SHELLS.contains(&name) {
        return None;
    }
    let mut rest = rest.iter();
    let mut is_script = false;
    while let Some(word) = rest.next() {
        if let Some(script) = word.strip_prefix("--command=") {
            return Some(script);
        }
        match *word {
            "--command" => return rest.next().copied(),
            "--rcfile" | "--init-file" => drop(rest.next()),
            word if word.starts_with("--") => {}
            word if word.starts_with(['-', '+']) => {
                is_script |= word.contains('c');
                // `-o pipefail`, `-euo pipefail`: the name of an option follows.
                if word.ends_with(['o', 'O']) {
                    rest.next();
                }
            }
            word => return is_script.then_some(word),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_in_a_script_are_found_and_others_are_not() {
        for (words, is_found) in [
            ("sh|-c|claude {title}", true),
            ("/bin/bash|-lc|echo {id}", true),
            ("env|A=1|sh|-c|echo {dir}", true),
            ("bash|-euo|pipefail|-c|echo {root}", true),
            ("bash|-ceuo|pipefail|echo {title}", true),
            ("zsh|-x|-c|--|echo {phase}", true),
            ("bash|--rcfile|file|-c|{title}", true),
            ("fish|--command=echo {title}", true),
            ("fish|--command|echo {title}", true),
            ("bash|-x|run.sh|sh|-c|{title}", true),
            ("sh|-c|claude -p \"$WRECKIT_TITLE\"|agent|{title}", false),
            ("sh|-c|echo \"$1\"|agent|{id}|{title}|{dir}", false),
            ("sh|run.sh|-c|{title}", false),
            ("bash|-o|c|run.sh|{title}", false),
            ("claude|-c|Work on {id}: {title}", false),
            ("wreckit|run|{id}", false),
            ("sh|-c|echo {} {other}", false),
            ("sh|-c", false),
        ] {
            let words: Vec<String> = words.split('|').map(str::to_owned).collect();
            assert_eq!(warning(&words[0], &words[1..]).is_some(), is_found, "{words:?}");
        }
    }

    #[test]
    fn the_warning_says_what_to_write() {
        let args = ["-c", "say {id} {title}"].map(str::to_owned);
        assert_eq!(
            warning("/bin/sh", &args).unwrap(),
            "`agent.args`: `{id}`, `{title}` in the script of `/bin/sh -c` is run as code, whatever it contains; \
             write \"$WRECKIT_ITEM_ID\", \"$WRECKIT_TITLE\" instead"
        );
    }
}
