//! Adding to the numbers of a document. Totals are never recomputed.

use serde_json::{Map, Number, Value};

use crate::bindings::exports::wreckit::batch::feature::FeatureError;

/// Decimal places of a duration in minutes.
pub(super) const MINUTES: u32 = 1;
/// Decimal places of an amount of money.
pub(super) const MONEY: u32 = 6;

/// Adds to a number in an object. A missing number counts as 0.
pub(super) fn add(
    object: &mut Map<String, Value>,
    key: &str,
    amount: f64,
    decimals: u32,
) -> Result<(), FeatureError> {
    let before = match object.get(key) {
        None | Some(Value::Null) => 0.0,
        Some(value) => value.as_f64().ok_or_else(|| {
            FeatureError::Corrupt(format!("`{key}` must be a number, found {value}"))
        })?,
    };
    object.insert(key.to_owned(), of(before + amount, decimals));
    Ok(())
}

/// Adds an integer to a number in an object.
pub(super) fn count(
    object: &mut Map<String, Value>,
    key: &str,
    amount: u64,
) -> Result<(), FeatureError> {
    add(object, key, amount as f64, 0)
}

/// A number rounded to this many decimal places, without trailing zeros.
pub(super) fn of(number: f64, decimals: u32) -> Value {
    let scale = 10_f64.powi(i32::try_from(decimals).unwrap_or(0));
    let rounded = (number * scale).round() / scale;
    let whole = rounded.trunc();
    if rounded == whole && whole.abs() < 9e15 {
        return Value::from(whole as i64);
    }
    Number::from_f64(rounded).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_rounded_and_have_no_trailing_zeros() {
        assert_eq!(of(15.0, MINUTES), json!(15));
        assert_eq!(of(15.04, MINUTES), json!(15));
        assert_eq!(of(15.06, MINUTES), json!(15.1));
        assert_eq!(of(0.759, MONEY), json!(0.759));
        assert_eq!(of(f64::INFINITY, MONEY), Value::Null);
    }

    #[test]
    fn a_missing_number_counts_as_0_and_anything_else_is_refused() {
        let mut object = json!({"a": 2.50, "b": "x"}).as_object().cloned().unwrap();
        add(&mut object, "a", 0.25, 6).unwrap();
        count(&mut object, "c", 3).unwrap();
        assert_eq!((&object["a"], &object["c"]), (&json!(2.75), &json!(3)));
        assert!(matches!(count(&mut object, "b", 1), Err(FeatureError::Corrupt(_))));
    }
}
