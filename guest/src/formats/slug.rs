//! The part of a directory's name that is derived from a title.

/// Maximum length in characters.
pub const LONGEST: usize = 50;

/// How a title becomes a slug.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The characters besides white space and `-` that become `-`.
    pub separators: &'static [char],
    /// Whether consecutive `-` become one.
    pub collapse: bool,
    /// The slug of a title of which nothing remains.
    pub fallback: &'static str,
}

/// The title in lower case with separators as `-` and nothing but `[a-z0-9-]`, without `-` at its ends.
pub fn slug(title: &str, rule: Rule) -> String {
    let mut slug = String::new();
    for c in title.to_lowercase().chars() {
        let is_separator = c.is_whitespace() || c == '-' || rule.separators.contains(&c);
        let is_redundant = slug.is_empty() || (rule.collapse && slug.ends_with('-'));
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if is_separator && !is_redundant {
            slug.push('-');
        }
    }
    slug.truncate(LONGEST);
    match slug.trim_end_matches('-') {
        "" => rule.fallback.to_owned(),
        slug => slug.to_owned(),
    }
}
