//! The loop of implementation, review and test.

use serde_json::{Map, Value, json};

use super::document::{list_in, object_in};
use super::store::change;
use super::{Changed, FeatureError, legal, number};
use crate::formats::json;
use crate::io::host::Host;

/// What a review or a test came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is good.
    Pass,
    /// It is not.
    Fail,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
        }
    }
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iteration {
    /// What was implemented.
    pub implementation: String,
    /// What the review came to.
    pub review: Verdict,
    /// What the tests came to.
    pub test: Verdict,
    /// What failed.
    pub test_failures: Vec<String>,
}

const IN_PROGRESS: &str = "in_progress";
const VERIFIED: &str = "IMPLEMENTATION_VERIFIED";
const ESCALATED: &str = "escalated";
/// Rounds of a file that does not say how many there may be.
const MOST: u64 = 5;

/// A loop that has not begun.
pub(super) fn nothing(most: u64) -> Value {
    json!({
        "enabled": true,
        "current_iteration": 0,
        "max_iterations": most,
        "status": IN_PROGRESS,
        "consecutive_review_failures": 0,
        "consecutive_test_failures": 0,
        "iterations": [],
    })
}

/// Records a round. PASS and PASS verifies the implementation; a round after that reopens the loop;
/// the last round without it escalates.
pub fn iterate(
    host: Host<'_>,
    feature: &str,
    iteration: &Iteration,
) -> Result<Changed, FeatureError> {
    change(host, feature, |document| {
        legal::refuse_if_aborted(document)?;
        if document.part("feedback_loop").is_none() {
            document.set("feedback_loop", nothing(MOST));
        }
        let feedback = document.part_mut("feedback_loop")?;
        let (number, most) = next(feedback)?;
        let is_verified = (iteration.review, iteration.test) == (Verdict::Pass, Verdict::Pass);
        let status = match is_verified {
            true => VERIFIED,
            false if number >= most => ESCALATED,
            false => IN_PROGRESS,
        };
        list_in(feedback, "iterations")?.push(json!({
            "number": number,
            "implementation": iteration.implementation,
            "review_result": iteration.review.name(),
            "test_result": iteration.test.name(),
            "test_failures": iteration.test_failures,
            "status": status,
        }));
        feedback.insert("current_iteration".to_owned(), json!(number));
        feedback.insert("status".to_owned(), json!(status));
        streak(feedback, "consecutive_review_failures", iteration.review)?;
        streak(feedback, "consecutive_test_failures", iteration.test)?;
        if status == ESCALATED {
            escalate(document.part_mut("metrics")?, "max_iterations_reached")?;
        }
        Ok(match status {
            VERIFIED => format!("iteration {number}: the implementation is verified"),
            ESCALATED => {
                format!("iteration {number} of {most} was the last one: escalated to a person")
            }
            _ => format!("iteration {number} of {most}: to be done again"),
        })
    })
}

/// The number of the next round, and how many there may be.
fn next(feedback: &Map<String, Value>) -> Result<(u64, u64), FeatureError> {
    // No move of a phase helps.
    let illegal = |message: String| Err(FeatureError::Illegal { message, legal: Vec::new() });
    if feedback.get("enabled") == Some(&json!(false)) {
        return illegal("the feedback loop of this feature is disabled".to_owned());
    }
    let integer = |key: &str, default: u64| match feedback.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => json::integer(value).ok_or_else(|| {
            FeatureError::Corrupt(format!("`{key}` must be an integer, 0 or more, found {value}"))
        }),
    };
    let number = integer("current_iteration", 0)?.saturating_add(1);
    let most = integer("max_iterations", MOST)?;
    match number > most {
        true => illegal(format!(
            "{most} iterations are the most there may be: a person has to look at it, and may raise `feedback_loop.max_iterations` in progress.json"
        )),
        false => Ok((number, most)),
    }
}

fn streak(
    feedback: &mut Map<String, Value>,
    key: &str,
    verdict: Verdict,
) -> Result<(), FeatureError> {
    match verdict {
        Verdict::Pass => {
            feedback.insert(key.to_owned(), json!(0));
            Ok(())
        }
        Verdict::Fail => number::count(feedback, key, 1),
    }
}

/// One more escalation to the user.
pub(super) fn escalate(metrics: &mut Map<String, Value>, reason: &str) -> Result<(), FeatureError> {
    let escalations = object_in(metrics, "escalations")?;
    number::count(escalations, "to_user", 1)?;
    list_in(escalations, "reasons")?.push(json!(reason));
    Ok(())
}
