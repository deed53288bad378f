//! Reading documents field by field, with findings that name the field, and writing them.

use serde_json::{Map, Value};

use crate::time::Timestamp;

/// Pretty JSON, two spaces, final newline: how every file is written.
pub fn pretty(value: &impl serde::Serialize) -> Vec<u8> {
    // Serialising a `Value` or a map of our own cannot fail: its keys are strings.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Of lists of everything, that of a hundred thousand items has about four hundred thousand values.
/// More than this do not fit into the memory of an instance.
pub const MANY_VALUES: usize = 1_000_000;
/// Of other documents this is far more than anybody writes.
const SOME_VALUES: usize = 200_000;

/// Reads a document; on failure why it is none.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    parse_up_to(bytes, SOME_VALUES)
}

/// Reads a document of at most about so many values.
pub fn parse_up_to(bytes: &[u8], most: usize) -> Result<Value, String> {
    // Every value but the first one has a comma or a bracket before it.
    if bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > most {
        return Err(format!("it has more than {most} values"));
    }
    if has_reserved_key(bytes) {
        return Err(format!("keys must not begin with {RESERVED:?}"));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Keys that begin like this mean something to `serde_json`: it takes an object with such a key
/// for a number. A document with one would not be read as it is written, so it is refused, here and by the
/// host (`host/src/json.rs`).
const RESERVED: &str = "$serde_json::private::";

/// Whether a key is a reserved one.
pub fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED)
}

/// Whether an object in a document has a reserved key.
pub fn has_reserved_key(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        let (string, behind) = split_string(&rest[start..]);
        let is_escaped = string.contains(&b'\\');
        let text = is_escaped.then(|| serde_json::from_slice::<String>(string).unwrap_or_default());
        let contents = text.as_ref().map_or(&string[1..], |text| text.as_bytes());
        let is_key = behind.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
        if is_key && contents.starts_with(RESERVED.as_bytes()) {
            return true;
        }
        rest = behind;
    }
    false
}

/// Splits behind the string that `bytes` begins with, quotes included.
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

/// Reads the fields of an object and collects what is wrong with them.
pub struct Fields<'v> {
    object: &'v Map<String, Value>,
    problems: Vec<String>,
}

impl<'v> Fields<'v> {
    /// Starts on an object.
    pub fn new(object: &'v Map<String, Value>) -> Self {
        Fields { object, problems: Vec::new() }
    }

    /// What was wrong, in the order of asking; `None` if nothing was.
    pub fn problems(self) -> Option<String> {
        (!self.problems.is_empty()).then(|| self.problems.join("; "))
    }

    /// Adds a finding about a field.
    pub fn wrong(&mut self, key: &str, must: &str) {
        let found = match self.object.get(key) {
            None => "it is missing".to_owned(),
            Some(value) => format!("found {}", describe(value)),
        };
        self.problems.push(format!("`{key}` must be {must}, {found}"));
    }

    /// A required field that `read` takes or refuses.
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

    /// A field that may be missing.
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

    /// A required string.
    pub fn string(&mut self, key: &str) -> Option<&'v str> {
        self.required(key, "a string", Value::as_str)
    }

    /// A required string or null.
    pub fn nullable_string(&mut self, key: &str) -> Option<Option<&'v str>> {
        self.required(key, "a string or null", nullable_string)
    }

    /// A required point in time.
    pub fn time(&mut self, key: &str) -> Option<Timestamp> {
        self.required(key, "a time in RFC 3339, UTC (such as 2026-01-24T06:30:00.000Z)", |value| {
            Timestamp::parse(value.as_str()?)
        })
    }

    /// A required list of strings.
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

/// A list of nothing but strings.
pub fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|entry| entry.as_str().map(str::to_owned)).collect()
}

/// An integer that is not negative; more than 64 bits are `u64::MAX`.
pub fn integer(value: &Value) -> Option<u64> {
    let Value::Number(number) = value else { return None };
    let digits = number.as_str();
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Describes a value in a message: short, and of a long one only its type.
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
    fn integers_are_whole_and_not_negative() {
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
    fn other_documents_are_parsed_as_before() {
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
    fn a_finding_names_the_field_and_what_stands_there() {
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
