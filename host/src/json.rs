//! Parsing JSON that someone else wrote.

use std::io;

use serde_json::{Error, Value};

/// Keys that begin like this mean something to `serde_json`: it takes an object with such a key
/// for a number.
const RESERVED: &str = "$serde_json::private::";

/// Parses a document. One that contains a reserved key is refused: it would not be read as it is
/// written. The component does the same (`guest/src/json.rs`).
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Error> {
    match has_reserved_key(bytes) {
        true => Err(Error::io(io::Error::other(format!("keys must not begin with {RESERVED:?}")))),
        false => serde_json::from_slice(bytes),
    }
}

fn has_reserved_key(bytes: &[u8]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_would_become_a_number_is_refused() {
        for text in [
            r#"{"$serde_json::private::Number": "12"}"#,
            r#"{"a": [{"\u0024serde_json::private::Number": "12"}]}"#,
            r#"{"a\\": {"$serde_json::private::RawValue" : "12"}}"#,
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("must not begin with"), "{text}: {error}");
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
}
