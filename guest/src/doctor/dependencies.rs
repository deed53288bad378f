//! CIRCULAR_DEPENDENCY and MISSING_DEPENDENCY.

use std::collections::HashMap;

use super::finding::{Code, Diagnostic};
use super::items::Survey;

/// A longer circle is named by its beginning and its end.
const LONGEST: usize = 20;

pub(super) fn examine(survey: &Survey, found: &mut Vec<Diagnostic>) {
    circles(survey, found);
    for item in &survey.items {
        for missing in item.depends_on.iter().filter(|on| !survey.has(on)) {
            let message = format!("Depends on non-existent item: {missing}");
            found.push(Diagnostic::new(Code::MissingDependency, message).of(&item.id));
        }
    }
}

/// How far the search has come with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    Never,
    /// It is on the way from the start to here.
    OnTheWay,
    Over,
}

/// Depth first, without recursion: a chain of dependencies may be as long as there are items. Each
/// dependency is followed once, and each item begins at most one circle that is reported.
fn circles(survey: &Survey, found: &mut Vec<Diagnostic>) {
    let items = &survey.items;
    let index: HashMap<&str, usize> =
        items.iter().enumerate().map(|(index, item)| (item.id.as_str(), index)).collect();
    let mut visits = vec![Visit::Never; items.len()];
    let mut begins_one = vec![false; items.len()];
    for start in 0..items.len() {
        if visits[start] != Visit::Never {
            continue;
        }
        // The way here: each item with how many of its dependencies were followed.
        let mut way = vec![(start, 0)];
        visits[start] = Visit::OnTheWay;
        while let Some((item, followed)) = way.last_mut() {
            let Some(on) = items[*item].depends_on.get(*followed) else {
                visits[*item] = Visit::Over;
                way.pop();
                continue;
            };
            *followed += 1;
            let Some(&next) = index.get(on.as_str()) else { continue };
            match visits[next] {
                Visit::Over => {}
                Visit::Never => {
                    visits[next] = Visit::OnTheWay;
                    way.push((next, 0));
                }
                Visit::OnTheWay if begins_one[next] => {}
                Visit::OnTheWay => {
                    begins_one[next] = true;
                    let names = way.iter().map(|(item, _)| *item);
                    let circle: Vec<usize> = names.skip_while(|item| *item != next).collect();
                    let name = |item: &usize| items[*item].id.as_str();
                    found.push(diagnostic(&circle.iter().map(name).collect::<Vec<_>>()));
                }
            }
        }
    }
}

fn diagnostic(circle: &[&str]) -> Diagnostic {
    let first = circle.first().copied().unwrap_or_default();
    let names = match circle.len() > LONGEST {
        false => circle.join(" -> "),
        true => {
            format!("{} -> … ({} more)", circle[..LONGEST].join(" -> "), circle.len() - LONGEST)
        }
    };
    let message = format!("Circular dependency detected: {names} -> {first}");
    Diagnostic::new(Code::CircularDependency, message).of(first)
}

#[cfg(test)]
mod tests {
    use super::super::items::Known;
    use super::*;

    fn messages(items: &[(&str, &[&str])]) -> Vec<String> {
        let known = |(id, on): &(&str, &[&str])| Known {
            id: (*id).to_owned(),
            state: "idea".to_owned(),
            title: String::new(),
            depends_on: on.iter().map(|on| (*on).to_owned()).collect(),
        };
        let survey = Survey {
            ids: items.iter().map(|(id, _)| (*id).to_owned()).collect(),
            items: items.iter().map(known).collect(),
        };
        let mut found = Vec::new();
        examine(&survey, &mut found);
        found.into_iter().map(|diagnostic| diagnostic.message).collect()
    }

    #[test]
    fn circles_are_named_from_an_item_back_to_it_and_what_is_missing_is_named() {
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
    fn a_circle_through_everything_is_found_soon_and_named_in_short() {
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
