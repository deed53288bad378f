//! Placeholders in an agent's arguments.

/// Expands the placeholders in an argument. A value never turns it into an option: if the value at its beginning
/// starts with a dash, a space precedes it. NUL, which no argument can contain, becomes
/// U+FFFD.
pub(super) fn expand(template: &str, values: &[(&str, String)]) -> String {
    let expanded = replace(template, values);
    match expanded.starts_with('-') && !template.starts_with('-') {
        true => format!(" {expanded}"),
        false => expanded,
    }
}

/// Replaces each placeholder by its value, in which no placeholders are replaced. Other braces remain.
fn replace(template: &str, values: &[(&str, String)]) -> String {
    let mut expanded = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        expanded.push_str(&rest[..open]);
        rest = &rest[open..];
        let known = values.iter().find_map(|(name, value)| Some((value, rest.strip_prefix(name)?)));
        match known {
            Some((value, after)) => {
                expanded.push_str(&value.replace('\0', "\u{fffd}"));
                rest = after;
            }
            None => {
                expanded.push('{');
                rest = &rest[1..];
            }
        }
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_never_makes_an_option_of_an_argument() {
        for (title, template, expanded) in [
            ("--version", "{title}", " --version"),
            ("-", "{title} {id}", " - 001-a"),
            ("-x", "{none}{title}", "{none}-x"),
            ("-x", "--title={title}", "--title=-x"),
            ("-x", "-{title}", "--x"),
            ("x", "{title}", "x"),
            ("", "{title}", ""),
            ("a\0b", "{title}", "a\u{fffd}b"),
        ] {
            let values = [("{id}", "001-a".to_owned()), ("{title}", title.to_owned())];
            assert_eq!(expand(template, &values), expanded, "{template}");
        }
    }

    #[test]
    fn known_names_are_replaced_once_and_other_braces_remain() {
        let values = [("{id}", "001-a".to_owned()), ("{title}", "say {id} and {dir}".to_owned())];
        for (template, expanded) in [
            ("{id}: {title}", "001-a: say {id} and {dir}"),
            ("{}{x}{{id}", "{}{x}{001-a"),
            ("{id", "{id"),
            ("{\"a\": {id}}", "{\"a\": 001-a}"),
            ("", ""),
        ] {
            assert_eq!(replace(template, &values), expanded);
        }
    }

    proptest! {
        #[test]
        fn whatever_the_title_only_the_template_makes_an_option(
            title in "[-a{} ]{0,6}", template in "(\\{title\\}|[-a{} ]){0,4}",
        ) {
            let expanded = expand(&template, &[("{title}", title)]);
            prop_assert_eq!(expanded.starts_with('-'), template.starts_with('-'));
        }
    }
}
