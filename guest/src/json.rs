//! Reading JSON documents field by field, with problems that name the field, and writing them.

use serde_json::{Map, Value};

use crate::time::Timestamp;

/// Formats JSON as every file is written: indented by two spaces, with a final line break.
pub fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    // Serialising a `Value` or a map of our own cannot fail: its keys are strings.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Maximum number of values of a document with lists of items: that of a hundred thousand items has about four
/// hundred thousand. More would not fit into the memory of an instance.
pub const MANY_VALUES: usize = 1_000_000;
/// Maximum number of values of any other document: far more than one needs.
const SOME_VALUES: usize = 200_000;

/// No counter in a file reaches this number. A larger one is damage: counting on from it could overflow.
pub const COUNTER_LIMIT: u64 = 1 << 53;

/// Parses a document. On failure, why it is invalid.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    parse_up_to(bytes, SOME_VALUES)
}

/// Parses a document of at most about `limit` values.
pub fn parse_up_to(bytes: &[u8], limit: usize) -> Result<Value, String> {
    // Every value but the first one has a comma or a bracket before it.
    if bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > limit {
        return Err(format!("it has more than {limit} values"));
    }
    if has_reserved_key(bytes) {
        return Err(format!("keys must not begin with {RESERVED:?}"));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// The prefix of keys that `serde_json` reserves: it reads an object with such a key as a number. A document with
/// one would not be read as it is written, so it is refused, here and by the host.
const RESERVED: &str = "$serde_json::private::";

/// Whether a key is a reserved one.
pub fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED)
}

/// Whether an object in a document has a reserved key.
pub fn has_reserved_key(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        let (string, after) = split_string(&rest[start..]);
        let is_escaped = string.contains(&b'\\');
        let text = is_escaped.then(|| serde_json::from_slice::<String>(string).unwrap_or_default());
        let contents = text.as_ref().map_or(&string[1..], |text| text.as_bytes());
        let is_key = after.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
        if is_key && contents.starts_with(RESERVED.as_bytes()) {
            return true;
        }
        rest = after;
    }
    false
}

/// Splits `bytes` after the string that it begins with, quotes included.
fn split_string(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 1;
    while let Some(byte) = bytes.get(end) {
        end += match byte {
            b'"' => return bytes.split_at(end + 1),
            b'\\' => 2,
            _ => 1,
        };
    }
    (bytes, &[])
}

/// Reads the fields of an object, and collects the problems with them.
pub struct Fields<'v> {
    object: &'v Map<String, Value>,
    problems: Vec<String>,
}

impl<'v> Fields<'v> {
    /// Reads an object.
    pub fn new(object: &'v Map<String, Value>) -> Self {
        Fields { object, problems: Vec::new() }
    }

    /// The problems, in the order of reading; `None` if there were none.
    pub fn problems(self) -> Option<String> {
        (!self.problems.is_empty()).then(|| self.problems.join("; "))
    }

    /// Adds a problem with a field.
    pub fn wrong(&mut self, key: &str, must: &str) {
        let found = match self.object.get(key) {
            None => "it is missing".to_owned(),
            Some(value) => format!("found {}", describe(value)),
        };
        self.problems.push(format!("`{key}` must be {must}, {found}"));
    }

    /// Reads a required field. A value for which `read` returns `None` is a problem.
    pub fn required<T>(
        &mut self,
        key: &str,
        must: &str,
        read: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.object.get(key).and_then(read);
        if value.is_none() {
            self.wrong(key, must);
        }
        value
    }

    /// Reads an optional field.
    pub fn optional<T>(
        &mut self,
        key: &str,
        must: &str,
        read: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.object.get(key)?);
        if value.is_none() {
            self.wrong(key, must);
        }
        value
    }

    /// Reads a required string.
    pub fn string(&mut self, key: &str) -> Option<&'v str> {
        self.required(key, "a string", Value::as_str)
    }

    /// Reads a required string or null.
    pub fn nullable_string(&mut self, key: &str) -> Option<Option<&'v str>> {
        self.required(key, "a string or null", nullable_string)
    }

    /// Reads a required point in time.
    pub fn time(&mut self, key: &str) -> Option<Timestamp> {
        self.required(key, "a time in RFC 3339, UTC (such as 2026-01-24T06:30:00.000Z)", |value| {
            Timestamp::parse(value.as_str()?)
        })
    }

    /// Reads a required list of strings.
    pub fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        self.required(key, "a list of strings", strings)
    }
}

/// A string or null: the outer option is whether it is of that type, the inner one whether it is null.
pub fn nullable_string(value: &Value) -> Option<Option<&str>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text)),
        _ => None,
    }
}

/// The strings of a list that contains nothing else.
pub fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|entry| entry.as_str().map(str::to_owned)).collect()
}

/// A non-negative integer; `u64::MAX` if it has more than 64 bits.
pub fn integer(value: &Value) -> Option<u64> {
    let Value::Number(number) = value else { return None };
    let digits = number.as_str();
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Describes a value for a message: the value if it is short, otherwise its type.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Array(entries) => match entries.iter().find(|entry| !entry.is_string()) {
            Some(odd) => format!("a list with {}", describe(odd)),
            None => "a list".to_owned(),
        },
        Value::Object(_) => "an object".to_owned(),
        other => {
            let text = other.to_string();
            let short: String = text.chars().take(40).collect();
            if short.len() < text.len() { format!("{short}…") } else { text }
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn integers_are_whole_and_non_negative() {
        let number = |text: &str| integer(&serde_json::from_str(text).unwrap());
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("18446744073709551616"), Some(u64::MAX));
        for text in ["-1", "1.0", "1e3", "\"1\"", "null"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn an_object_that_would_become_a_number_is_refused() {
        for text in [
            r#"{"$serde_json::private::Number": "12"}"#,
            r#"{"a": [{"\u0024serde_json::private::Number": "12"}]}"#,
            r#"{"a\\": {"$serde_json::private::RawValue" : "12"}}"#,
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains("must not begin with"), "{text}: {error}");
        }
    }

    #[test]
    fn reserved_words_in_values_are_accepted() {
        for text in [
            r#"{"a": ["$serde_json::private::Number", 12], "b": "$serde_json::private::Number"}"#,
            r#"{"a": "say \"$serde_json::private::Number\"", "b\\": [1, 2.50, "\u00e4"]}"#,
            "12",
            r#""""#,
            r#"{"a": "#,
            r#"{"a": "\"#,
            "",
        ] {
            let (parsed, expected) = (parse(text.as_bytes()), serde_json::from_str::<Value>(text));
            assert_eq!(parsed.ok(), expected.ok(), "{text}");
        }
    }

    #[test]
    fn a_problem_names_the_field_and_its_value() {
        let value = json!({"pid": -1, "queue": ["a", 3]});
        let mut fields = Fields::new(value.as_object().unwrap());
        fields.required("pid", "an integer greater than 0", integer);
        fields.strings("queue");
        fields.string("name");
        assert_eq!(
            fields.problems().unwrap(),
            "`pid` must be an integer greater than 0, found -1; `queue` must be a list of strings, found a list with 3; \
             `name` must be a string, it is missing"
        );
    }
}
