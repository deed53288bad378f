//! CIRCULAR_DEPENDENCY and MISSING_DEPENDENCY.

use std::collections::HashMap;

use super::finding::{Code, Finding};
use super::items::Survey;

/// Maximum number of items that the message about a cycle names.
const NAMED: usize = 20;

pub(super) fn examine(survey: &Survey, found: &mut Vec<Finding>) {
    find_cycles(survey, found);
    for item in &survey.items {
        for missing in item.depends_on.iter().filter(|on| !survey.has(on)) {
            let message = format!("Depends on non-existent item: {missing}");
            found.push(Finding::new(Code::MissingDependency, message).of(&item.id));
        }
    }
}

/// The state of an item in the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    Unvisited,
    /// It is on the path from the start to the current item.
    OnPath,
    Finished,
}

/// Searches depth first, without recursion: a chain of dependencies may be as long as there are items. Follows each
/// dependency once, and reports at most one cycle for each item that it begins with.
fn find_cycles(survey: &Survey, found: &mut Vec<Finding>) {
    let items = &survey.items;
    let index: HashMap<&str, usize> =
        items.iter().enumerate().map(|(index, item)| (item.id.as_str(), index)).collect();
    let mut visits = vec![Visit::Unvisited; items.len()];
    let mut is_reported = vec![false; items.len()];
    for start in 0..items.len() {
        if visits[start] != Visit::Unvisited {
            continue;
        }
        // Each item on the path, with the number of its dependencies that were followed.
        let mut path = vec![(start, 0)];
        visits[start] = Visit::OnPath;
        while let Some((item, followed)) = path.last_mut() {
            let Some(on) = items[*item].depends_on.get(*followed) else {
                visits[*item] = Visit::Finished;
                path.pop();
                continue;
            };
            *followed += 1;
            let Some(&next) = index.get(on.as_str()) else { continue };
            match visits[next] {
                Visit::Finished => {}
                Visit::Unvisited => {
                    visits[next] = Visit::OnPath;
                    path.push((next, 0));
                }
                Visit::OnPath if is_reported[next] => {}
                Visit::OnPath => {
                    is_reported[next] = true;
                    let on_path = path.iter().map(|(item, _)| *item);
                    let cycle: Vec<usize> = on_path.skip_while(|item| *item != next).collect();
                    let id = |item: &usize| items[*item].id.as_str();
                    found.push(finding(&cycle.iter().map(id).collect::<Vec<_>>()));
                }
            }
        }
    }
}

fn finding(cycle: &[&str]) -> Finding {
    let first = cycle.first().copied().unwrap_or_default();
    let ids = match cycle.len() > NAMED {
        false => cycle.join(" -> "),
        true => format!("{} -> … ({} more)", cycle[..NAMED].join(" -> "), cycle.len() - NAMED),
    };
    let message = format!("Circular dependency detected: {ids} -> {first}");
    Finding::new(Code::CircularDependency, message).of(first)
}

#[cfg(test)]
mod tests {
    use super::super::items::ItemSummary;
    use super::*;

    fn messages(items: &[(&str, &[&str])]) -> Vec<String> {
        let item = |(id, on): &(&str, &[&str])| ItemSummary {
            id: (*id).to_owned(),
            state: "idea".to_owned(),
            title: String::new(),
            depends_on: on.iter().map(|on| (*on).to_owned()).collect(),
        };
        let survey = Survey {
            ids: items.iter().map(|(id, _)| (*id).to_owned()).collect(),
            items: items.iter().map(item).collect(),
        };
        let mut found = Vec::new();
        examine(&survey, &mut found);
        found.into_iter().map(|finding| finding.diagnostic.message).collect()
    }

    #[test]
    fn a_cycle_is_named_from_an_item_back_to_it_and_a_missing_dependency_is_named() {
        assert_eq!(
            messages(&[
                ("001-a", &["002-b"]),
                ("002-b", &["001-a", "003-c"]),
                ("003-c", &["003-c", "009-x"]),
                ("004-d", &["001-a"]),
            ]),
            [
                "Circular dependency detected: 001-a -> 002-b -> 001-a",
                "Circular dependency detected: 003-c -> 003-c",
                "Depends on non-existent item: 009-x",
            ]
        );
        assert!(messages(&[("001-a", &[]), ("002-b", &["001-a"])]).is_empty());
    }

    #[test]
    fn a_cycle_through_all_items_is_found_fast_and_its_message_is_short() {
        let names: Vec<String> = (0..100_000).map(|number| format!("{number:06}-x")).collect();
        let on: Vec<[&str; 1]> =
            (0..names.len()).map(|place| [names[(place + 1) % names.len()].as_str()]).collect();
        let items: Vec<(&str, &[&str])> =
            names.iter().zip(&on).map(|(name, on)| (name.as_str(), on.as_slice())).collect();
        let found = messages(&items);
        assert_eq!(found.len(), 1);
        assert!(found[0].len() < 1000 && found[0].contains("99980 more"), "{}", found[0]);
    }
}
