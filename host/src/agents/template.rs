//! Placeholders in an agent's arguments.

/// Replaces each `{name}` that `values` knows. What comes in that way is not looked at again, and
/// braces that name nothing stay.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
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
