//! Resolving what a user calls an item or a feature: an id, a number without leading zeros, or an unambiguous prefix.

use crate::io::layout;

/// Words that do not identify one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// As given.
    pub given: String,
    /// What they may refer to.
    pub candidates: Vec<String>,
    /// True if every candidate matches; false if none does.
    pub ambiguous: bool,
}

/// Maximum number of candidates that an error names.
pub const MAX_CANDIDATES: usize = 10;

/// The ids of the items, each once, in the given order.
pub fn resolve(given: &[String], ids: &[String]) -> Result<Vec<String>, Unresolved> {
    let mut chosen: Vec<String> = Vec::new();
    for words in given {
        let id = resolve_one(words, ids)?;
        if !chosen.contains(id) {
            chosen.push(id.clone());
        }
    }
    Ok(chosen)
}

fn resolve_one<'i>(given: &str, ids: &'i [String]) -> Result<&'i String, Unresolved> {
    // A number identifies the item with that number, even if it is a prefix of another id.
    let is_number = given.bytes().all(|b| b.is_ascii_digit()) && !given.is_empty();
    let numbered: Vec<&String> = match is_number {
        true => {
            let number = given.trim_start_matches('0');
            ids.iter().filter(|id| layout::item_number(id) == Some(number)).collect()
        }
        false => Vec::new(),
    };
    let matches = match numbered.is_empty() {
        false => numbered,
        true => matching(given, ids),
    };
    match matches[..] {
        [id] => Ok(id),
        [] => Err(unresolved(given, ids.iter().filter(|id| is_similar(given, id)), false)),
        _ => Err(unresolved(given, matches.into_iter(), true)),
    }
}

/// The id that equals `given`, or else every id that begins with it.
pub fn matching<'i>(given: &str, ids: &'i [String]) -> Vec<&'i String> {
    if let Some(id) = ids.iter().find(|id| *id == given) {
        return vec![id];
    }
    ids.iter().filter(|id| !given.is_empty() && id.starts_with(given)).collect()
}

fn unresolved<'i>(
    given: &str,
    candidates: impl Iterator<Item = &'i String>,
    ambiguous: bool,
) -> Unresolved {
    let candidates = candidates.take(MAX_CANDIDATES).cloned().collect();
    Unresolved { given: given.to_owned(), candidates, ambiguous }
}

/// Whether the words may refer to an id: it contains them.
fn is_similar(given: &str, id: &str) -> bool {
    let given = given.to_lowercase();
    let words = given.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    words.len() >= 3 && id.to_lowercase().contains(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(given: &str) -> Result<String, Unresolved> {
        let ids = ["001-login", "002-logout", "010-search", "0100-search-more", "012-a"]
            .map(str::to_owned);
        super::resolve(&[given.to_owned()], &ids).map(|mut chosen| chosen.remove(0))
    }

    #[test]
    fn an_id_a_number_or_a_prefix_identifies_an_item() {
        for (given, id) in [
            ("001-login", "001-login"),
            ("1", "001-login"),
            ("001", "001-login"),
            ("10", "010-search"),
            ("100", "0100-search-more"),
            ("002-l", "002-logout"),
        ] {
            assert_eq!(resolve(given).as_deref(), Ok(id), "{given}");
        }
    }

    #[test]
    fn an_ambiguous_prefix_has_its_matches_as_candidates() {
        let error = resolve("00").unwrap_err();
        assert!(error.ambiguous);
        assert_eq!(error.candidates, ["001-login", "002-logout"]);
    }

    #[test]
    fn an_unknown_name_has_similar_ids_as_candidates() {
        let error = resolve("099-logout").unwrap_err();
        assert!(!error.ambiguous);
        assert_eq!(error.candidates, ["002-logout"]);
        assert_eq!(resolve("").unwrap_err().candidates, [""; 0]);
    }
}
