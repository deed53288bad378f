//! Placeholders in an agent's arguments.

/// Fills in one argument. A value never makes an option of it: where the value that it begins with
/// would give it a dash, a space comes first.
pub(super) fn argument(template: &str, values: &[(&str, &str)]) -> String {
    let filled = fill(template, values);
    match filled.starts_with('-') && !template.starts_with('-') {
        true => format!(" {filled}"),
        false => filled,
    }
}

/// Replaces each `{name}` that `values` knows. What comes in that way is not looked at again, and
/// braces that name nothing stay.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let known = values.iter().find_map(|(name, value)| {
            Some((value, rest.strip_prefix('{')?.strip_prefix(name)?.strip_prefix('}')?))
        });
        match known {
            Some((value, behind)) => {
                filled.push_str(value);
                rest = behind;
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_makes_an_option_of_an_argument() {
        for (title, template, filled) in [
            ("--version", "{title}", " --version"),
            ("-", "{title} {id}", " - 001-a"),
            ("-x", "{none}{title}", "{none}-x"),
            ("-x", "--title={title}", "--title=-x"),
            ("-x", "-{title}", "--x"),
            ("x", "{title}", "x"),
            ("", "{title}", ""),
        ] {
            let values = [("id", "001-a"), ("title", title)];
            assert_eq!(argument(template, &values), filled, "{template}");
        }
    }

    #[test]
    fn known_names_are_replaced_once_and_other_braces_stay() {
        let values = [("id", "001-a"), ("title", "say {id} and {dir}")];
        for (template, filled) in [
            ("{id}: {title}", "001-a: say {id} and {dir}"),
            ("{}{x}{{id}", "{}{x}{001-a"),
            ("{id", "{id"),
            ("{\"a\": {id}}", "{\"a\": 001-a}"),
            ("", ""),
        ] {
            assert_eq!(fill(template, &values), filled);
        }
    }
}
