//! The feedback loop of implementation, review and test.

use serde_json::{Map, Value, json};

use super::document::{list_in, object_in};
use super::store::change;
use super::{legal, number};
use crate::bindings::exports::wreckit::batch::feature::{
    FeatureError, IllegalMove, Iteration, Snapshot, Verdict,
};
use crate::io::host::Host;
use crate::json;

impl Verdict {
    /// Its name in the file.
    fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
        }
    }
}

const IN_PROGRESS: &str = "in_progress";
const VERIFIED: &str = "IMPLEMENTATION_VERIFIED";
const ESCALATED: &str = "escalated";
/// Maximum number of iterations, if the document does not say.
const DEFAULT_MAX: u64 = 5;

/// `feedback_loop` of a new feature.
pub(super) fn initial(max: u64) -> Value {
    json!({
        "enabled": true,
        "current_iteration": 0,
        "max_iterations": max,
        "status": IN_PROGRESS,
        "consecutive_review_failures": 0,
        "consecutive_test_failures": 0,
        "iterations": [],
    })
}

/// Records an iteration. If review and test pass, the implementation is verified; another iteration reopens the
/// loop. The last permitted iteration escalates if one of them fails.
pub fn iterate(
    host: Host<'_>,
    feature: &str,
    iteration: &Iteration,
) -> Result<Snapshot, FeatureError> {
    change(host, feature, |document| {
        legal::refuse_if_aborted(document)?;
        if document.part("feedback_loop").is_none() {
            document.set("feedback_loop", initial(DEFAULT_MAX));
        }
        let feedback = document.part_mut("feedback_loop")?;
        let (number, max) = next(feedback)?;
        let is_verified = (iteration.review, iteration.test) == (Verdict::Pass, Verdict::Pass);
        let status = match is_verified {
            true => VERIFIED,
            false if number >= max => ESCALATED,
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
                format!(
                    "iteration {number} of {max} failed, and was the last one: escalated to the user"
                )
            }
            _ => format!("iteration {number} of {max} failed"),
        })
    })
}

/// The number of the next iteration, and the maximum.
fn next(feedback: &Map<String, Value>) -> Result<(u64, u64), FeatureError> {
    // No move of a phase would help.
    let illegal =
        |message: String| Err(FeatureError::Illegal(IllegalMove { message, legal: Vec::new() }));
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
    let max = integer("max_iterations", DEFAULT_MAX)?;
    match number > max {
        true => illegal(format!(
            "all {max} iterations are used: a person must review the implementation, and can raise `feedback_loop.max_iterations` in progress.json"
        )),
        false => Ok((number, max)),
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

/// Counts an escalation to the user.
pub(super) fn escalate(metrics: &mut Map<String, Value>, reason: &str) -> Result<(), FeatureError> {
    let escalations = object_in(metrics, "escalations")?;
    number::count(escalations, "to_user", 1)?;
    list_in(escalations, "reasons")?.push(json!(reason));
    Ok(())
}
